"""What code a run was trained by: a fingerprint of the graph that was built, and of the files that built it."""
import ast
import hashlib
import json
import pathlib
import tokenize

FOLLOWS = 'optimizers', 'sampling'  # boxes of the graph that change with networks and losses


def fingerprint(graph_def, schedule, files):
    """{'graph': {box: sum}, 'files': {name of a file: sum}}, as settings.json keeps it.

    A box holds the nodes with the same first part of their names. schedule: what else says what a step does, ready for JSON.
    files: paths of Python files. Their comments and docstrings are not in their sums, and not in the graph.
    """
    boxes = {'updates': hashlib.sha256(json.dumps(schedule).encode())}
    for node in graph_def.node:
        node.attr.pop('token', None)  # the number of a Python function among those of the process
        box = node.name.split('/')[0]
        boxes.setdefault(box, hashlib.sha256()).update(node.SerializeToString(deterministic=True))
    return {'graph': {box: digest.hexdigest()[:16] for box, digest in boxes.items()},
            'files': {pathlib.Path(path).name: _sum(path) for path in files}}


def _sum(path):
    with tokenize.open(path) as file:
        tree = ast.parse(file.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def edited(before, now):
    """(files, boxes) that are not the same in two fingerprints, if their graphs differ; else two empty lists.

    Without an edited file a difference in FOLLOWS alone does not count: pictures and measures hold what NumPy has computed.
    """
    boxes = [box for box in {**before['graph'], **now['graph']} if before['graph'].get(box) != now['graph'].get(box)]
    named = [name for name in now['files'] if boxes and before['files'].get(name) != now['files'][name]]
    return named, [box for box in boxes if box not in FOLLOWS] or (boxes if named else [])
