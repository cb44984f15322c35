"""Latents: what is found of pictures, against least squares; directions against eigh; truncation, sums, files; the commands."""
import json
import re

import data
import invert
import sample
from benchmarks import truncation
from plumbing import decoder, drawing, features, files, inversion, latents, measures, networks, runfolder, savedmodel
from plumbing.picturecache import OnDisk

import drive
import imageio.v3 as iio
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import contents, random

Z, BOX, LABEL = networks.normal(4), networks.uniform(4), networks.label(3)
SIDE = 8
BASIS = np.linalg.qr(random(64, 64).astype(float))[0].astype(np.float32)       # rows are orthonormal
WEIGHTS = BASIS[:4] * np.float32([[0.9], [1.2], [0.7], [1.5]])


def painted(z, y=None):
    """z [N, 4], and y [N, 3], one-hot -> pictures [N, 8, 8, 1], linear in both."""
    x = tf.matmul(z, WEIGHTS)
    return tf.reshape(x if y is None else x + tf.matmul(y, 4 * BASIS[10:13]), [-1, SIDE, SIDE, 1])


def run_folder(folder, found, classes=None, dataset='mnist'):
    """The folder of a run as far as commands read it. found: {name: networks.Network} without variables."""
    folder.mkdir(parents=True)
    for name, network in found.items():
        savedmodel.export(folder / name, network, {})
    described = {name: network.described() for name, network in found.items()}
    files.write_json(folder / 'settings.json', dict(zip(runfolder.RECORDED, (
        'dcgan.py', {'DATASET': dataset}, described, classes, None, [{'step': 0}]), strict=True)))
    return folder


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """{name: folder of a run}."""
    root = tmp_path_factory.mktemp('runs')
    made = {'normal': {'generator': networks.network(painted, 'images', z=Z)},
            'box': {'generator': networks.network(painted, 'images', z=BOX)},
            'label': {'generator': networks.network(painted, 'images', z=Z, label=LABEL)},
            'points': {'generator': networks.network(lambda z: z[:, :2], 'points', z=Z)},
            'images': {'generator': networks.network(lambda x: x, 'images', images=networks.images(8, 1))},
            'none': {},
            'encoder': {'generator': networks.network(painted, 'images', z=Z), 'encoder': networks.network(
                lambda x: tf.matmul(tf.reshape(x, [-1, 64]), np.linalg.pinv(WEIGHTS)), 'codes', images=networks.images(8, 1))}}
    return {name: run_folder(root / name, found) for name, found in made.items()}


def pictures(z, y=0.0):
    """uint8 [N, 8, 8, 1] as `painted` makes them of latents [N, 4], and of y [N, 3]."""
    x = z @ WEIGHTS + (0 if np.isscalar(y) else y @ (4 * BASIS[10:13]))
    return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8).reshape(-1, SIDE, SIDE, 1)


def exact(images):
    """float [N, 64] in [-1, 1]."""
    return images.reshape(-1, 64) / 127.5 - 1


# from pictures to latents

def test_of_a_linear_generator_the_latents_are_those_of_least_squares(folders):
    """Of its own pictures and of any others; 70 of them are more than a batch. The same command gives the same bits."""
    images = np.concatenate([pictures(random(35, 4) * 0.5), np.uint8(128 + 10 * random(35, 8, 8, 1, seed=1).clip(-3, 3))])
    found = inversion.Inverter(savedmodel.generator(folders['normal']), starts=2, steps=300)(images)
    expected, *_ = np.linalg.lstsq(WEIGHTS.T, exact(images).T, rcond=None)
    np.testing.assert_allclose(found[0]['z'], expected.T, atol=5e-3)
    errors = np.square((expected.T @ WEIGHTS - exact(images)) / 2).mean(1)           # of pixels in [0, 1]
    np.testing.assert_allclose(found[1], errors, rtol=1e-3, atol=1e-6)
    assert (found[1] <= found[2]).all() and found[1][:35].max() < 1e-5
    again = inversion.Inverter(savedmodel.generator(folders['normal']), starts=2, steps=300)(images)
    np.testing.assert_array_equal(again[0]['z'], found[0]['z'])


def test_a_picture_alone_and_among_others_has_the_same_latents(folders):
    inverter = inversion.Inverter(savedmodel.generator(folders['normal']), steps=20)
    images = pictures(random(40, 4))
    np.testing.assert_array_equal(inverter(images[38:])[0]['z'], inverter(images)[0]['z'][38:])


def test_a_uniform_latent_stays_in_its_box(folders):
    images = pictures(np.float32([[1.6, -0.5, 0.2, 0], [-1.4, 1.2, 0.3, -1.3], [0.1, 0.2, -0.3, 0.4]]) * 0.9)
    z, errors, _ = inversion.Inverter(savedmodel.generator(folders['box']), steps=400)(images)
    for found, error, image in zip(z['z'], errors, images, strict=True):
        expected = scipy.optimize.lsq_linear(WEIGHTS.T, exact(image)[0], (-1, 1))
        np.testing.assert_allclose(found, expected.x, atol=5e-3)
        assert np.abs(found).max() <= 1 and error == pytest.approx(2 * expected.cost / 64 / 4, rel=1e-3, abs=1e-6)


def test_a_latent_that_is_longer_than_draws_is_pulled_back(folders, monkeypatch):
    """At the minimum along u, a unit vector of the latents: d/dr of |r a - x|^2 / (4 * 64) + PULL (r^2 - n)^2 / 4n is 0."""
    monkeypatch.setattr(inversion, 'PULL', 0.01)
    images = pictures(np.float32([[0, 0, 3, 0], [0, 0, 1.5, 0]]))
    z, *_ = inversion.Inverter(savedmodel.generator(folders['normal']), steps=600)(images)
    x, a = exact(images), WEIGHTS[2].astype(float)
    np.testing.assert_allclose(z['z'][1], [0, 0, x[1] @ a / (a @ a), 0], atol=0.02)      # 1.5 < 2, the length of draws
    place = scipy.optimize.brentq(lambda r: (r * a @ a - x[0] @ a) / 128 + 0.01 * r * (r * r - 4) / 4, 0, 5)
    np.testing.assert_allclose(z['z'][0], [0, 0, place, 0], atol=0.02)
    assert place < 2.9


def test_the_class_is_found_or_given(folders):
    y = np.eye(3)[[0, 1, 2, 2]]
    images = pictures(0.2 * random(4, 4), y)
    z, errors, _ = inversion.Inverter(savedmodel.generator(folders['label']))(images)
    assert z['label'].tolist() == [0, 1, 2, 2] and errors.max() < 1e-3 and z['label'].dtype == np.int32
    z, worse, _ = inversion.Inverter(savedmodel.generator(folders['label']), classes=[1])(images)
    assert z['label'].tolist() == [1] * 4 and worse[[0, 2, 3]].min() > 0.01 and worse[1] < 1e-3


def test_an_encoder_gives_a_start(folders):
    """The encoder here is the inverse; without a step only its start is right."""
    images = pictures(0.5 * random(3, 4))
    generate = savedmodel.generator(folders['encoder'])
    _, errors, before = inversion.Inverter(generate, savedmodel.Loaded(folders['encoder'], 'encoder'), 1, 0)(images)
    assert errors.max() < 1e-5 and (before == errors).all()
    assert inversion.Inverter(generate, None, 1, 0)(images)[1].min() > 3e-5
    assert inversion.Inverter(generate, savedmodel.Loaded(folders['encoder'], 'encoder'), 1, 10)(images)[1].max() < 1e-4


# directions

def test_directions_are_those_of_the_largest_eigenvalues():
    weights = random(12, 30)
    found = latents.directions(weights)
    values, vectors = np.linalg.eigh(weights.astype(float) @ weights.T.astype(float))
    assert found.shape == (12, 12)
    np.testing.assert_allclose(np.abs(np.einsum('ij,ij->i', found, vectors.T[::-1])), 1, atol=1e-9)
    np.testing.assert_allclose(np.square(found @ weights).sum(1), values[::-1], rtol=1e-5)
    assert (np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1) > 0).all()
    np.testing.assert_array_equal(found, latents.directions(weights))


def layered(z, code, y, training):
    """The first layer takes z between the label and a code; what follows is no part of it."""
    w = tf.get_variable('w', [3 + 3 + 2, 6])
    h = tf.matmul(tf.identity(tf.concat([y, z, code], 1)), w)
    return tf.reshape(tf.tile(tf.tanh(h), [1, 12])[:, :64], [-1, 8, 8, 1])


@pytest.fixture(scope='module')
def made_by_hand(tmp_path_factory):
    """A generator whose layer moves most along the second number of z, then along the code's first, then ..."""
    rows = 9 * np.eye(8, 6)[:, ::-1]
    rows[3:8] = np.eye(5, 6) * np.array([[2], [5], [1], [4], [3]])
    network = networks.network(layered, 'images', z=networks.normal(3), code=networks.uniform(2), label=networks.label(3))
    folder = tmp_path_factory.mktemp('by') / 'hand'
    folder.mkdir()
    savedmodel.export(folder / 'generator', network, {'w': rows.astype(np.float32)})
    files.write_json(folder / 'settings.json', dict(zip(runfolder.RECORDED, (
        'x.py', {'DATASET': 'mnist'}, {'generator': network.described()}, None, None, [{'step': 0}]), strict=True)))
    return folder


def test_the_directions_of_a_generator_made_by_hand(made_by_hand):
    """The label's rows, larger than all, are no part of it."""
    np.testing.assert_allclose(drawing.directions(savedmodel.generator(made_by_hand)), np.eye(5)[[1, 3, 4, 0, 2]], atol=1e-6)


def test_a_direction_moves_the_latents_that_it_says(made_by_hand, tmp_path):
    for name, more in ('plain', []), ('moved', ['--direction', '1', '--by', '0.25']):
        sample.main([str(made_by_hand), '--npz', str(tmp_path / f'{name}.npz'), '--count', '5', *more])
    plain, moved = (np.load(tmp_path / f'{name}.npz') for name in ('plain', 'moved'))
    np.testing.assert_allclose(moved['code'] - plain['code'], [[0.25, 0]] * 5, atol=1e-6)
    np.testing.assert_array_equal(moved['z'], plain['z'])
    assert (moved['images'] != plain['images']).any() and moved['labels'].tolist() == [0, 1, 2, 0, 1]


def test_a_picture_of_directions(made_by_hand, tmp_path, capsys, refused):
    """A row for each, with the sample itself in the middle."""
    path = tmp_path / 'directions.png'
    sample.main([str(made_by_hand), '--directions', str(path), '--index', '2', '--by', '2', '--zoom', '1'])
    sample.main([str(made_by_hand), '--index', '2', '--zoom', '1', '--png', str(tmp_path / 'one.png')])
    shown, one = iio.imread(path)[:, -68:], iio.imread(tmp_path / 'one.png')
    assert shown.shape == (5 * 10 - 2, 7 * 10 - 2)
    for row in range(5):
        np.testing.assert_array_equal(shown[10 * row:10 * row + 8, 30:38], one)
    assert (shown[:8, :8] != shown[:8, 60:68]).any()
    capsys.readouterr()
    with refused('there is no direction 5: give a number from 0 to 4'):
        sample.main([str(made_by_hand), '--direction', '5', '--png', str(path)])


def test_what_is_not_fully_connected_has_no_directions(tmp_path, refused):
    network = networks.network(lambda z: tf.reshape(tf.tanh(z), [-1, 8, 8, 1]), 'images', z=networks.normal(64))
    with refused('the first layer that takes z is not fully connected'):
        sample.main([str(run_folder(tmp_path / 'run', {'generator': network})), '--direction', '0'])


# truncation

@pytest.mark.parametrize('threshold', [0.3, 1, 2.5])
def test_truncated_latents_have_the_truncated_distribution(threshold):
    z = {'z': random(4000, 4)}
    found = latents.truncated({'z': Z}, z, threshold)['z']
    assert np.abs(found).max() <= threshold and found.dtype == np.float32
    assert scipy.stats.kstest(found.ravel(), scipy.stats.truncnorm(-threshold, threshold).cdf).pvalue > 0.01
    assert (np.argsort(found[:, 0]) == np.argsort(z['z'][:, 0])).mean() > 0.99        # the same sample, nearer to the middle


def test_a_far_threshold_changes_nothing_and_a_box_is_scaled():
    z = random(1000, 4)
    np.testing.assert_allclose(latents.truncated({'z': Z}, {'z': z}, 9)['z'], z, rtol=1e-4, atol=1e-6)
    box = networks.uniform(2, 1, 5)
    moved = latents.truncated({'z': box, 'label': LABEL}, {'z': np.float32([[1, 4]]), 'label': np.array([2])}, 0.5)
    np.testing.assert_allclose(moved['z'], [[2, 3.5]])
    assert moved['label'].tolist() == [2]
    for inputs, threshold, told in ({'z': Z}, 0, 'above 0'), ({'z': Z}, -1, 'above 0'), ({'z': box}, 1.5, r'in \(0, 1\]'):
        with pytest.raises(files.UserError, match=f'the truncation must be {told}'):
            latents.truncated(inputs, {'z': z[:, :2]}, threshold)


def test_the_price_of_truncation(folders, monkeypatch, capsys, tmp_path):
    """The table's row without truncation is that of plain samples; a middle that is one picture covers nothing."""
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(truncation, 'THRESHOLDS', (0.001,))
    truncation.main([str(folders['normal']), '--png', str(tmp_path / 'curve.png'), '--count', '100'])
    rows = dict(re.findall(r'^\| ([^|]+) \| (.*) \|$', capsys.readouterr().out, re.M))
    assert list(rows) == ['truncation', '0.001', 'none', 'real pictures']
    extract = features.extractor('mnist')
    reference, found = (extract(measures.subset(images, 96))[0] for images in (
        drive.load('', size=8)[0], savedmodel.samples(folders['normal'], 96)))
    assert float(rows['none'].split(' | ')[0]) == pytest.approx(measures.frechet_distance(reference, found), abs=1e-3)
    assert rows['0.001'].endswith('0.000')
    assert iio.imread(tmp_path / 'curve.png').std() > 1


# sums

def test_a_sum_is_read_as_it_is_written():
    assert latents.terms('0,1,2 - 3,4 + class:7') == [(1, [0, 1, 2]), (-1, [3, 4]), (1, '7')]
    assert latents.terms(' - 3 + 2.5*class:ankle boot - 2*10, 11') == [(-1, [3]), (2.5, 'ankle boot'), (-2, [10, 11])]
    assert latents.terms('class:T-shirt/top') == [(1, 'T-shirt/top')]
    for text in '', '1-2', '1 + ', 'x', '1 2', 'class:', '1.5', '1 + + 2', '99999999999':
        with pytest.raises(files.UserError, match='sum'):
            latents.terms(text)


def test_a_sum_of_means():
    z = random(6, 3)
    total, means = latents.combined(z, [(1, [0, 1, 2]), (-2, [3]), (1, [4, 5])])
    np.testing.assert_allclose(total, z[:3].mean(0) - 2 * z[3] + z[4:].mean(0), rtol=1e-5)
    np.testing.assert_allclose(means, [z[:3].mean(0), z[3], z[4:].mean(0)], rtol=1e-5)


def test_arithmetic_of_numbered_samples(folders, tmp_path):
    path = tmp_path / 'sum.npz'
    sample.main([str(folders['normal']), '--arithmetic', '0,2 - 3', '--npz', str(path), '--seed', '4'])
    z = networks.draw({'z': Z}, 4, 4)['z']
    expected = z[[0, 2]].mean(0) - z[3]
    np.testing.assert_allclose(np.load(path)['z'], [expected], rtol=1e-5)
    np.testing.assert_array_equal(np.load(path)['images'], pictures(expected[None]))
    sample.main([str(folders['normal']), '--arithmetic', '0,2 - 3', '--seed', '4'])
    shown = iio.imread(folders['normal'] / 'arithmetic.png')
    assert shown.shape == (2 * (3 * 10 - 2), 2 * (7 * 10 - 2))
    np.testing.assert_array_equal(shown[-16::2, -16::2], pictures(expected[None])[0, :, :, 0])


def test_arithmetic_of_classes(folders, tmp_path, capsys, refused):
    """A conditional run knows its samples' classes; a file of latents may say them."""
    path = tmp_path / 'sum.npz'
    sample.main([str(folders['label']), '--arithmetic', 'class:2 - class:0', '--npz', str(path)])
    drawn = networks.draw({'z': Z, 'label': LABEL}, sample.LABELLED)
    expected = drawn['z'][2::3].mean(0) - drawn['z'][::3].mean(0)
    np.testing.assert_allclose(np.load(path)['z'], [expected], rtol=1e-4, atol=1e-6)
    assert np.load(path)['labels'].tolist() == [2]
    z = random(4, 4)
    np.savez(tmp_path / 'mine.npz', z=z, labels=[7, 7, 3, 7])
    sample.main([str(folders['normal']), '--arithmetic', 'class:7 - class:3', '--npz', str(path), '--latents',
                 str(tmp_path / 'mine.npz')])
    np.testing.assert_allclose(np.load(path)['z'], [z[[0, 1, 3]].mean(0) - z[2]], rtol=1e-5)
    capsys.readouterr()
    with refused("there is no class '7': give one of 0, 1, 2"):
        sample.main([str(folders['label']), '--arithmetic', 'class:7'])


# files of latents, and the commands

@pytest.fixture
def photo(tmp_path):
    """A picture file of another size, with transparency, that is one of the generator's own."""
    image = pictures(np.float32([[0.3, -0.4, 0.5, 0.2]]))[0, :, :, 0].repeat(5, 0).repeat(5, 1)
    wide = np.pad(image, [(0, 0), (20, 20)])
    iio.imwrite(tmp_path / 'a photo.png', np.dstack([wide, wide, wide, np.full_like(wide, 255)]))
    return tmp_path / 'a photo.png'


def test_pictures_become_latents_that_are_drawn_again(folders, photo, tmp_path, capsys, monkeypatch):
    iio.imwrite(tmp_path / 'b.png', 255 - iio.imread(photo)[..., 0])
    run, path = str(folders['normal']), folders['normal'] / 'inverted.npz'
    monkeypatch.setattr(inversion, 'POOL', 64)
    invert.main([run, str(photo)])
    first = np.load(path)['z']
    invert.main([run, str(tmp_path / 'b.png'), str(photo), '--negative'])
    found, out = np.load(path), capsys.readouterr().out
    assert f'0: {photo}, error 0.00' in out and f'wrote {path} and ' in out
    expected, *_ = np.linalg.lstsq(WEIGHTS.T, exact(decoder.decode(photo, 8, 1)[0])[0], rcond=None)
    np.testing.assert_allclose(first, [expected], atol=5e-3)
    np.testing.assert_allclose(found['z'], [expected, -expected], atol=5e-3)
    assert found['error'].shape == (2,) and iio.imread(path.with_suffix('.png')).shape == (16 + 2 + 16 + 12, 2 * 18)
    sample.main([run, '--latents', str(path), '--npz', str(tmp_path / 'again.npz')])
    np.testing.assert_array_equal(np.load(tmp_path / 'again.npz')['images'], pictures(found['z']))
    sample.main([run, '--latents', str(path), '--index', '1', '--zoom', '1', '--png', str(tmp_path / 'one.png')])
    np.testing.assert_array_equal(iio.imread(tmp_path / 'one.png'), pictures(found['z'])[1, :, :, 0])


def test_walks_lead_from_each_latent_to_the_next(folders, tmp_path):
    z = random(3, 4)
    np.savez(tmp_path / 'three.npz', z=z, label=np.int32([0, 2, 1]))
    sample.main([str(folders['label']), '--latents', str(tmp_path / 'three.npz'), '--interpolate', str(tmp_path / 'walk.png'),
                 '--zoom', '1'])
    shown, ends = iio.imread(tmp_path / 'walk.png'), pictures(z, np.eye(3)[[0, 2, 1]])[..., 0]
    assert shown.shape == (18, 98)
    for row in 0, 1:
        np.testing.assert_array_equal(shown[10 * row:10 * row + 8, :8], ends[row])
        np.testing.assert_array_equal(shown[10 * row:10 * row + 8, -8:], ends[row + 1])
    middle = pictures(drawing.slerp(z[:1], z[1:2], [5 / 9])[:, 0], [[4 / 9, 0, 5 / 9]])[0, ..., 0]
    np.testing.assert_allclose(shown[:8, 50:58].astype(int), middle, atol=1)


def test_a_file_has_what_was_drawn(folders, tmp_path):
    """What --npz writes is drawn again by --latents, of some and in another class too."""
    run, path = str(folders['label']), str(tmp_path / 'a.npz')
    sample.main([run, '--npz', path, '--count', '9', '--truncation', '0.5'])
    assert np.abs(np.load(path)['z']).max() <= 0.5
    sample.main([run, '--latents', path, '--npz', str(tmp_path / 'b.npz'), '--count', '4', '--class', '1'])
    found = np.load(tmp_path / 'b.npz')
    np.testing.assert_array_equal(found['z'], np.load(path)['z'][:4])
    assert found['labels'].tolist() == [1] * 4
    np.testing.assert_array_equal(found['images'], pictures(found['z'], np.eye(3)[[1] * 4]))


@pytest.mark.parametrize('large', [False, True])
def test_the_table_of_test_pictures(large, folders, monkeypatch, capsys, tmp_path):
    """Pictures of the set are none of the generator's: what is found is nearer than the samples, and seen as nothing sure.

    large: of which training pictures stay on the disk.
    """
    def load(name, split='train', *given, **more):
        images, labels = drive.load(name, split, *given, **more)
        if large and split == 'train':
            np.save(tmp_path / 'pictures.npy', images)
            images = OnDisk(tmp_path / 'pictures.npy')
        return images, labels

    monkeypatch.setattr(data, 'load', load)
    monkeypatch.setattr(inversion, 'POOL', 64)
    invert.main([str(folders['normal']), '--test', '20', '--steps', '50', '--npz', str(tmp_path / 'a.npz'), '--png',
                 str(tmp_path / 'a.png')])
    rows = {cells[1].strip(): cells[2:-1] for cells in (line.split('|') for line in capsys.readouterr().out.splitlines()
                                                        if line.startswith('|'))}
    assert float(rows['found'][0]) < float(rows['the nearest of the samples at the start'][0])
    assert float(rows['the nearest training pictures'][0]) == 0 and len(rows['found']) == 2
    found = np.load(tmp_path / 'a.npz')
    assert found['labels'].shape == (20,) and found['error'].mean() == pytest.approx(float(rows['found'][0]), abs=1e-4)


BAD = {'other.npz': {'z': np.zeros([2, 4], 'f'), 'generator': np.array('0' * 64)}, 'short.npz': {'z': np.zeros([2, 3], 'f')},
       'whole.npz': {'z': np.zeros([2, 4], int)}, 'empty.npz': {'z': np.zeros([0, 4], 'f')}, 'none.npz': {'images': np.zeros(3)},
       'nan.npz': {'z': np.full([2, 4], np.nan, 'f')}, 'sum.npz': {'z': np.zeros([2, 4], 'f'), 'generator': np.zeros(3)},
       'pickle.npz': {'z': np.array([{}])}, 'two.npz': {'z': np.zeros([2, 4], 'f')}, 'one.npz': {'z': np.zeros([1, 4], 'f')},
       'many.npz': {'z': np.zeros([2, 4], 'f'), 'labels': np.array([0, 2**40])}}


@pytest.mark.parametrize('arguments, complaint', [
    (['--latents', 'other.npz'], 'other.npz holds latents of another generator: make it again with this one'),
    (['--latents', 'short.npz'], 'z is float32 [2, 3], where this one takes real numbers [N, 4]'),
    (['--latents', 'whole.npz'], 'where this one takes real numbers'), (['--latents', 'empty.npz'], 'another kind of generator'),
    (['--latents', 'none.npz'], 'none.npz has no z, which the generator takes'), (['--latents', 'nan.npz'], 'is not finite'),
    (['--latents', 'sum.npz'], 'not the text that invert.py writes'), (['--latents', 'pickle.npz'], 'another kind of generator'),
    (['--latents', 'gone.npz'], 'gone.npz does not exist: invert.py writes one'),
    (['--latents', 'text.npz'], 'text.npz is not a whole .npz file'),
    (['--latents', 'two.npz', '--index', '2'], 'two.npz has 2 latents, from 0 to 1, and no 2'),
    (['--latents', 'two.npz', '--count', '3'], 'and no 2'),
    (['--latents', 'two.npz', '--seed', '1'], 'do not go together'),
    (['--latents', 'one.npz', '--interpolate', 'w.png'], 'one.npz has one, so leave out --interpolate'),
    (['--latents', 'two.npz', '--count', '1', '--interpolate', 'w.png'], 'to another: leave out --count'),
    (['--latents', 'many.npz', '--arithmetic', '0'], 'many.npz: labels must be from 0 to 65535'),
    (['--by', '1e300', '--direction', '1'], 'latents too large for a generator: give smaller numbers'),
    (['--arithmetic', '9' * 44 + '*3'], 'latents too large'),
    (['--arithmetic', '9' * 400 + '*3 - ' + '9' * 400 + '*2'], 'latents too large'),
    (['--truncation', '0'], 'the truncation must be above 0, not 0'),
    (['--truncation', 'x'], "the truncation is a number, not 'x'"), (['--truncation', 'nan'], 'the truncation is a number'),
    (['--direction', '4'], 'there is no direction 4: give a number from 0'),
    (['--direction', '-1'], 'the direction is a whole number'), (['--by', 'inf'], 'the distance is a number'),
    (['--by', '2'], '--by is how far to move along a --direction'),
    (['--arithmetic', 'foo'], "'foo' is not a term of a sum"), (['--arithmetic', ''], "'' is not a term of a sum"),
    (['--arithmetic', '1', '--index', '2'], 'do not go together'),
    (['--arithmetic', '3', '--latents', 'two.npz'], 'there is no sample 3: give numbers from 0 to 1'),
    (['--arithmetic', '1', '--files', 'x'], 'do not go together'), (['--directions', 'x.txt'], 'must end in .png'),
    (['--directions', 'x.png', '--direction', '0'], '--directions and --direction do not go together'),
    (['--directions', 'x.png', '--direction', '1'], 'do not go together'),
    (['--arithmetic', '1', '--index', '0'], 'do not go together'),
    (['--latents', 'two.npz', '--seed', '0'], 'do not go together'),
    (['--directions', 'x.png', '--png', 'y.png'], 'not allowed')])
def test_mistakes_with_latents_are_one_line_with_status_2(arguments, complaint, folders, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    for name, arrays in BAD.items():
        np.savez(name, **arrays)
    (tmp_path / 'text.npz').write_text('x')
    before = contents(tmp_path), contents(folders['normal'])
    with refused(complaint):
        sample.main([str(folders['normal']), *arguments])
    assert (contents(tmp_path), contents(folders['normal'])) == before


@pytest.mark.parametrize('run, arguments, complaint', [
    ('typo', ['a photo.png'], 'there is no folder'), ('none', ['a photo.png'], 'holds no generator'),
    ('images', ['a photo.png'], 'takes images, not latents'), ('points', ['a photo.png'], 'makes points, not images'),
    ('normal', [], 'give picture files, or else --test N'), ('normal', ['a photo.png', '--test', '3'], 'give picture files, or'),
    ('normal', ['text.png'], 'text.png cannot be read'), ('normal', ['gone.png'], 'gone.png cannot be read (No such file'),
    ('normal', ['.'], '. is a folder: give picture files'), ('normal', ['a photo.png', '--class', '1'], 'not a conditional run'),
    ('label', ['a photo.png', '--class', '3'], "has no class '3'"), ('normal', ['--test', '0'], 'the number of test pictures'),
    ('normal', ['--test', '97', '--steps', '1'], 'mnist has 96 test pictures: give --test 96 or less'),
    ('normal', ['--test', '3', '--negative'], 'not of --test'), ('normal', ['a photo.png', '--starts', '0'], 'number of starts'),
    ('normal', ['a photo.png', '--png', 'x.npz'], 'must end in .png'),
    ('normal', ['a photo.png', '--npz', '.'], '. is a folder'),
    ('normal', ['a photo.png', '--npz', 'text.png/x.npz'], 'text.png is a file, so that text.png/x.npz cannot be in it'),
    ('normal', ['a photo.png', '--png', './a photo.png'], '--png a photo.png would overwrite another file of this command'),
    ('normal', ['a photo.png', '--npz', 'x.png', '--png', 'x.png'], '--npz x.png would overwrite another file')])
def test_mistakes_of_invert_are_one_line_with_status_2(run, arguments, complaint, folders, photo, monkeypatch, refused):
    monkeypatch.chdir(photo.parent)
    monkeypatch.setattr(data, 'load', drive.load)
    (photo.parent / 'text.png').write_text('no picture')
    before = contents(photo.parent), contents(folders['normal'])
    with refused(complaint):
        invert.main([str(folders.get(run, run)), *arguments])
    assert (contents(photo.parent), contents(folders['normal'])) == before


# generators in weights/

def test_a_frozen_generator_has_weights_of_half_the_bits(tmp_path):
    """Large weights are rounded to 16 bits, and small ones are not; classes can still be asked for."""
    large, small = random(103, 64), random(64, seed=1)

    def made(z, y):
        h = tf.matmul(tf.concat([z, y], 1), tf.get_variable('large', large.shape)) + tf.get_variable('small', small.shape)
        return tf.reshape(h, [-1, 8, 8, 1])

    network = networks.network(made, 'images', z=networks.normal(100), label=LABEL)
    run = run_folder(tmp_path / 'run', {})
    savedmodel.export(run / 'generator', network, {'large': large, 'small': small})
    record = json.loads((run / 'settings.json').read_text())
    files.write_json(run / 'settings.json', {**record, 'networks': {'generator': network.described()}})
    savedmodel.freeze(run, tmp_path / 'small/generator')
    files.write_json(tmp_path / 'small/settings.json', json.loads((run / 'settings.json').read_text()))
    z, label = random(70, 100, seed=2), np.arange(70) % 3
    expected = np.concatenate([z, np.eye(3)[label]], 1) @ large.astype(np.float16).astype(float) + small
    found = savedmodel.generator(tmp_path / 'small')
    np.testing.assert_allclose(found(z=z, label=label).reshape(70, 64), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.first_layer(), large[:100].astype(np.float16).astype(float))
    size = (tmp_path / 'small/generator/saved_model.pb').stat().st_size
    assert 2 * large.size + 4 * small.size < size < 2.4 * large.size + 4 * small.size + 8000


@pytest.mark.parametrize('name', ['dcgan-mnist', 'dcgan-fashion_mnist'])
def test_the_generators_in_weights_draw(name, tmp_path):
    folder = invert.__file__.replace('invert.py', f'weights/{name}')
    sample.main([folder, '--png', str(tmp_path / 'a.png'), '--count', '9'])
    assert 20 < iio.imread(tmp_path / 'a.png').mean() < 120
    assert sum(path.stat().st_size for path in runfolder.pathlib.Path(folder).rglob('*') if path.is_file()) < 4e6
