"""Who may import whom: plumbing nothing of the root, scripts no scripts, and a benchmark finds the project by itself."""
import ast

import pytest
from conftest import ROOT, SCRIPTS

MODULES = {path.stem for path in ROOT.glob('*.py')}
PLUMBING = sorted((ROOT / 'plumbing').rglob('*.py'))
BENCHMARKS = sorted((ROOT / 'benchmarks').rglob('*.py'))


def imported(path):
    """The first part of the name of each module that a file imports, at its top or anywhere below."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or '').split('.')[0] if node.level == 0 else '.')
    return found


def test_the_house_has_its_rooms():
    assert {'run', 'ops', 'data', 'metrics', *SCRIPTS} <= MODULES
    assert {'graph.py', 'runfolder.py'} <= {path.name for path in PLUMBING} and len(BENCHMARKS) > 10


@pytest.mark.parametrize('path', PLUMBING, ids=lambda path: path.stem)
def test_plumbing_imports_nothing_from_the_root(path):
    assert not imported(path) & {*MODULES, 'benchmarks', 'tests', '.'}


@pytest.mark.parametrize('name', SCRIPTS)
def test_no_script_imports_a_script(name):
    assert not imported(ROOT / f'{name}.py') & {*SCRIPTS, 'benchmarks', 'tests', '.'}


@pytest.mark.parametrize('name', sorted(MODULES - {*SCRIPTS}))
def test_nothing_that_scripts_use_imports_a_script(name):
    assert not imported(ROOT / f'{name}.py') & {*SCRIPTS, 'benchmarks', 'tests', '.'}


@pytest.mark.parametrize('path', BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_leave_the_path_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.Attribute) and node.attr == 'path' and getattr(node.value, 'id', '') == 'sys')
        assert not (isinstance(node, ast.ImportFrom) and node.module == 'sys' and 'path' in {a.name for a in node.names})
