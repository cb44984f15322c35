"""sample.py on networks that make pictures of pictures: files of one's own, test pictures, and what it refuses."""
import math

import metrics
import sample
from plumbing import archives, decoder, files, networks, runfolder, savedmodel, translating

import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import contents, random
from PIL import Image

SIDE, COUNT = 12, 70


def negative(images):
    return -images


def coloured(images):
    return tf.concat([images, -images, tf.zeros_like(images)], 3)


def codes(images):
    return tf.reshape(images, [-1, SIDE * SIDE])


def shown():
    return np.uint8(128 + 40 * random(COUNT, SIDE, SIDE, 1).clip(-3, 3))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run whose generator makes negatives and which has test pictures, with the working folder above it."""
    monkeypatch.chdir(tmp_path)
    grey = {'images': networks.images(SIDE, 1)}
    described = {'generator': networks.network(negative, 'images', **grey), 'back': networks.network(coloured, 'images', **grey),
                 'encoder': networks.network(codes, 'codes', **grey)}
    folder = tmp_path / 'runs/a'
    folder.mkdir(parents=True)
    owner = runfolder.Owner('script.py', {'DATASET': 'mnist', 'STEPS': 2},
                            {name: found.described() for name, found in described.items()}, None, None)
    files.write_json(folder / 'settings.json', {**owner._asdict(), 'versions': [{'step': 0}]})
    for name, network in described.items():
        savedmodel.export(folder / name, network, {})
    archives.write(folder / 'inputs.npz', shown())
    return folder


@pytest.fixture
def pictures(tmp_path):
    """{name of a file in the folder `given`: what a network gets of it}: of several formats, sizes and modes."""
    shapes = {'one.png': [SIDE, SIDE], 'in/two.jpg': [36, 60, 3], 'in/deep/three.bmp': [7, 5], 'four.WEBP': [40, 60, 4]}
    for seed, (name, shape) in enumerate(shapes.items()):
        (tmp_path / 'given' / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.uint8(128 + 40 * random(*shape, seed=seed).clip(-3, 3))
        Image.fromarray(image).save(tmp_path / 'given' / name)
    (tmp_path / 'given/notes.txt').write_text('x')
    return {name: decoder.decode(tmp_path / 'given' / name, SIDE, 1)[0] for name in shapes}


def read(folder):
    """{path below the folder: pixels} of all its files."""
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)) for path in folder.rglob('*') if path.is_file()}


def test_files_keep_their_names(run, pictures, tmp_path, capsys):
    sample.main(['runs/a', '--input', 'given', '--output', 'made'])
    found = read(tmp_path / 'made')
    assert capsys.readouterr().out == f'wrote {tmp_path}/made\n'
    assert set(found) == {'one.png', 'in/two.png', 'in/deep/three.png', 'four.png'}
    for name, image in pictures.items():
        np.testing.assert_array_equal(found[name.rpartition('.')[0] + '.png'], 255 - image[..., 0])


def test_a_picture_of_its_own_size_is_not_resampled(run, pictures, tmp_path):
    np.testing.assert_array_equal(pictures['one.png'][..., 0], np.asarray(Image.open(tmp_path / 'given/one.png')))


def test_another_network_of_the_run_can_be_asked(run, pictures, tmp_path):
    sample.main(['runs/a', '--input', 'given', '--output', 'made', '--network', 'back', '--count', '1'])
    found, = read(tmp_path / 'made').values()
    first = min(pictures)                                                            # in the order of their names
    np.testing.assert_array_equal(found[..., 0], pictures[first][..., 0])
    np.testing.assert_array_equal(found[..., 1], 255 - pictures[first][..., 0])


def test_one_picture_is_enough(run, tmp_path):
    (tmp_path / 'one').mkdir()
    iio.imwrite(tmp_path / 'one/a.png', shown()[0].squeeze())
    sample.main(['runs/a', '--input', 'one', '--output', 'made'])
    np.testing.assert_array_equal(read(tmp_path / 'made')['a.png'], 255 - shown()[0].squeeze())


@pytest.mark.parametrize('side', ['left', 'right'])
def test_halves_of_pictures(side, run, tmp_path):
    (tmp_path / 'both').mkdir()
    left, right = shown()[:2].squeeze()
    iio.imwrite(tmp_path / 'both/a.png', np.concatenate([left, right], 1))
    sample.main(['runs/a', '--input', f'both:{side}', '--output', 'made'])
    np.testing.assert_array_equal(read(tmp_path / 'made')['a.png'], 255 - (left if side == 'left' else right))


def test_without_input_test_pictures_are_translated(run, tmp_path):
    sample.main(['runs/a', '--output', 'made', '--count', '5'])
    found = read(tmp_path / 'made')
    assert sorted(found) == [f'{number:06d}.png' for number in range(5)]
    np.testing.assert_array_equal([found[name] for name in sorted(found)], 255 - shown()[:5].squeeze(3))
    sample.main(['runs/a', '--npz', 'made.npz', '--count', str(COUNT)])
    np.testing.assert_array_equal(np.load('made.npz')['images'], 255 - shown())


def test_the_picture_shows_pairs(run):
    sample.main(['runs/a', '--count', '3', '--zoom', '1'])
    picture = np.asarray(Image.open(run / 'samples.png'))
    both = np.concatenate([shown()[1], np.full([SIDE, 2, 1], 128), 255 - shown()[1]], 1)[..., 0]
    assert any(np.array_equal(picture[row:row + SIDE, column:column + 2 * SIDE + 2], both)
               for row in range(picture.shape[0] - SIDE) for column in range(picture.shape[1] - 2 * SIDE))


def test_grey_pictures_are_shown_beside_coloured_ones(run, pictures):
    sample.main(['runs/a', '--input', 'given', '--network', 'back', '--png', 'pairs.png'])
    assert np.asarray(Image.open('pairs.png')).ndim == 3


def test_blocks_are_bounded(run, tmp_path, monkeypatch):
    """However many pictures there are, no more than BLOCK of them are translated at once; none is lost between the blocks."""
    seen, translated = [], savedmodel.translated
    monkeypatch.setattr(translating, 'BLOCK', 16)
    monkeypatch.setattr(savedmodel, 'translated', lambda network, images: seen.append(len(images)) or translated(network, images))
    (tmp_path / 'many').mkdir()
    for number, image in enumerate(shown()):
        iio.imwrite(tmp_path / f'many/{number:02d}.png', image.squeeze())
    for given in ['--input', 'many'], ['--count', str(COUNT)]:
        seen.clear()
        sample.main(['runs/a', *given, '--output', f'made{len(given[1])}'])
        assert seen == [16] * (COUNT // 16) + [COUNT % 16]
        found = read(tmp_path / f'made{len(given[1])}')
        np.testing.assert_array_equal([found[name] for name in sorted(found)], 255 - shown().squeeze(3))


def test_broken_files_are_left_out_and_told(run, pictures, tmp_path, capsys):
    (tmp_path / 'given/broken.png').write_bytes(b'no picture')
    sample.main(['runs/a', '--input', 'given', '--output', 'made'])
    assert len(read(tmp_path / 'made')) == 4
    error = capsys.readouterr().err
    assert '1 of 5 files in given cannot be decoded and are left out; the first is broken.png: ' in error


@pytest.mark.parametrize('arguments, complaint', [
    (['--input', 'typo', '--output', 'made'], 'the folder typo does not exist'),
    (['--input', 'file', '--output', 'made'], 'file is a file: give the folder it is in'),
    (['--input', 'empty', '--output', 'made'], 'empty holds no pictures (.png, .jpg, '),
    (['--input', 'broken', '--output', 'made'], '1 of 1 files in broken cannot be decoded; the first is a.png: '),
    (['--input', 'twins', '--output', 'made'], 'a.bmp and a.png in twins would both be written as a.png: rename one'),
    (['--input', 'twins:left', '--output', 'twins/made'], 'is in twins:left, and would be translated next time'),
    (['--input', 'twins', '--output', 'twins/made'], 'is in twins, and would be translated next time: give another folder'),
    (['--input', 'twins', '--output', 'twins'], 'twins is not empty'),
    (['--input', 'given', '--count', '5'], 'given has 4 pictures: give --count 4 or less'),
    (['--count', '71'], 'runs/a has 70 pictures: give --count 70 or less'),
    (['--seed', '1'], 'the generator of runs/a takes images, not latents: leave out --seed'),
    (['--truncation', '1'], 'leave out --truncation'), (['--interpolate', 'a.png'], 'leave out --interpolate'),
    (['--class', '7'], 'leave out --class'), (['--arithmetic', '1 + 2'], 'leave out --arithmetic'),
    (['--index', '1'], 'leave out --index'), (['--numbered'], 'leave out --numbered'),
    (['--input', 'given', '--latents', 'a.npz'], '--latents' ),
    (['--network', 'typo'], "runs/a has no network 'typo': it has generator, back, encoder"),
    (['--network', '../a/back'], "has no network '../a/back'"),
    (['--network', 'encoder'], 'the encoder of runs/a takes images, not latents'),
    (['--network', 'back'], 'the test pictures of runs/a are for its generator: give some for back by --input'),
    (['--network', 'back', '--best', '--input', 'given'], 'runs/a holds no back-best'),
    (['--input', 'given', '--zoom', '1000'], 'enlarged 1000 times, takes more than 256 MiB')])
def test_mistakes_are_one_line_with_status_2(arguments, complaint, run, pictures, tmp_path, refused):
    (tmp_path / 'file').write_text('x')
    for name in 'empty', 'broken', 'twins':
        (tmp_path / name).mkdir()
    (tmp_path / 'broken/a.png').write_bytes(b'no picture')
    for suffix in 'bmp', 'png':
        iio.imwrite(tmp_path / f'twins/a.{suffix}', np.zeros([4, 4], np.uint8))
    before = contents(tmp_path)
    with refused(complaint):
        sample.main(['runs/a', *arguments])
    assert contents(tmp_path) == before


def test_a_seed_is_refused_where_there_are_no_latents(run, refused):
    with refused('the generator of runs/a takes images, not latents: leave out --seed'):
        metrics.main(['runs/a', '--seed', '5'])


def test_too_many_for_an_array_are_refused(run, refused, monkeypatch):
    monkeypatch.setattr(sample, 'LARGEST', 10 * 2 * math.prod([SIDE, SIDE]))
    with refused('11 pictures of 12x12x1 take 0.0 GiB: give --count 10 or less'):
        sample.main(['runs/a', '--npz', 'a.npz', '--count', '11'])
    sample.main(['runs/a', '--npz', 'a.npz', '--count', '10'])


def test_what_a_run_has_lost_is_told(run, refused):
    (run / 'inputs.npz').unlink()
    with refused('inputs.npz'):
        sample.main(['runs/a'])
