"""improved_gan.py and sn_gan.py: their layers and losses by definition, by hand and by NumPy."""
import math

import improved_gan
import ops
import sn_gan

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import evaluate, random, update, with_variables

pytestmark = pytest.mark.usefixtures('fresh_graph')


# minibatch discrimination

def test_minibatch_discrimination_by_definition():
    x = random(5, 6)
    y, v = with_variables(improved_gan.minibatch_discrimination(tf.constant(x), 4, 3, 'a'))
    m = (x @ v['a/weights']).reshape(5, 4, 3)
    close = [[sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(5)) for b in range(4)] for i in range(5)]
    np.testing.assert_allclose(y, np.concatenate([x, close], 1), rtol=1e-4)


def test_minibatch_discrimination_pushes_two_samples_apart():
    """Two samples, one kernel of one dimension, weight w: o = 1 + exp(-|w| |a - b|) for both, and by hand its slope."""
    x = tf.constant([[0.7], [0.2]])
    y = improved_gan.minibatch_discrimination(x, 1, 1, 'a')
    w = tf.trainable_variables('a/')[0]
    closeness, by_x, by_w = [y[:, 1], *tf.gradients(y[0, 1], [x, w])]
    (closeness, by_x, by_w), v = with_variables([closeness, by_x, by_w])
    w = v['a/weights'].item()
    close = np.exp(-abs(w) * 0.5)
    np.testing.assert_allclose(closeness, [1 + close] * 2, rtol=1e-5)
    np.testing.assert_allclose(by_x[:, 0], [-abs(w) * close, abs(w) * close], rtol=1e-5)
    assert by_w.item() == pytest.approx(-np.sign(w) * 0.5 * close, rel=1e-5)


# spectral normalization

def spectral(x, training, name='a'):
    with ops.spectral_norm(training), ops.network(name):
        return ops.dense(tf.reshape(ops.conv(x, 5, 'conv', 3), [x.shape[0], -1]), 4, 'dense')


def test_spectral_norm_divides_by_the_largest_singular_value():
    """One power iteration an update reaches numpy's value; what the matrix of a layer stretches most, it leaves at its length."""
    x = tf.constant(random(2, 6, 6, 2))
    loss = tf.reduce_sum(spectral(x, True) ** 2)
    step = update(loss, 'a/')
    used = {name: tf.get_collection(f'spectral_norm/True/a/{name}/weights')[0] for name in ('conv', 'dense')}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(100):
            session.run(step)
        for name, w in session.run(used).items():
            whole = session.run(tf.trainable_variables(f'a/{name}/weights')[0]).reshape(-1, w.shape[-1])
            np.testing.assert_allclose(w.reshape(whole.shape), whole / np.linalg.svd(whole, compute_uv=False)[0], rtol=1e-3)
        assert {v.op.name for v in tf.trainable_variables()} == {
            f'a/{layer}/{name}' for layer in ('conv', 'dense') for name in ('weights', 'bias')}
        assert np.isfinite(session.run(loss))


def test_spectral_norm_learns_by_the_papers_gradient():
    """d(W / sigma) with u and v held (eq. 12): dL/dW = (G - <G, W / sigma> v u') / sigma, at one power iteration."""
    x = random(3, 4)
    with ops.spectral_norm(True), ops.network('a'):
        y = ops.dense(tf.constant(x), 5, 'dense', bias=False)
    slope, = tf.gradients(tf.reduce_sum(y ** 2), tf.trainable_variables('a/'))
    slope, v = with_variables(slope)
    w, u = v['a/dense/weights'].astype(float), v['a/dense/weights/u'][0].astype(float)
    right = w @ u / np.linalg.norm(w @ u)
    left = right @ w / np.linalg.norm(right @ w)
    sigma = right @ w @ left
    by_used = 2 * x.T @ (x @ (w / sigma))
    expected = (by_used - (by_used * w / sigma).sum() * np.outer(right, left)) / sigma
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_singular_vectors_turn_with_their_own_network_alone():
    x = ops.noise([4, 6, 6, 2], 'x')
    spectral(x, True), spectral(x, True), spectral(x, True, 'b')
    shown = spectral(x, False)
    steps = [ops.minimize(tf.train.GradientDescentOptimizer(0.1), tf.reduce_sum(spectral(x, True, name) ** 2), f'{name}/')
             for name in 'ab']
    vectors = [v for v in tf.global_variables() if v.op.name.endswith('/u')]
    assert len(vectors) == 4 == len(tf.get_collection('with_update'))  # once for a weight, however often it is applied
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for command, moves in (shown, ''), (steps[0], 'a'), (steps[1], 'b'):
            before = session.run(vectors)
            session.run(command)
            moved = {v.name[0] for v, old, new in zip(vectors, before, session.run(vectors), strict=True) if (old != new).any()}
            assert moved == set(moves)


# the scripts

@pytest.mark.parametrize('minibatch', [True, False])
def test_the_minibatch_layer_is_there_if_asked_for(minibatch, monkeypatch):
    for constant, value in {'MINIBATCH': minibatch, 'KERNELS': 5, 'DIMENSIONS': 3}.items():
        monkeypatch.setattr(improved_gan, constant, value)
    logits, features = improved_gan.discriminator(tf.zeros([4, 2]))
    assert logits.shape.as_list() == [4, 1] and features.shape.as_list() == [4, 64]
    shapes = {v.op.name: v.shape.as_list() for v in tf.trainable_variables('discriminator/')}
    assert shapes.get('discriminator/minibatch/weights') == ([64, 15] if minibatch else None)
    assert shapes['discriminator/logits/weights'] == [69 if minibatch else 64, 1]


@pytest.mark.slow
@pytest.mark.parametrize('name, constants, extra', [
    ('improved_gan', {'MINIBATCH': False, 'FEATURE_MATCHING': True, 'HISTORICAL_AVERAGING': .1}, 'history'),
    ('sn_gan', {'SPECTRAL_NORM': False}, None)])
def test_each_update_moves_its_own_network_alone(name, constants, extra, build):
    """As test_scripts.py has it for the default constants; the history of a network moves with it."""
    built = build(name, DATASET='ring', **constants)
    variables = {v.op.name: v for v in tf.global_variables() if v.name.split('/')[0] in ('generator', 'discriminator')}
    assert not any(name.endswith('/u') for name in variables)
    with built.session() as session:
        for update, network in zip(built.given['updates'], ['discriminator', 'generator'], strict=True):
            before = session.run(variables)
            session.run(update)
            after = session.run(variables)
            moved = {name for name in variables if (before[name] != after[name]).any()}
            assert {name.split('/')[0] for name in moved} == {network}
            assert not extra or f'{network}/{extra}/t' in moved
        assert all(math.isfinite(value) for value in session.run(built.given['scalars']).values())


def test_the_hinge_of_spectral_normalization():
    """Miyato et al. 2018, eq. 16 and 17: -E min(0, D(x) - 1) - E min(0, -D(G) - 1), and -E D(G)."""
    real, fake = np.array([[.4], [1.7], [-.6]]), np.array([[-1.5], [.2], [.5]])
    found = evaluate(sn_gan.losses(tf.constant(real, tf.float32), tf.constant(fake, tf.float32)))
    assert found == pytest.approx((2.2 / 3 + 2.7 / 3, .8 / 3), rel=1e-5)


def test_labels_are_smoothed_on_one_side():
    """Of the best D, softplus losses: at D(x) = 0.9 the real part is the entropy of 0.9 and its gradient 0; fakes as before."""
    at = tf.constant([[math.log(9.)]])
    d_loss, g_loss = improved_gan.losses(at, -at, None, None)
    slope, = tf.gradients(d_loss + tf.reduce_mean(-tf.nn.softplus(-at)), at)
    loss, other, slope = evaluate([d_loss, g_loss, slope])
    assert loss == pytest.approx(-.9 * math.log(.9) - .1 * math.log(.1) - math.log(.9), rel=1e-5)
    assert other == pytest.approx(math.log(10), rel=1e-5) and slope == pytest.approx(0, abs=1e-6)


def test_features_match_by_the_distance_of_their_means(monkeypatch):
    monkeypatch.setattr(improved_gan, 'FEATURE_MATCHING', True)
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=[5, 7]), rng.normal(size=[5, 7])
    logits = tf.zeros([5, 1])
    _, g_loss = improved_gan.losses(logits, logits, *(tf.constant(f, tf.float32) for f in (real, fake)))
    assert evaluate(g_loss) == pytest.approx(((real.mean(0) - fake.mean(0)) ** 2).sum(), rel=1e-5)


def test_historical_averaging_is_the_distance_to_the_mean_of_the_past():
    with tf.variable_scope('generator'):
        w = tf.get_variable('w', [3], initializer=tf.zeros_initializer())
    distance = improved_gan.historical_averaging('generator')
    slope, = tf.gradients(distance, w)
    step = update(tf.reduce_sum(w), 'generator/')
    seen, rng = [], np.random.default_rng(0)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(5):
            seen.append(rng.normal(size=3))
            session.run(w.assign(seen[-1]))
            away = seen[-1] - np.mean(seen, 0)
            found, gradient, _ = session.run([distance, slope, step])
            assert found == pytest.approx((away ** 2).sum(), rel=1e-4, abs=1e-6)
            np.testing.assert_allclose(gradient, 2 * away, rtol=1e-4, atol=1e-6)
