"""Codes: neighbours and probe against scikit-learn and SciPy, the table of a run with several encoders, the projector's files."""
import collections
import json
import re

import data
import retrieval
from plumbing import codes, files, measures, networks, projector, runfolder, savedmodel

import drive
import imageio.v3 as iio
import numpy as np
import pytest
import scipy.optimize
import tensorflow.compat.v1 as tf
from conftest import contents, random
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector import projector_plugin
from werkzeug.test import Client

# numbers

def test_the_nearest_others():
    x = random(1203, 7)
    expected = NearestNeighbors(n_neighbors=11).fit(x).kneighbors(x, return_distance=False)
    found = codes.nearest(x, 10)
    assert (found == expected[:, 1:]).mean() > 0.999  # near ties may fall either way
    assert not (found == np.arange(len(x))[:, None]).any()


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('away', [0, 1000])
def test_the_nearest_of_other_points_wherever_they_are(count, away):
    """A thousand deviations from 0, squares of 32 bits would not tell neighbours apart."""
    x, points = random(700, 5) + np.float32(away), random(1100, 5, seed=1) + np.float32(away)
    expected = NearestNeighbors(n_neighbors=count).fit(points.astype(float)).kneighbors(x.astype(float), return_distance=False)
    assert (codes.nearest(x, count, points) == expected).mean() > 0.995


def test_accuracy_of_the_nearest_is_that_of_a_classifier():
    labels, asked = np.arange(900) % 3, np.arange(200) % 3
    points, x = random(900, 4) + labels[:, None], random(200, 4, seed=1) + asked[:, None]
    expected = KNeighborsClassifier(1).fit(points, labels).score(x, asked)
    assert codes.agreement(codes.nearest(x, 1, points), labels, asked) == pytest.approx(expected, abs=1e-9) and expected < 0.9
    few = np.array([0, 0, 0, 1])
    assert codes.agreement(np.array([[1, 2], [0, 3], [3, 3], [0, 1]]), few, few) == 3 / 8


def linear(x, labels, test, decay):
    """Classes of `test` by the minimum of mean cross-entropy + decay / 2 |w|^2 on standardized x, in 64 bits, by BFGS."""
    mean, deviation = x.mean(0, dtype=float), x.std(0, dtype=float)
    x, test = (x - mean) / deviation, (test - mean) / deviation
    shape = x.shape[1] + 1, labels.max() + 1

    def loss(w):
        w = w.reshape(shape)
        logits = x @ w[1:] + w[0]
        cross_entropy = scipy.special.logsumexp(logits, 1) - logits[np.arange(len(x)), labels]
        return cross_entropy.mean() + decay / 2 * np.square(w[1:]).sum()

    w = scipy.optimize.minimize(loss, np.zeros(shape).ravel()).x.reshape(shape)
    return (test @ w[1:] + w[0]).argmax(1)


def test_the_probe_is_the_regression_that_it_says(monkeypatch):
    """Of unequal scales and classes, where another decay gives another accuracy."""
    labels, asked = np.repeat([0, 1, 2], [200, 60, 40]), np.arange(300) % 3
    scale = np.array([0.01, 1, 100], np.float32)
    x, test = ((random(300, 3, seed=seed) + 1.2 * np.eye(3, dtype='f')[given]) * scale + 5 * scale
               for seed, given in ((0, labels), (1, asked)))
    found = {}
    for decay in codes.DECAY, 1.0:
        monkeypatch.setattr(codes, 'DECAY', decay)
        found[decay] = codes.probe(x, labels, test, asked)
        assert found[decay] == pytest.approx((linear(x, labels, test, decay) == asked).mean(), abs=0.004)  # one of 300
    assert found[1.0] < found[codes.DECAY if codes.DECAY != 1 else 1e-3] - 0.05


# a run with several encoders

WEIGHTS = random(784, 4)


def codes_of(images):
    return (images.reshape(len(images), -1) / 127.5 - 1) @ WEIGHTS


def run_folder(folder, found, classes=tuple('0123456789'), dataset='mnist'):
    """The folder of a run as far as commands read it. found: {name: networks.Network} without variables."""
    folder.mkdir(parents=True)
    for name, network in found.items():
        savedmodel.export(folder / name, network, {})
    described = {name: network.described() for name, network in found.items()}
    files.write_json(folder / 'settings.json', dict(zip(runfolder.RECORDED, (
        'bigan.py', {'DATASET': dataset}, described, classes, None, [{'step': 0}]), strict=True)))
    return folder


def project(x):
    return tf.reshape(x, [-1, 784]) @ WEIGHTS


IMAGES, LABEL = networks.images(28, 1), networks.label(10)
GENERATOR = networks.network(lambda z: tf.reshape(z, [-1, 28, 28, 1]), 'images', z=networks.normal(784))
ENCODER = networks.network(project, 'codes', images=IMAGES)
FEATURES = networks.network(lambda x: tf.reshape(x[:, 14:], [-1, 392]), 'features', picture=IMAGES)     # the lower half
TOLD = networks.network(lambda x, y: tf.concat([project(x), y], 1), 'codes', images=IMAGES, label=LABEL)


def test_an_encoder_makes_codes_of_images_alone():
    denoiser = networks.network(lambda x: x, 'images', images=IMAGES)
    both = networks.network(lambda x, y: x + y, 'codes', x=IMAGES, y=IMAGES)
    for network in ENCODER, FEATURES, GENERATOR, TOLD, denoiser, both:
        assert networks.makes_codes(network.inputs, network.output) == (network in (ENCODER, FEATURES))


def test_the_table_of_a_run_with_several_encoders(tmp_path, monkeypatch, capsys):
    """96 pictures of ten bars: all of a class are the same picture. Precision at 10 is (60 x 9 + 36 x 8) / 960 at most."""
    monkeypatch.setattr(data, 'load', drive.load)
    folder = run_folder(tmp_path / 'run', {'generator': GENERATOR, 'features': FEATURES, 'encoder': ENCODER, 'other': TOLD})
    retrieval.main([str(folder), '--png', str(tmp_path / 'curve.png')])
    out = capsys.readouterr().out
    rows = {name: values for name, *values in re.findall(r'\| ([^|]+) \| (\d+) \| (\S+) \| (\S+) \| (\S+) \|', out)}
    assert list(rows) == ['pixels', 'run, features', 'run', 'principal components'] and out.startswith('96 labelled pictures')
    assert rows['pixels'] == ['784', '1.0000', '0.8625', '1.0000'] and rows['run'][:3] == ['4', '1.0000', '0.8625']
    size, *numbers = rows['run, features']                         # classes 0 to 4 are above: one of five is guessed
    assert size == '392' and all(float(number) < 0.8 for number in numbers)
    assert [size for size in re.findall(r'principal components \| (\d+)', out)] == ['4']        # no 392 of 96 pictures
    assert iio.imread(tmp_path / 'curve.png').std() > 1
    shown = iio.imread(folder / 'retrieval.png').astype(int)       # of the first network: black is nearest to black
    for row, query in enumerate(measures.subset(np.arange(96), 8)):
        first = shown[30 * row:30 * row + 28, 12 * 30:12 * 30 + 28]
        np.testing.assert_array_equal(first[14:], drive.load('')[0][query, 14:, :, 0])


@pytest.mark.parametrize('found, complaint', [
    ({'encoder': TOLD}, 'run: its encoder takes images and label, and codes are of images alone: leave this run out'),
    ({'generator': GENERATOR}, 'run holds no encoder: give the folder of a run that has a network from images to codes'),
    ({}, 'holds no encoder')])
def test_runs_without_an_encoder_of_images_alone_are_refused(found, complaint, tmp_path, refused):
    good, folder = run_folder(tmp_path / 'good', {'encoder': ENCODER}), run_folder(tmp_path / 'run', found)
    before = contents(tmp_path)
    with refused(complaint):
        retrieval.main([str(good), str(folder)])
    assert contents(tmp_path) == before


def test_codes_that_are_not_finite_and_sets_that_differ_are_refused(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(data, 'load', drive.load)
    endless = networks.network(lambda x: project(x) / 0.0, 'codes', images=IMAGES)
    with pytest.raises(files.UserError, match='the codes of a network hold NaN or infinity'):
        codes.encode(savedmodel.Loaded(run_folder(tmp_path / 'endless', {'encoder': endless}), 'encoder'), drive.load('')[0])
    larger = networks.network(lambda x: x[:, 0, 0, :], 'codes', images=networks.images(32, 1))
    runs = [run_folder(tmp_path / name, {'encoder': network}) for name, network in (('a', ENCODER), ('b', larger))]
    with refused('pixels: give those of one'):
        retrieval.main(list(map(str, runs)))
    monkeypatch.setattr(data, 'load', lambda *given: (drive.load('')[0], np.zeros(96, int)))
    with refused('96 training pictures of one class are nothing to tell classes from'):
        retrieval.main([str(runs[0])])


def test_of_large_sets_a_part_is_labelled(monkeypatch):
    images, labels = drive.load('')
    assert len(retrieval.labelled(images, labels)[0]) == 96
    monkeypatch.setattr(retrieval, 'LABELLED_BYTES', 50 * 784 * 4)
    chosen, told = retrieval.labelled(images, labels)
    assert len(chosen) == len(told) == 50
    np.testing.assert_array_equal(chosen[:, :, 10, 0].argmax(1), 2 * told.astype(int))          # where its bar begins


# TensorBoard's projector

class Runs:
    """In the place of what TensorBoard knows of the event files in a folder."""

    def list_runs(self, context, experiment_id):
        return [collections.namedtuple('Run', 'run_name')('run')]


def served(folder, name='encoder'):
    """What TensorBoard's own plugin serves of the run: (its description of the embedding, codes, lines, sprite)."""
    plugin = projector_plugin.ProjectorPlugin(TBContext(logdir=str(folder.parent), data_provider=Runs()))

    def get(route):
        response = Client(plugin.get_plugin_apps()[route]).get(f'?run=run&name={name}')
        assert response.status_code == 200, response.data
        return response.data
    embedding, = json.loads(get('/info'))['embeddings']
    points = np.frombuffer(get('/tensor'), np.float32).reshape(embedding['tensorShape'])
    return embedding, points, get('/metadata').decode().splitlines(), iio.imread(get('/sprite_image'))


def cell(sprite, number, side):
    """The part of a sprite that is shown of a point: rows are filled from the left, and as long as the sprite is wide."""
    row, column = divmod(number, sprite.shape[1] // side)
    return sprite[row * side:(row + 1) * side, column * side:(column + 1) * side]


@pytest.mark.parametrize('count', [96, 10])
def test_tensorboard_reads_codes_names_and_pictures(count, tmp_path, monkeypatch):
    monkeypatch.setattr(projector, 'COUNT', count)
    images, labels = drive.load('')
    names = [f'class {label}' for label in range(10)]
    names[3] = 'a\ttab\nand a line'
    folder = run_folder(tmp_path / 'run', {'encoder': ENCODER}, names)
    projector.write_projector(folder, 'encoder', images, labels, names)
    embedding, points, told, sprite = served(folder)
    assert points.shape == (count, 4) and len(told) == count and max(sprite.shape) <= 8192
    assert embedding['tensorName'] == 'encoder' and embedding['sprite']['singleImageDim'] == [28, 28]
    for number, (point, name) in enumerate(zip(points, told, strict=True)):
        shown = cell(sprite, number, 28)
        label, = np.unique(labels[(images[..., 0] == shown).all((1, 2))])       # a bar is as high as its class
        assert name == (r'a\ttab\nand a line' if label == 3 else f'class {label}')
        np.testing.assert_allclose(point, codes_of(shown[None, :, :, None])[0], rtol=1e-4, atol=1e-3)
    assert len(set(told)) == 10 if count == 96 else len(set(told)) > 2


def test_large_pictures_become_thumbnails_and_those_without_classes_are_numbered(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, [7, 128, 128, 3], np.uint8)
    found = networks.network(lambda x: tf.reduce_mean(x, [1, 2]), 'codes', images=networks.images(128, 3))
    folder = run_folder(tmp_path / 'run', {'encoder': found}, None, '/pictures')
    projector.write_projector(folder, 'encoder', images)
    before = contents(folder)
    projector.write_projector(folder, 'encoder', images)
    assert contents(folder) == before and {path.name for path in folder.iterdir()} == {
        'encoder', 'settings.json', 'projector', 'projector_config.pbtxt'}
    embedding, points, told, sprite = served(folder)
    assert embedding['sprite']['singleImageDim'] == [64, 64] and sprite.shape == (192, 192, 3)
    assert sorted(map(int, told)) == list(range(7))
    for number, index in enumerate(map(int, told)):
        halved = images[index].reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(cell(sprite, number, 64) - halved).max() <= 1         # it rounds twice
        np.testing.assert_allclose(points[number], images[index].mean((0, 1)) / 127.5 - 1, atol=1e-4)
    runfolder._remove(folder)                                      # as --fresh does
    assert not list(folder.iterdir())


def test_most_pictures_fill_a_sprite_that_browsers_take():
    assert projector.sprite(np.zeros([projector.COUNT, projector.SIDE, projector.SIDE, 1], np.uint8)).shape == (4544, 4544)
