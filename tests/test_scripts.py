"""What holds for every script: partition of the variables, shapes, ranges, a readable graph, finite losses at the start."""
import importlib
import math

import data
import run

import drive
import files
import flags
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

SCRIPTS = ['dcgan', 'gan_fc', 'wgan', 'wgan_gp', 'balanced_gan']
BOXES = {'data', 'generator', 'losses', 'optimizers', 'sampling'}  # and one for the discriminator or critic


@pytest.fixture(params=SCRIPTS)
def built(request, monkeypatch):
    """(module of the script, what it gives to run.train) in a fresh graph."""
    script, given = importlib.import_module(request.param), {}
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(run, 'train', lambda script, **arguments: given.update(arguments))
    monkeypatch.setattr(script, 'BATCH_SIZE', 8)
    for threshold in 'D_FAKE_OVER', 'G_OVER', 'D_REAL_OVER':  # of balanced_gan: none of its updates is left out
        monkeypatch.setattr(script, threshold, 0.0, raising=False)
    with tf.Graph().as_default():
        script.main()
        yield script, given


def session_of(graph):
    session = tf.Session(graph=graph)
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    return session


def test_the_networks_share_the_variables_out(built):
    trainable = tf.trainable_variables()
    generator, other = tf.trainable_variables('generator/'), [v for v in trainable if not v.name.startswith('generator/')]
    assert generator and len(generator) + len(other) == len(trainable)
    assert len({v.name.split('/')[0] for v in other}) == 1


def test_each_update_leaves_the_other_network_alone(built):
    _, given = built
    with session_of(tf.get_default_graph()) as session:
        for update in set(given['updates']):
            before = session.run(tf.global_variables())
            session.run(update)
            after = session.run(tf.global_variables())
            changed = {v.op.name.split('/')[0] for v, a, b in zip(tf.global_variables(), before, after, strict=True)
                       if v.dtype.is_floating and not np.array_equal(a, b)} - {'optimizers'}
            assert len(changed) == 1
            trained = tf.trainable_variables(f'{changed.pop()}/')
            moved = [not np.array_equal(a, b) for v, a, b in zip(tf.global_variables(), before, after, strict=True)
                     if any(v is t for t in trained)]
            assert sum(moved) > len(moved) / 2  # RMSProp's first step may be too small to be seen


def test_applying_a_network_again_adds_no_variable(built):
    script, _ = built
    before = len(tf.global_variables())
    images = script.generator(tf.zeros([3, script.Z_DIM]), training=True)
    assert images.shape.as_list() == [3, 28, 28, 1] and len(tf.global_variables()) == before


def test_images_are_in_range_and_losses_finite(built):
    script, given = built
    z = tf.placeholder(tf.float32, [None, script.Z_DIM])
    images = given['generator'](z, training=False)
    with session_of(tf.get_default_graph()) as session:
        for count in 1, 5:
            pictures = session.run(images, {z: np.random.default_rng(0).standard_normal([count, script.Z_DIM])})
            assert pictures.shape == (count, 28, 28, 1) and np.abs(pictures).max() <= 1
        assert all(math.isfinite(value) for value in session.run(given['scalars']).values())


def test_a_latent_gives_the_same_picture_in_any_batch(built):
    script, given = built
    z = tf.placeholder(tf.float32, [None, script.Z_DIM])
    images = given['generator'](z, training=False)
    points = np.random.default_rng(0).standard_normal([20, script.Z_DIM])
    with session_of(tf.get_default_graph()) as session:
        for update in given['updates'] * 3:
            session.run(update)
        together = session.run(images, {z: points})
        np.testing.assert_allclose(session.run(images, {z: points[7:8]})[0], together[7], atol=1e-5)


def test_tensorboard_shows_the_story_and_nothing_else(built):
    _, given = built
    run._sampling(given['generator'], given['z_dim'], 0.9, given['updates'][-1])
    boxes = {node.name.split('/')[0] for node in tf.get_default_graph().as_graph_def().node}
    assert boxes in (BOXES | {'discriminator'}, BOXES | {'critic'})


@pytest.mark.parametrize('name', SCRIPTS)
def test_other_sizes_and_colour(name, monkeypatch):
    script, given = importlib.import_module(name), {}
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(run, 'train', lambda script, **arguments: given.update(arguments))
    for constant, value in {'IMAGE_SIZE': 20, 'CHANNELS': 3, 'BATCH_SIZE': 8}.items():
        monkeypatch.setattr(script, constant, value)
    with tf.Graph().as_default():
        script.main()
        images = given['generator'](tf.zeros([3, script.Z_DIM]), training=False)
        assert images.shape.as_list() == [3, 20, 20, 3]
        with session_of(tf.get_default_graph()) as session:
            for update in given['updates']:
                session.run(update)
            assert all(math.isfinite(value) for value in session.run(given['scalars']).values())


@pytest.mark.parametrize('name', ['wgan_gp', 'conv_autoencoder', 'dcgan'])
def test_sizes_that_cannot_be_halved_are_refused(name, monkeypatch):
    script = importlib.import_module(name)
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(script, 'IMAGE_SIZE', 30)
    with tf.Graph().as_default(), pytest.raises(files.UserError, match='IMAGE_SIZE must be'):
        script.main()


def test_importing_a_script_builds_nothing():
    with tf.Graph().as_default() as graph:
        for name in SCRIPTS:
            importlib.reload(importlib.import_module(name))
        assert not graph.get_operations()


@pytest.mark.parametrize('name', ['WEIGHT_AVERAGE', 'BETA1', 'LABEL_SMOOTHING', 'PENALTY', 'WEIGHT', 'NOISE', 'DROPOUT',
                                  'G_OVER'])
def test_a_constant_that_may_be_0_may_be_edited_to_0(name):
    """Without its point too, though 0 then reads as a whole number."""
    edited = 0
    for script in [*SCRIPTS, 'objectives', 'improved_gan', 'sn_gan', 'toy', 'unrolled_gan', 'autoencoder', 'vae']:
        constants = dict(vars(importlib.import_module(script)))
        if isinstance(constants.get(name), float):
            edited += 1
            flags.parse([{**constants, name: 0}], [])
    assert edited
