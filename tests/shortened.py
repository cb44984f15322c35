"""Stands in for `python` in the commands of the docs: the same programs, folders and files, with few steps and little data.

A file named `python` that calls `main` comes first in the PATH of a shell. Programs of the project are started by the server
whose address is in $FORKSERVER (forkserver.py), and `python -c` by the real one. What is shortened here is no constant of a
script, so that the names of folders stay what the docs say.
"""
import functools
import inspect
import io
import os
import re
import subprocess
import sys
import tarfile

import forkserver

STEPS = 2
COUNT = 1000             # pictures of MNIST and the like
SEEDS = 2                # of a sweep that has several
EXAMPLES = 2             # that are measured one by one
MEASURED = 200           # samples, at most: a covariance of stacked_mnist's 192 features takes 193
NOT_RUN = {              # python ..., or python -m ...
    'pytest': 'this is a test already',
    'benchmarks.quality': 'trains as many seconds as its --budget says',
    'benchmarks.semi': 'a table of many runs, which its test makes of two',
    'explore.py': 'ends when somebody ends it'}
MORE = {                 # arguments that make a program short
    'benchmarks.collapse': ['--seeds', '1']}  # docs/collapse.json has the first of all rows: the table is written from it


def main(arguments):
    """The exit status of `python ARGUMENTS`."""
    if arguments[0] == '-c':
        begin = 'import shortened; shortened.shorten()\n' if re.search(r'\bdata\b', arguments[1]) else ''
        return subprocess.call([sys.executable, '-c', begin + arguments[1]], env={
            **os.environ, 'PYTHONPATH': f'{forkserver.ROOT}:{forkserver.ROOT}/tests'})
    name, *given = arguments[1:] if arguments[0] == '-m' else arguments
    if name in NOT_RUN:
        return 0
    script = forkserver.ROOT / (f'{name.replace(".", "/")}.py' if arguments[0] == '-m' else name)
    if name == 'sweep.py' and '--seeds' in given:
        given[given.index('--seeds') + 1] = str(SEEDS)
    process = forkserver.start(script, *given, *MORE.get(name, []), driven=False, cwd=os.getcwd(), environment=dict(os.environ),
                               bomb='import shortened; shortened.shorten()')
    for text, stream in zip(process.communicate(), (sys.stdout, sys.stderr), strict=True):
        stream.write(text)
    return process.returncode


def shorten():
    """In the process of a program, or of a notebook, before it runs."""
    import data
    import evaluation
    import run
    from plumbing import bounds, exports, inversion, judge

    import drive

    load, few_labels, steps, means = data.load, data.few_labels, run._steps, bounds.means
    data.load = lambda name, *shape, **more: (drive.load if name.lower() in data.NAMES else load)(name, *shape, **more)
    data.few_labels = lambda labels, count, seed=0: few_labels(labels, min(count, COUNT // 10), seed)
    run._steps = lambda *given: min(STEPS, steps(*given))
    bounds.means = lambda function, examples, weights: means(function, examples[:EXAMPLES], weights)
    judge.EPOCHS = judge.UPDATES = 1                     # of the classifier of GAN-train
    exports.npm_package = _package                       # 31 MB
    inversion.STEPS, inversion.STARTS = STEPS, 1
    for name in 'measure', 'samples', 'check_count':
        setattr(evaluation, name, _few(getattr(evaluation, name)))
    evaluation.Watch.__init__ = _few(evaluation.Watch.__init__)
    sys.executable = os.environ.get('SHORT_PYTHON', sys.executable)  # of the programs that this one starts


def _package(path=None):
    """In the place of onnxruntime-web: its files, empty."""
    from plumbing import exports

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w:gz') as archive:
        for name in exports.SCRIPT, exports.GLUE, exports.WASM:
            archive.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


def _few(function):
    @functools.wraps(function)
    def called(*arguments, **more):
        given = inspect.signature(function).bind(*arguments, **more)
        given.arguments['count'] = min(given.arguments.get('count', MEASURED), MEASURED)
        return function(*given.args, **given.kwargs)

    return called
