"""The gallery of the README, on run folders, scripts and a README made here: known pixels, known text."""
import json

import viz
from benchmarks import gallery
from plumbing import files

import numpy as np
import pytest
from PIL import Image

SCRIPT = '''"""DCGAN: Radford, Metz & Chintala 2015, "Unsupervised
Learning", arXiv:1511.06434.

It is unlike Goodfellow et al. 2014.

    python one.py --dataset mnist --width 8

Page: docs/dcgan.md
"""
DATASET = 'ring'      # data
STEPS = 30            # how long
WIDTH = 4             # channels
LAYERS = (3, 2)       # several
a, b = 1, 2
run.main(globals())
'''
SETTINGS = {'DATASET': 'mnist', 'STEPS': 30, 'WIDTH': 8, 'LAYERS': [3, 2], 'GRID': 64}
METRICS = {'model': {'frechet_distance': 0.0851}, 'real': {'frechet_distance': 0.037}}
README = f'# Title\n\n{gallery.BEGIN}\n{gallery.HEAD}\n{{}}{gallery.END}\nThe end.\n'
OLD = '| old | [`one.py`](one.py) | | | | |\n'
ROW = ('| ![one](docs/gallery/one.png) | [`one.py`](one.py) | [Radford et al. 2015](https://arxiv.org/abs/1511.06434) '
       '| `python one.py --dataset mnist --width 8` | 0.085 (0.037) | [dcgan](docs/dcgan.md) |\n')


def digits(rows, columns, height=28, width=28):
    """A grid as viz.grid draws it, with a grey edge around each cell, each pixel once; all cells differ in their middle."""
    grid = np.zeros([rows * (height + 2), columns * (width + 2)], np.uint8)
    for i in range(rows):
        for j in range(columns):
            cell = grid[i * (height + 2):, j * (width + 2):][:height, :width]
            cell[:] = 9
            cell[1:-1, 1:-1] = 0
            cell[5:9, 5:9] = 50 + 10 * i + j
    return grid[:-2, :-2]


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'one.py').write_text(SCRIPT)
    (tmp_path / 'run.py').write_text('"""A script ends in `run.main(globals())`."""\n')
    (tmp_path / 'README.md').write_text(README.format(OLD))
    return tmp_path


def finish(root, settings=SETTINGS, metrics=METRICS, picture=None, folder='runs/one-mnist-width-8'):
    run = root / folder
    (run / 'samples').mkdir(parents=True)
    (run / 'settings.json').write_text(json.dumps({'script': 'one.py', 'settings': settings}))
    for step, shown in (0, np.zeros([9, 9], np.uint8)), (settings['STEPS'], digits(8, 8) if picture is None else picture):
        Image.fromarray(shown).save(run / f'samples/step-{step:06d}.png')
    (run / 'samples.gif').touch()
    (run / 'scalars.csv').write_text('step,loss,test_error\n10,1,0.5\n20,1,0.00534\n30,1,\n')
    if metrics:
        (run / 'metrics.json').write_text(json.dumps(metrics))


def read(root):
    gallery.update(root, root / 'runs')
    text = (root / 'README.md').read_text()
    head, _, foot = README.partition('{}')
    assert text.startswith(head) and text.endswith(foot)
    return text[len(head):-len(foot)]


def test_a_finished_run_makes_a_row_and_a_thumbnail(root):
    finish(root, picture=digits(8, 8).repeat(2, 0).repeat(2, 1))
    assert read(root) == ROW
    np.testing.assert_array_equal(np.asarray(Image.open(root / 'docs/gallery/one.png')), digits(5, 5))
    assert read(root) == ROW                                           # and once more: the same


@pytest.mark.parametrize('missing', ['settings.json', 'samples.gif', 'samples/step-000030.png'])
def test_a_run_that_is_not_finished_leaves_the_row(root, missing):
    finish(root)
    (root / 'runs/one-mnist-width-8' / missing).unlink()
    assert read(root) == OLD and not (root / 'docs').exists()


def test_a_run_of_other_settings_than_the_command_leaves_the_row_and_is_told(root, capsys):
    finish(root, {**SETTINGS, 'WIDTH': 4})
    assert read(root) == OLD
    assert 'one-mnist-width-8 is not the run of `python one.py --dataset mnist --width 8`: WIDTH is 4' in capsys.readouterr().out


def test_the_second_command_is_looked_for_too(root):
    (root / 'one.py').write_text(SCRIPT.replace('    python one.py', '    python one.py --layers 1\n    python one.py'))
    finish(root)
    assert read(root) == ROW


def test_a_script_that_is_new_gets_a_row_after_the_old_ones(root):
    (root / 'a.py').write_text('"""New.\n\n    python a.py\n"""\nDATASET = \'ring\'  # data\nSTEPS = 1  # how long\n'
                               'run.main(globals())\n')
    assert read(root) == OLD + '|  | [`a.py`](a.py) | see the page | `python a.py` | – |  |\n'


@pytest.mark.parametrize('metrics, told', [
    ({'modes': 25.0, 'quality': 0.9712, 'reverse_kl': 0.01}, '25 modes, 97.1 %'), (METRICS, '0.085 (0.037)'),
    (None, 'test error 0.0053')])
def test_what_is_told_of_a_run(root, metrics, told):
    finish(root, metrics=metrics)
    assert f'| {told} |' in read(root)


def test_the_plane_is_scaled(root):
    plane = np.full([400, 400, 3], 200, np.uint8)
    finish(root, metrics={'modes': 25.0, 'quality': 1.0}, picture=plane)
    read(root)
    np.testing.assert_array_equal(np.asarray(Image.open(root / 'docs/gallery/one.png')), plane[:160, :160])


@pytest.mark.parametrize('picture, shape', [
    (digits(3, 16), (88, 148)), (digits(6, 4, height=31), (130, 118)), (digits(4, 4, 64, 64), (130, 130)),
    (digits(2, 2, 200, 200), (160, 160)), (np.random.default_rng(0).integers(1, 9, [20, 30, 3], np.uint8), (20, 30, 3))])
def test_a_grid_is_cut_between_its_cells(picture, shape):
    found = gallery.thumbnail(picture)
    assert found.shape == shape
    np.testing.assert_array_equal(found, picture[:shape[0], :shape[1]])


def test_names_around_a_grid_are_left_out():
    cells = digits(5, 16)
    images = np.stack([cells[30 * i:30 * i + 28, 30 * j:30 * j + 28] for i in range(5) for j in range(16)])[..., None]
    named = viz.grid(images, 16, labels=['original', 'reconstructed', 'by PCA', 'noisy', 'denoised'])
    np.testing.assert_array_equal(gallery.thumbnail(named), cells[:148, :148])
    captioned = viz.captioned(viz.grid(images[:64], 4), 'real')
    beside = np.concatenate([captioned, np.full_like(captioned[:, :16], 255), captioned], 1)
    np.testing.assert_array_equal(gallery.thumbnail(beside), viz.grid(images[:64], 4, zoom=1)[:148, :118])


@pytest.mark.parametrize('doc, cells', [
    ('GAN: Goodfellow et al. 2014, "Nets", arXiv:1406.2661.', '[Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661)'),
    ('Plain: Hinton & Salakhutdinov 2006, Science 313; noisy: Vincent et al. 2008.',
     'Hinton & Salakhutdinov 2006; Vincent et al. 2008'),
    ('Cured: the GAN of Goodfellow et al.\n2014 (arXiv:1406.2661), and packing, Lin et al. 2018, arXiv:1712.04086.',
     '[Goodfellow et al. 2014](https://arxiv.org/abs/1406.2661); [Lin et al. 2018](https://arxiv.org/abs/1712.04086)'),
    ('In balance.\n\nThe rule is of Bruner & Deshpande 2017.', 'Bruner & Deshpande 2017'), ('Many.', 'see the page')])
def test_papers_of_a_docstring(doc, cells):
    assert gallery.papers(doc) == cells


def test_a_readme_without_a_place_for_the_table_is_refused(root):
    (root / 'README.md').write_text('# Title\n')
    with pytest.raises(files.UserError, match='no lines <!-- gallery -->'):
        gallery.update(root, root / 'runs')
