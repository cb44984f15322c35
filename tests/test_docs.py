"""The commands of README.md and of docs/ work, run in the order of their page by a shell in a fresh folder; so does the notebook.

See shortened.py for what makes them short, and for the few that are not run.
"""
import fcntl
import os
import re
import shutil
import subprocess
import sys

from plumbing import jobs

import forkserver
import imageio.v3 as iio
import nbclient
import nbformat
import numpy as np
import pytest
import shortened
from conftest import ROOT, random

pytestmark = pytest.mark.slow
BLOCK = re.compile(r'^```sh\n(.*?)^```$', re.M | re.S)
MISTAKE = re.compile(r'^ {4}\$ (.*)\n {4}(error: .*)$', re.M)   # a command that is shown with the error that it ends with
PAGES = sorted(path.stem for path in (ROOT / 'docs').glob('*.md') if BLOCK.search(path.read_text()))
ELSEWHERE = 'pip', 'npm', 'tar', 'ruff'          # programs that install, fetch or check: not run
PRELUDE = '\n'.join([*(f'{name}() {{ :; }}' for name in ELSEWHERE), 'tensorboard() { test -d "$2"; }',
                     'git() { ln -sfn . gans; }', 'set -ex', ''])     # a clone is the folder itself


def noise(*shape, seed=0):
    return np.uint8(128 + 40 * random(*shape, seed=seed).clip(-3, 3))


def bring(folder):
    """What a reader has to have: folders of pictures, a download, samples of another program, the table so far, the weights."""
    pictures = ['home/pictures/birds', 'home/pictures/animals/cats', 'home/pictures/animals/dogs', 'img/google/64', 'package']
    for seed, name in enumerate([*pictures, 'docs']):
        (folder / name).mkdir(parents=True)
        for number in range(150 if name in pictures[:4] else 0):     # batches are of up to 128
            iio.imwrite(folder / name / f'{number}.png', noise(80, 72, 3, seed=100 * seed + number))
    iio.imwrite(folder / 'package/data_batch_1.png', noise(150, 1024, 3))
    for number in range(100):                                        # pairs, and halves side by side
        for name, shape in ('drawings', (80, 72, 3)), ('photographs', (80, 72, 3)), ('facades', (72, 144, 3)):
            (folder / 'home/pairs' / name).mkdir(parents=True, exist_ok=True)
            iio.imwrite(folder / 'home/pairs' / name / f'{number}.png', noise(*shape, seed=1000 + number))
    np.savez(folder / 'samples.npz', images=noise(shortened.MEASURED, 28, 28, 1))
    shutil.copy(ROOT / 'docs/collapse.json', folder / 'docs')
    shutil.copytree(ROOT / 'weights', folder / 'weights')


def follow(page, folder):
    """Runs the commands of a page in `folder`. A line that fails ends the test; it is the last one after a `+`."""
    done = shell('\n'.join(BLOCK.findall(page.read_text())), folder)
    assert done.returncode == 0 and not re.search('^(error: |Traceback)', done.stdout, re.M), done.stdout[-3000:]
    for command, told in MISTAKE.findall(page.read_text()):
        done = shell(command, folder)
        assert done.returncode == 2 and done.stdout.splitlines()[-1] == told


def shell(commands, folder):
    """The end of commands in `folder`, with both streams in `stdout`."""
    tests = ROOT / 'tests'
    python = folder / 'bin/python'
    if not python.exists():
        python.parent.mkdir()
        python.write_text(f'#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(tests)!r})\nimport shortened\n'
                          'sys.exit(shortened.main(sys.argv[1:]))\n')
        python.chmod(0o755)
    environment = {
        **os.environ, 'PATH': f'{python.parent}:{os.environ["PATH"]}', 'HOME': str(folder / 'home'), 'SHORT_PYTHON': str(python),
        'XDG_CACHE_HOME': str(folder / 'home/.cache'), 'FORKSERVER': forkserver.address(),
        'DRIVE_COUNT': str(shortened.COUNT), **dict.fromkeys(jobs.THREADS, '1')}
    return subprocess.run(['bash', '-c', PRELUDE + commands], cwd=folder, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope='session')
def readme(tmp_path_factory):
    """The folder in which the README's commands were run, once for all workers."""
    shared = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        shared = shared.parent
    with open(shared / 'readme.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / 'readme').exists():
            bring(shared / 'readme')
            follow(ROOT / 'README.md', shared / 'readme')
    return shared / 'readme'


def test_the_readme(readme):
    assert (readme / 'runs/dcgan-mnist/metrics.json').exists()
    assert (readme / 'runs/dcgan-birds-image-size-64-channels-3/samples.gif').exists()


@pytest.mark.parametrize('page', PAGES)
def test_a_page(page, readme, tmp_path):
    """Each page may be read after the README; it names no run that neither of them has made."""
    folder = shutil.copytree(readme, tmp_path / 'here', symlinks=True)
    shutil.rmtree(folder / 'bin')
    follow(ROOT / 'docs' / f'{page}.md', folder)
    text = (ROOT / 'docs' / f'{page}.md').read_text()
    named = set(re.findall(r'\bruns/([\w.+-]*\w)(?![\w.*+-])', text))
    assert named <= {path.name for path in (folder / 'runs').iterdir()}


def test_the_notebook(tmp_path):
    """From the top to the bottom in docs/ of a copy of the project; then a flag that does not exist."""
    for path in [*ROOT.glob('*.py'), ROOT / 'plumbing', ROOT / 'weights']:
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    (tmp_path / 'docs').mkdir()
    notebook = nbformat.read(ROOT / 'docs/notebook.ipynb', 4)
    assert not any(cell.get('outputs') for cell in notebook.cells)
    first = next(number for number, cell in enumerate(notebook.cells) if cell.cell_type == 'code')
    notebook.cells.insert(first + 1, nbformat.v4.new_code_cell('import shortened\nshortened.shorten()'))
    notebook.cells.append(nbformat.v4.new_code_cell("run.main(vars(dcgan), ['--stepz', '500'])",
                                                    metadata={'tags': ['raises-exception']}))
    nbclient.NotebookClient(notebook, timeout=300, resources={'metadata': {'path': str(tmp_path / 'docs')}}).execute(
        env={**os.environ, 'PYTHONPATH': str(ROOT / 'tests'), 'DRIVE_COUNT': str(shortened.COUNT), 'HOME': str(tmp_path)})
    *_, compared, drawn, mistake = [cell.outputs for cell in notebook.cells if cell.cell_type == 'code']
    assert {path.name for path in (tmp_path / 'runs').iterdir()} == {
        'dcgan-mnist', 'dcgan-mnist-upsample-resize', 'dcgan-mnist-g-learning-rate-0.001'}
    assert '| dcgan-mnist-upsample-resize |' in compared[-1]['data']['text/markdown']
    assert 'image/png' in drawn[0]['data']
    assert mistake[-1]['traceback'] == ['UserError: unrecognized arguments: --stepz 500; --help lists the flags']
