"""What networks are drawn from: latents, classes, grids and walks."""
import json

import data
import retrieval
import sample
from plumbing import codes, drawing, networks, runfolder, savedmodel

import numpy as np
import pytest
from conftest import contents
from PIL import Image

INPUTS = {'z': networks.normal(3), 'code': networks.uniform(2, -2, 5), 'label': networks.label(4)}


def test_draws_are_of_their_distributions_and_of_streams_of_their_own():
    drawn = networks.draw({**INPUTS, 'other': networks.normal(3), 'flat': networks.uniform(2, -2, 5)}, 20_000, seed=1)
    assert {name: (array.dtype.name, array.shape) for name, array in drawn.items() if name in INPUTS} == {
        'z': ('float32', (20_000, 3)), 'code': ('float32', (20_000, 2)), 'label': ('int32', (20_000,))}
    assert abs(drawn['z'].mean()) < 0.02 and drawn['z'].std() == pytest.approx(1, rel=0.02)
    assert -2 <= drawn['code'].min() and drawn['code'].max() < 5 and drawn['code'].mean() == pytest.approx(1.5, abs=0.05)
    assert np.bincount(drawn['label']).tolist() == [5000] * 4
    for a, b in ('z', 'other'), ('code', 'flat'):
        assert abs(np.corrcoef(drawn[a].ravel(), drawn[b].ravel())[0, 1]) < 0.03
    few = networks.draw(INPUTS, 7, seed=1)
    for name in INPUTS:
        np.testing.assert_array_equal(few[name], drawn[name][:7])


@pytest.mark.parametrize('count, rows, columns', [(64, 4, 16), (8, 4, 2), (4, 4, 1), (3, 3, 1), (1, 1, 1), (10, 4, 2)])
def test_a_grid_of_a_label_shows_its_classes(count, rows, columns):
    shown, found = networks.grid(INPUTS, count)
    assert found == columns and shown['label'].tolist() == [row for row in range(rows) for _ in range(columns)]
    np.testing.assert_array_equal(shown['z'].reshape(rows, columns, 3), [shown['z'][:columns]] * rows)
    without, found = networks.grid({'z': INPUTS['z']}, count)
    assert found is None and without['z'].shape == (count, 3)


def test_images_are_given_not_drawn():
    inputs = {'images': networks.images(8, 3)}
    assert not networks.can_be_drawn(inputs) and networks.can_be_drawn(INPUTS)
    with pytest.raises(ValueError, match="'images' is given, not drawn"):
        networks.draw(inputs, 2)


def test_a_described_network_is_read_back_as_it_was():
    network = networks.network(lambda *tensors: tensors[0], 'images', **INPUTS, images=networks.images(8, 3))
    assert networks.inputs_of(json.loads(json.dumps(network.described()))) == network.inputs


# spherical interpolation

def angles(a, b):
    """Between vectors [..., n]: [...]."""
    a, b = (v.astype(np.float64) / np.linalg.norm(v.astype(np.float64), axis=-1, keepdims=True) for v in (a, b))
    return np.arccos(np.clip((a * b).sum(-1), -1, 1))


@pytest.mark.parametrize('size', [2, 3, 100])
def test_a_great_circle_is_walked_at_an_even_pace(size):
    """Steps of equal angles that add up to the angle of the ends; of ends on a sphere all points are on the sphere."""
    starts, ends = np.random.default_rng(0).standard_normal([2, 20, size], np.float32)
    t = np.linspace(0, 1, 9)
    points = drawing.slerp(starts, ends, t)
    assert points.shape == (20, 9, size) and points.dtype == np.float32
    for place, expected in (0, starts), (-1, ends):
        np.testing.assert_allclose(points[:, place], expected, rtol=0 if size == 100 else 3e-7)
    whole = angles(starts, ends)
    starts, ends = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (starts, ends))
    points = drawing.slerp(starts, ends, t)
    np.testing.assert_allclose(angles(points[:, :-1], points[:, 1:]), (whole / 8)[:, None].repeat(8, 1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(points, axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(drawing.slerp(ends, starts, t)[:, ::-1], points, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('starts, ends', [
    ([[1.5], [-0.3], [2.0]], [[0.5], [0.7], [2.0]]),                                # one number
    ([[1.0, 2.0], [3.0, -1.0]], [[-1.0, -2.0], [-1.5, 0.5]]),                       # opposite: the angle is pi
    ([[1.0, 2.0], [1e-8, 1.0]], [[1.0, 2.0], [2e-8, 2.0]]),                         # the same way: the angle is 0
    ([[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]])])
def test_where_there_is_no_one_great_circle_the_way_is_straight(starts, ends):
    starts, ends, t = np.array(starts, np.float32), np.array(ends, np.float32), np.linspace(0, 1, 5)
    points = drawing.slerp(starts, ends, t)
    assert np.isfinite(points).all()
    expected = starts[:, None] + t[:, None] * (ends - starts)[:, None]
    np.testing.assert_allclose(points, expected, rtol=1e-4, atol=1e-5)


def test_from_nowhere_the_points_are_finite_and_end_where_they_should():
    points = drawing.slerp(np.zeros([2, 2], np.float32), np.array([[1.0, 1.0], [0.0, -3.0]], np.float32), np.linspace(0, 1, 5))
    assert np.isfinite(points).all() and not points[:, 0].any()
    np.testing.assert_allclose(points[:, -1], [[1, 1], [0, -3]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('away', [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7])
@pytest.mark.parametrize('sign', [1, -1])
def test_almost_on_one_line_the_points_stay_near(away, sign):
    """Ends that are almost the same, or almost opposite: no point is longer than the longer end."""
    a = np.array([[1, 0]], np.float32)
    b = sign * np.array([[np.cos(away), np.sin(away)]], np.float32)
    points = drawing.slerp(a, b, np.linspace(0, 1, 7))
    assert np.isfinite(points).all() and np.linalg.norm(points, axis=2).max() < 1 + 1e-5
    np.testing.assert_allclose(points[:, [0, -1]], np.stack([a, b], 1), atol=1e-5)


# the command

class Drawn:
    """In the place of a generator: pictures 28x28 of one grey each, which the latent vector says, or points of the plane."""
    inputs, output, sum = {'z': networks.normal(3)}, 'images', '0' * 64

    def draw(self, latents):
        drawn = np.rint(64 + 16 * latents['z'][:, :1].clip(-3, 3)).astype(np.uint8)
        return np.broadcast_to(drawn[:, :, None, None], [len(drawn), 28, 28, 1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a run with such a generator, and the home and working folder beside it."""
    monkeypatch.setattr(savedmodel, 'sampled', lambda folder, name, best: Drawn())
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'runs/a run').mkdir(parents=True)
    return tmp_path / 'runs/a run'


@pytest.mark.parametrize('arguments, complaint', [
    (['runs/typo'], 'there is no folder runs/typo: '), (['file'], 'file is a file, not the folder of a run'),
    (['runs/typo/'], 'there is no folder runs/typo: '), (['file/'], 'file is a file, not the folder of a run'),
    (['~/runs/typo'], '/runs/typo: '), (['~nobody-at-all/runs'], 'no home folder'),
    ([], 'run'), (['runs/a run', '--bogus'], '--bogus'),
    *((['runs/a run', f'--count={text}'], 'the count is a whole number from 1 to 2147483647')
      for text in ('0', '-5', '2147483648', '1.5', '')),
    *((['runs/a run', f'--seed={text}'], 'the seed is a whole number from 0 to') for text in ('-1', '2147483648', 'x')),
    (['runs/a run', '--count', '2147483647'], '28x28x1, take 1,568.0 GiB: give --count 342392 or less'),
    (['runs/a run', '--count', '2147483647', '--npz', 'a.npz'], 'give --count 5478274 or less'),
    (['runs/a run', '--png', 'noext'], 'noext is not the name of a picture: it must end in .png, .jpg, '),
    (['runs/a run', '--png', '.'], 'must end in .png'), (['runs/a run', '--png', 'x.npz'], 'must end in .png'),
    (['runs/a run', '--png='], 'must end in .png'), (['runs/a run', '--interpolate', 'x.txt'], 'must end in .png'),
    (['runs/a run', '--npz', 'runs'], 'runs is a folder'), (['runs/a run', '--png', 'folder.png'], 'folder.png is a folder'),
    (['runs/a run', '--png', 'a.png', '--npz', 'a.npz'], 'not allowed with'),
    (['runs/a run', '--png', 'a.png', '--interpolate', 'b.png'], 'not allowed with'),
    (['runs/a run', '--npz', 'a.npz', '--interpolate', 'b.png'], 'not allowed with'),
    (['runs/a run', '--interpolate', 'a.png', '--count', '3'], 'leave one of them out'),
    (['runs/a run', '--index', '-1'], 'the index is a whole number from 0 to'),
    (['runs/a run', '--index', '2147483647'], 'give --index 342391 or less'),
    (['runs/a run', '--index', '3', '--count', '9'], 'the same whatever --count is: leave one of them out'),
    (['runs/a run', '--index', '3', '--numbered'], '--numbered is for choosing an --index'),
    *((['runs/a run', word, *more, where, 'x.npz'], f'{word} is for the picture of --png, and not for {where}')
      for word, more in (('--index', ['3']), ('--numbered', [])) for where in ('--npz', '--files', '--interpolate')),
    *((['runs/a run', '--zoom', '2', where, 'x'], f'--zoom is for a picture, and {where} holds')
      for where in ('--npz', '--files')),
    (['runs/a run', '--zoom', '0'], 'the zoom is a whole number from 1 to 1000'),
    (['runs/a run', '--zoom', '100'], '64 samples, enlarged 100 times, takes more than 256 MiB: give a smaller --count or --z'),
    (['runs/a run', '--files', 'file'], 'file is a file: give the name of a new folder'),
    (['runs/a run', '--files', 'runs'], 'runs is not empty: give the name of a new folder'),
    (['runs/a run', '--files', '.'], 'is not empty'), (['runs/a run', '--files', 'a', '--png', 'b.png'], 'not allowed with'),
    (['runs/a run', '--output', 'runs'], 'runs is not empty: give the name of a new folder'),
    (['runs/a run', '--files', 'a', '--count', '2147483647'], 'give --count 5478274 or less'),
    (['runs/a run', '--input', 'runs'], 'the generator of runs/a run takes z, not images: leave out --input'),
    (['runs/a run', '--input', 'runs', '--seed', '3'], '--input and --seed do not go together'),
    (['runs/a run', '--input', 'runs', '--seed', '0'], '--input and --seed do not go together'),
    (['runs/a run', '--input', 'runs', '--class', '3'], '--input and --class do not go together'),
    (['runs/a run', '--input', 'runs', '--output', 'runs/new'], 'runs/new is in runs, and would be translated next time'),
    (['runs/a run', '--class', '7'], 'runs/a run is not a conditional run and cannot be asked for a class: leave out --class'),
    (['--class', '7', 'runs/a run'], 'run'), (['runs/a run', '--class'], '--class')])
def test_sample_mistakes_are_one_line_with_status_2(arguments, complaint, folder, refused):
    (folder.parents[1] / 'file').write_text('x')
    (folder.parents[1] / 'folder.png').mkdir()
    before = contents(folder.parents[1])
    with refused(complaint):
        sample.main(arguments)
    assert contents(folder.parents[1]) == before


@pytest.mark.parametrize('arguments, complaint', [
    (['runs/typo'], 'there is no folder runs/typo: '), (['file'], 'not the folder of a run'),
    (['runs/a run', '--png', 'x'], 'must end in .png'), (['runs/a run', '--png', 'x.npz'], 'or .svg'),
    (['runs/a run', '--png', 'folder.png'], 'folder.png is a folder'), (['runs/a run', 'runs/b'], 'no folder runs/b')])
def test_retrieval_mistakes_are_one_line_with_status_2(arguments, complaint, folder, refused):
    (folder.parents[1] / 'file').write_text('x')
    (folder.parents[1] / 'folder.png').mkdir()
    with refused(complaint):
        retrieval.main(arguments)


def test_a_curve_of_pictures_without_classes_is_refused(folder, refused, monkeypatch):
    encoder = networks.network(None, 'codes', images=networks.images(28, 1))
    monkeypatch.setattr(codes, 'encoders', lambda run: [('encoder', encoder)])
    monkeypatch.setattr(runfolder, 'read_settings', lambda run: {'DATASET': '/pictures'})
    monkeypatch.setattr(data, 'load', lambda *name: (np.zeros([20, 28, 28, 1], np.uint8), None))
    with refused('/pictures has no classes, and so no precision to draw: leave out --png'):
        retrieval.main(['runs/a run', '--png', 'a.png'])


def test_the_largest_count_is_what_the_limits_hold(folder, refused, monkeypatch, capsys):
    """A picture of 28 x 28 bytes: of 10,000 bytes 12 fit. Latents count as well, where they are larger."""
    monkeypatch.setattr(sample, 'LARGEST', 10_000)
    with refused('give --count 12 or less'):
        sample.main(['runs/a run', '--count', '13', '--npz', 'a.npz'])
    sample.main(['runs/a run', '--count', '12', '--npz', 'a.npz'])
    assert np.load('a.npz')['images'].shape == (12, 28, 28, 1) and capsys.readouterr().out == 'wrote a.npz\n'
    monkeypatch.setattr(Drawn, 'inputs', {'z': networks.normal(500)})              # 2,000 bytes
    with refused('give --count 5 or less'):
        sample.main(['runs/a run', '--count', '6', '--npz', 'a.npz'])


def test_a_tilde_that_the_shell_leaves_alone_is_the_home_folder(folder, capsys):
    sample.main(['~/runs/a run', '--png=~/grid.png', '--count', '4'])
    sample.main(['~/runs/a run', '--npz=~/samples.npz', '--count', '4'])
    sample.main(['~/runs/a run', '--interpolate=~/walk.webp'])
    sample.main(['~/runs/a run'])
    home = folder.parents[1]
    assert Image.open(home / 'grid.png').size == (2 * 58, 2 * 58) and not (home / '~').exists()
    assert Image.open(folder / 'samples.png').size == (8 * 60 - 4, 8 * 60 - 4)
    assert np.load(home / 'samples.npz')['images'].shape == (4, 28, 28, 1) and Image.open(home / 'walk.webp').format == 'WEBP'
    assert f'wrote {home}/grid.png' in capsys.readouterr().out


def test_an_index_is_the_sample_of_that_number_in_every_grid(folder):
    """Drawn alone it has the same pixels as in grids of any count and zoom, and at any seed."""
    for seed in '0', '3':
        sample.main(['runs/a run', '--npz', 'all.npz', '--count', '70', '--seed', seed])
        images = np.load('all.npz')['images']
        for count, number in (9, 8), (64, 63), (70, 11):
            sample.main(['runs/a run', '--count', str(count), '--zoom', '1', '--png', 'grid.png', '--seed', seed])
            sample.main(['runs/a run', '--index', str(number), '--zoom', '3', '--seed', seed])
            alone = np.asarray(Image.open(folder / f'sample-{number}.png'))
            columns = next(n for n in range(1, 99) if n * n >= count)
            row, column = divmod(number, columns)
            placed = np.asarray(Image.open('grid.png'))[30 * row:30 * row + 28, 30 * column:30 * column + 28]
            np.testing.assert_array_equal(placed, images[number, :, :, 0])
            np.testing.assert_array_equal(alone, placed.repeat(3, 0).repeat(3, 1))


def test_a_numbered_grid_is_the_grid_with_numbers(folder):
    sample.main(['runs/a run', '--png', 'plain.png', '--count', '4'])
    sample.main(['runs/a run', '--png', 'numbered.png', '--count', '4', '--numbered'])
    plain, numbered = (np.asarray(Image.open(f'{name}.png')) for name in ('plain', 'numbered'))
    assert plain.shape == numbered.shape and 0 < (plain != numbered).mean() < 0.1


def read_files(folder):
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def test_files_hold_a_sample_each(folder, capsys):
    sample.main(['runs/a run', '--npz', 'a.npz', '--count', '12'])
    (folder.parents[1] / 'empty').mkdir()
    for name in 'new/ones', 'empty':
        sample.main(['runs/a run', '--files', name, '--count', '12'])
        found = read_files(folder.parents[1] / name)
        assert list(found) == [f'{number:06d}.png' for number in range(12)]
        np.testing.assert_array_equal(np.stack(list(found.values())), np.load('a.npz')['images'][..., 0])
        assert f'wrote {folder.parents[1] / name}' in capsys.readouterr().out


def test_files_that_cannot_all_be_written_are_not_written(folder, monkeypatch):
    def fails(path, image):
        if path.name == '000002.png':
            raise RuntimeError
        path.touch()

    monkeypatch.setattr(sample.iio, 'imwrite', fails)
    before = contents(folder.parents[1])
    with pytest.raises(RuntimeError):
        sample.main(['runs/a run', '--files', 'ones', '--count', '4'])
    assert contents(folder.parents[1]) == before and not list(folder.parents[1].glob('*ones*'))


@pytest.mark.parametrize('classes, names', [
    (None, ['000000-0.png', '000001-1.png', '000002-2.png', '000003-0.png']),
    (['T-shirt/top', 'a\nb', '猫'], ['000000-T-shirt-top.png', '000001-a-b.png', '000002-猫.png', '000003-T-shirt-top.png'])])
def test_files_of_a_conditional_run_name_the_class(classes, names, folder, monkeypatch):
    monkeypatch.setattr(Drawn, 'inputs', {'z': networks.normal(3), 'label': networks.label(3)})
    monkeypatch.setattr(runfolder, 'read', lambda run: {'classes': classes})
    sample.main(['runs/a run', '--files', 'ones', '--count', '4'])
    assert list(read_files(folder.parents[1] / 'ones')) == names
    sample.main(['runs/a run', '--files', 'twos', '--count', '2', '--class', '2'])
    assert list(read_files(folder.parents[1] / 'twos')) == [names[2].replace('000002', f'00000{n}') for n in (0, 1)]


def test_the_class_of_an_index_is_that_of_its_turn(folder, monkeypatch):
    monkeypatch.setattr(Drawn, 'inputs', {'z': networks.normal(3), 'label': networks.label(3)})
    monkeypatch.setattr(runfolder, 'read', lambda run: {'classes': None})
    for wanted, expected in ((), 1), ((0, 2), 0):
        points = drawing.drawn(Drawn(), folder, range(4, 5), 0, 10_000, wanted)
        assert drawing.class_labels(Drawn.inputs, points).tolist() == [expected]
