"""Networks with named inputs: a small conditional script, written here, from its batches to its samples.

Its generator paints what it is given: the label on the upper half of a picture, z and the code on the lower one. So what a
picture was made from can be read off its pixels.
"""
import json
import shutil

import sample
from plumbing import drawing, savedmodel

import forkserver
import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow as tf2
from conftest import assert_same_run, scalars, wait_for, weights
from PIL import Image

pytestmark = pytest.mark.slow
SCRIPT = '''"""A conditional GAN for a test, 2026."""
import data
import ops
import run

import tensorflow.compat.v1 as tf

DATASET = 'mnist'        # a folder of pictures
IMAGE_SIZE = 8           # pixels on a side
CHANNELS = 3             # colour
STEPS = 5                # one step is one update of D, then one of G
BATCH_SIZE = 8           # pictures in an update
WEIGHT_AVERAGE = 0.9     # EMA decay, in [0, 1)
SEED = 0                 # random seed
PRECISION = 'float32'    # the pixels are read


def generator(z, code, y, training):
    with ops.network('generator'):
        w = tf.get_variable('w', [6], initializer=tf.ones_initializer())
        values = w * tf.concat([tf.tanh(z) / 2, code / 2], 1)                               # [B, 6]
        paint = tf.repeat(tf.matmul(y, [[0.0], [1.0], [2.0]]) / 2 - 0.75, 8, 1)           # [B, 8]
        lower = tf.concat([values, tf.zeros_like(values[:, :2])], 1)                        # [B, 8]
        rows = tf.concat([tf.repeat(paint[:, None], 4, 1), tf.repeat(lower[:, None], 4, 1)], 1)
        return tf.repeat(rows[..., None], 3, 3)                                             # [B, 8, 8, 3]


def discriminator(x, y):
    with ops.network('discriminator'):
        h = tf.concat([tf.reshape(x, [-1, 192]), y], 1)
        return ops.dense(tf.nn.leaky_relu(ops.dense(h, 8, 'dense1')), 1, 'dense2')


def main():
    tf.set_random_seed(SEED)
    images, labels = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    classes = data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True)
    with tf.variable_scope('data'):
        x, label = data.batches((images, labels), BATCH_SIZE)
        y = tf.one_hot(label, len(classes))
        z, code = ops.noise([BATCH_SIZE, 4]), 2 * ops.uniform([BATCH_SIZE, 2], 'code') - 1
    fake = generator(z, code, y, training=True)
    with tf.name_scope('losses'):
        d_loss = tf.reduce_mean(tf.nn.softplus(-discriminator(x, y)) + tf.nn.softplus(discriminator(fake, y)))
        g_loss = tf.reduce_mean(tf.nn.softplus(-discriminator(fake, y)))
        bright = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(x[:, 0, 0], 1, output_type=tf.int32), label), tf.float32))
    left = ops.linear_decay()
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(1e-2 * left, 0.5), d_loss, 'discriminator/')
        g_step = ops.minimize(tf.train.AdamOptimizer(1e-2 * left, 0.5), g_loss, 'generator/')
    run.train(globals(), updates=[d_step, g_step], scalars={'d_loss': d_loss, 'g_loss': g_loss, 'left': left, 'bright': bright},
              networks={'generator': run.network(generator, 'images', z=run.normal(4), code=run.uniform(2),
                                                 label=run.label(len(classes)))})


if __name__ == '__main__':
    run.main(globals())
'''
CLASSES = ['blue', 'green', 'red']
FLAGS = ('--epochs 2 --log-every 1 --sample-every 4 --eval-every 4 --eval-count 70 --checkpoint-every 4 --grid 12').split()
STEPS = 11    # of 90 pictures 81 are trained on; a step draws 8 for D and 8 for G, whose labels are drawn too: 2 * 81 / 16


@pytest.fixture(scope='module')
def started(tmp_path_factory):
    """The function that starts the script on a folder of pictures whose brightest channel is their class."""
    path, random = tmp_path_factory.mktemp('painter'), np.random.default_rng(0)
    (path / 'painter.py').write_text(SCRIPT)
    for number, name in enumerate(CLASSES):
        (path / f'set/{name}').mkdir(parents=True)
        for i in range(30):
            pixels = random.integers(0, 100, [8, 8, 3], np.uint8)
            pixels[..., number] += 150
            Image.fromarray(pixels).save(path / f'set/{name}/{i}.png')
    return lambda folder, *more: forkserver.start(
        path / 'painter.py', '--dataset', path / 'set', '--run-dir', folder, *FLAGS, *more, driven=False,
        environment={'XDG_CACHE_HOME': str(path / 'cache')})


@pytest.fixture(scope='module')
def finished(started, tmp_path_factory):
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp('finished') / 'run'
    process = started(folder)
    out, error = process.communicate()
    assert process.returncode == 0 and f'starts at step 0 of {STEPS} (2 passes over the data)' in out, error
    return folder


def read(images):
    """Pictures uint8 [N, 8, 8, 3] -> what they were painted from: labels [N], the six numbers [N, 6] in bytes."""
    assert (images == images[..., :1]).all() and (images[:, :4] == images[:, :1, :1]).all()
    assert (images[:, 4:] == images[:, 4:5]).all()
    paints = np.rint((np.arange(3) / 2 - 0.75 + 1) * 127.5)
    labels = np.argmax(images[:, 0, 0, :1] == paints, 1)
    np.testing.assert_array_equal(images[:, 0, 0, 0], paints[labels])
    return labels, images[:, 4, :6, 0].astype(int)


def painted(folder, z, code):
    """The six numbers in bytes that the averaged generator makes, by NumPy."""
    w = weights(folder)['sampling/generator/w']
    return np.rint((w * np.concatenate([np.tanh(z) / 2, code / 2], 1) + 1) * 127.5)


def test_the_run_knows_its_networks_and_classes(finished):
    record = json.loads((finished / 'settings.json').read_text())
    empty = {'bounds': [], 'classes': 0}
    assert record['networks'] == {'generator': {'output': 'images', 'inputs': {
        'z': {**empty, 'kind': 'normal', 'shape': [4]}, 'code': {**empty, 'kind': 'uniform', 'shape': [2], 'bounds': [-1, 1]},
        'label': {**empty, 'kind': 'label', 'shape': [], 'classes': 3}}}}
    assert record['classes'] == CLASSES


def test_labels_come_with_their_images_and_rates_fall_to_the_end_of_the_epochs(finished):
    rows = scalars(finished)
    assert [int(row['step']) for row in rows] == list(range(1, STEPS + 1))
    assert {float(row['bright']) for row in rows} == {1}
    np.testing.assert_allclose([float(row['left']) for row in rows], 1 - np.arange(STEPS) / STEPS, rtol=1e-5)


def test_it_is_measured_while_it_trains(finished):
    rows = scalars(finished)
    assert [row['step'] for row in rows if row['frechet_70']] == ['4', '8', str(STEPS)]
    assert all(float(row['frechet_70']) > 0 for row in rows if row['frechet_70'])
    assert savedmodel.samples(finished, 2, best=True).shape == (2, 8, 8, 3)


def test_the_grid_has_a_row_for_each_class_and_the_same_latents_in_a_column(finished):
    for step in 0, 4, STEPS:
        picture = iio.imread(finished / f'samples/step-{step:06d}.png')[::2, ::2]
        assert picture.shape == (3 * 10 - 2, 4 * 10 - 2, 3)
        cells = np.stack([picture[10 * i:10 * i + 8, 10 * j:10 * j + 8] for i in range(3) for j in range(4)])
        labels, values = read(cells)
        assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        np.testing.assert_array_equal(values[:4], values[4:8])
        np.testing.assert_array_equal(values[:4], values[8:])
        assert len(np.unique(values[:4], axis=0)) == 4
    blank = np.ones(picture.shape[:2], bool)
    for i in range(3):
        for j in range(4):
            blank[10 * i:10 * i + 8, 10 * j:10 * j + 8] = False
    assert not picture[blank].any()


def test_the_saved_model_has_the_inputs_by_name(finished):
    """Loaded as another program would, without this project."""
    loaded = tf2.saved_model.load(str(finished / 'generator'))
    signature = loaded.signatures['serving_default']
    _, inputs = signature.structured_input_signature
    assert {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in inputs.items()} == {
        'z': ('float32', [None, 4]), 'code': ('float32', [None, 2]), 'label': ('int32', [None])}
    assert list(signature.structured_outputs) == ['images']
    random = np.random.default_rng(0)
    z, code, labels = random.normal(size=[5, 4]).astype('f'), random.uniform(-1, 1, [5, 2]).astype('f'), np.array([2, 0, 1, 1, 2])
    images = signature(z=tf2.constant(z), code=tf2.constant(code), label=tf2.constant(labels, tf2.int32))['images'].numpy()
    found, values = read(np.rint((images + 1) * 127.5).astype(np.uint8))
    np.testing.assert_array_equal(found, labels)
    assert np.abs(values - painted(finished, z, code)).max() <= 1
    assert not np.allclose(weights(finished)['sampling/generator/w'], 1, atol=1e-3)      # it did learn


def test_samples_have_the_classes_in_turn(finished):
    many = savedmodel.samples(finished, 70, seed=3)
    labels, values = read(many)
    np.testing.assert_array_equal(labels, np.arange(70) % 3)
    assert len(np.unique(values, axis=0)) == 70
    np.testing.assert_array_equal(savedmodel.samples(finished, 7, seed=3), many[:7])
    assert not np.array_equal(read(savedmodel.samples(finished, 70, seed=4))[1], values)


def test_a_walk_stays_in_its_class_and_goes_straight_in_the_code(finished):
    frames = drawing.walk(savedmodel.generator(finished), rows=6, columns=5, seed=2)
    ends_labels, ends = read(savedmodel.samples(finished, 12, seed=2))
    labels, values = (found.reshape(6, 5, *found.shape[1:]) for found in read(frames))
    np.testing.assert_array_equal(labels, ends_labels[:6, None].repeat(5, 1))
    assert np.abs(values[:, 0] - ends[:6]).max() <= 1 and np.abs(values[:, -1] - ends[6:]).max() <= 1
    code = values[..., 4:]
    straight = code[:, :1] + np.linspace(0, 1, 5)[:, None] * (code[:, -1:] - code[:, :1])
    assert np.abs(code - straight).max() <= 1.5


def test_classes_are_drawn_by_number_and_by_name(finished, tmp_path, refused, capsys):
    for given, expected in [(['1'], [1]), (['Green'], [1]), (['red', '0'], [2, 0]), (['red', '--class', 'blue', '2'], [2, 0, 2])]:
        sample.main([str(finished), '--count', '7', '--npz', str(tmp_path / 'a.npz'), '--class', *given])
        with np.load(tmp_path / 'a.npz') as archive:
            images, labels = archive['images'], archive['labels']
        np.testing.assert_array_equal(labels, np.resize(expected, 7))
        np.testing.assert_array_equal(read(images)[0], labels)
        np.testing.assert_array_equal(read(images)[1], read(savedmodel.samples(finished, 7))[1])   # the same latents
    capsys.readouterr()
    for name in '3', 'nonsense', '-1', '1.0':
        with refused(f"has no class '{name}': give a number from 0 to 2, or a name: blue, green, red"):
            sample.main([str(finished), f'--class={name}'])
    settings = json.loads((finished / 'settings.json').read_text())
    shutil.copytree(finished, tmp_path / 'run')
    for classes, given, expected in [(['Dog', 'cat', 'dog'], 'dog', 2), (['Dog', 'cat', 'dog'], 'CAT', 1),
                                     (['1', '10', '2'], '1', 0), (['1', '10', '2'], '0', 0), (['a', 'b'], '2', 2)]:
        (tmp_path / 'run/settings.json').write_text(json.dumps({**settings, 'classes': classes}))
        sample.main([str(tmp_path / 'run'), '--count', '1', '--npz', str(tmp_path / 'a.npz'), '--class', given])
        assert np.load(tmp_path / 'a.npz')['labels'] == [expected]
    capsys.readouterr()
    with refused("has no class 'b': give a number from 0 to 2"):    # two names are not those of three classes
        sample.main([str(tmp_path / 'run'), '--class', 'b'])
    for classes in {'a': 1}, 'abc', [1]:
        (tmp_path / 'run/settings.json').write_text(json.dumps({**settings, 'classes': classes}))
        with refused('settings.json is damaged'):
            sample.main([str(tmp_path / 'run'), '--class', 'b'])
    with refused('between two, not 3'):
        sample.main([str(finished), '--interpolate', str(tmp_path / 'a.png'), '--class', '0', '1', '2'])


def test_a_walk_between_two_classes_mixes_them_at_one_latent(finished):
    """The paint of a picture is linear in y, from -0.75 for blue to 0.25 for red."""
    frames = drawing.walk(savedmodel.generator(finished), rows=4, columns=5, seed=2, classes=[0, 2])
    paints = frames[:, 0, 0, 0].reshape(4, 5)
    np.testing.assert_array_equal(paints, np.rint((np.linspace(-0.75, 0.25, 5) + 1) * 127.5)[None].repeat(4, 0))
    latents = frames[:, 4, :6, 0].reshape(4, 5, 6)
    np.testing.assert_array_equal(latents, latents[:, :1].repeat(5, 1))
    np.testing.assert_array_equal(latents[:, 0], read(savedmodel.samples(finished, 4, seed=2))[1])
    stays = drawing.walk(savedmodel.generator(finished), rows=4, columns=5, seed=2, classes=[1])
    np.testing.assert_array_equal(read(stays)[0], np.ones(20))


def test_it_is_measured_class_by_class_without_being_asked(finished):
    """The judge of a folder knows its brightest channels; grey paint is none of them."""
    rows = scalars(finished)
    assert {row['step'] for row in rows if row['gan_test']} == {'4', '8', str(STEPS)}
    assert all(0 <= float(row['gan_test_worst']) <= float(row['gan_test']) < 0.6 for row in rows if row['gan_test'])
    assert any(float(row['gan_test']) > 0.1 for row in rows if row['gan_test'])     # grey is taken for one of three colours
    assert 'class_frechet_worst' not in rows[0]             # 27 pictures of a class have no covariance


def test_the_commands_draw_it(finished, tmp_path):
    sample.main([str(finished), '--count', '9', '--png', str(tmp_path / 'grid.png')])
    sample.main([str(finished), '--interpolate', str(tmp_path / 'walk.png')])
    sample.main([str(finished), '--count', '6', '--npz', str(tmp_path / 'six.npz')])
    assert iio.imread(tmp_path / 'grid.png').shape == (2 * 28, 2 * 28, 3)
    assert iio.imread(tmp_path / 'walk.png').shape == (2 * (8 * 10 - 2), 2 * (10 * 10 - 2), 3)
    with np.load(tmp_path / 'six.npz') as archive:
        np.testing.assert_array_equal(archive['images'], savedmodel.samples(finished, 6))
        np.testing.assert_array_equal(archive['labels'], [0, 1, 2, 0, 1, 2])


def test_killed_and_resumed_it_has_the_same_bits(finished, started, tmp_path):
    process = started(tmp_path / 'run')
    wait_for(lambda: list(tmp_path.glob('run/checkpoints/step-000004.index')), process)
    process.kill()
    process.communicate()
    process = started(tmp_path / 'run')
    out, error = process.communicate()
    assert process.returncode == 0 and f'of {STEPS} (2 passes' in out, error
    assert_same_run(finished, tmp_path / 'run')


def test_a_folder_without_classes_is_refused_where_they_are_needed(started, tmp_path):
    for i in range(20):
        Image.new('RGB', [8, 8], (i, 0, 0)).save(tmp_path / f'{i}.png')
    process = started(tmp_path / 'run', '--dataset', tmp_path)
    _, error = process.communicate()
    assert process.returncode == 2 and 'has no classes' in error.splitlines()[-1] and 'Traceback' not in error
    assert not (tmp_path / 'run').exists()
