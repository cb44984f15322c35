"""The plane: its distributions and measures, packing, maxout, pictures of it, the unroll, and runs of both scripts."""
import importlib
import math
import os
import pathlib
import subprocess
import sys

import ops
import testbed
import toy
import unrolled_gan
import viz

import imageio.v3 as iio
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from test_run import assert_same_run, weights

ROOT = pathlib.Path(__file__).parent.parent
SMALL = '--steps 12 --batch-size 10 --log-every 1 --sample-every 6 --eval-every 6 --checkpoint-every 6 --no-decay'.split()


def evaluate(build):
    """The value of build()'s tensors in a fresh graph."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        tensors = build()
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        return session.run(tensors)


def measured(samples, dataset):
    return evaluate(lambda: testbed.measures(tf.constant(samples, tf.float32), dataset))


def on_the_ring(mode, away=0.0):
    """A point `away` standard deviations outside the centre of a mode."""
    angle = 2 * math.pi * mode / 8
    return [(1 + 0.01 * away) * math.cos(angle), (1 + 0.01 * away) * math.sin(angle)]


def test_measures_of_samples_that_were_placed_by_hand():
    samples = [on_the_ring(0)] * 4 + [on_the_ring(1, 2.9)] * 3 + [on_the_ring(5, -2.9)] + [on_the_ring(6, 3.1)] * 2
    p = np.array([4, 3, 1]) / 8
    expected = {'modes': 3, 'quality': 0.8, 'reverse_kl': math.log(8) - scipy.stats.entropy(p)}
    found = measured(samples, 'ring')
    assert found == pytest.approx(expected, rel=1e-5)
    assert measured([[0, 0], [2, 2], [-4, 4.1]], 'grid') == pytest.approx(  # 4.1 is 2 standard deviations from 4
        {'modes': 3, 'quality': 1, 'reverse_kl': math.log(25 / 3)}, rel=1e-5)
    assert measured([[0.5, 0.5], [9, 9]], 'grid') == pytest.approx({'modes': 0, 'quality': 0, 'reverse_kl': math.log(25)})


def test_measures_of_the_spirals_count_arcs():
    angle = np.sqrt(np.linspace(0.25, 9, 41))[:40:4] * np.pi + 0.05  # just behind the start of each of ten equal arcs
    arm = np.stack([np.cos(angle), np.sin(angle)], 1) * angle[:, None] / (3 * np.pi)
    found = measured(arm, 'spirals')
    assert found == pytest.approx({'modes': 10, 'quality': 1, 'reverse_kl': math.log(2)}, rel=1e-5)
    assert measured(np.concatenate([arm, -arm]), 'spirals')['modes'] == 20


@pytest.mark.parametrize('dataset, share', [('ring', 1 - math.exp(-4.5)), ('grid', 1 - math.exp(-4.5))])
def test_draws_are_of_the_distribution(dataset, share):
    x = evaluate(lambda: testbed.batches(dataset, 100_000))
    found = measured(x, dataset)
    k = {'ring': 8, 'grid': 25}[dataset]
    assert found['modes'] == k and found['reverse_kl'] < 1e-3
    assert found['quality'] == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 1e5))
    centres = {'ring': [on_the_ring(i) for i in range(8)], 'grid': [(2 * i, 2 * j) for i in range(-2, 3) for j in range(-2, 3)]}
    apart = x[:, None] - np.array(centres[dataset])
    nearest = np.argmin((apart ** 2).sum(2), axis=1)
    assert scipy.stats.chisquare(np.bincount(nearest, minlength=k)).pvalue > 1e-4
    e = apart[np.arange(len(x)), nearest] / {'ring': 0.01, 'grid': 0.05}[dataset]
    np.testing.assert_allclose(e.mean(0), [0, 0], atol=4 / math.sqrt(1e5))
    np.testing.assert_allclose(np.cov(e.T), np.eye(2), atol=0.02)


def test_the_spirals_are_two_arms_of_even_density():
    u = np.random.default_rng(0).random(20_000)
    x = evaluate(lambda: testbed.points('spirals', tf.constant(u, tf.float32), tf.zeros([len(u), 2])))
    angle = 3 * np.pi * np.hypot(*x.T)
    sign = np.sign(x[:, 0] * np.cos(angle) + x[:, 1] * np.sin(angle))
    np.testing.assert_allclose(x, (sign * angle / (3 * np.pi))[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-4)
    assert abs(sign.mean()) < 4 / math.sqrt(len(u))
    assert scipy.stats.kstest(((angle / np.pi) ** 2 - 0.25) / 8.75, 'uniform').statistic < 0.02
    assert measured(x, 'spirals')['quality'] == 1


def test_packs_are_rows_side_by_side():
    points = np.arange(12, dtype=np.float32).reshape(6, 2)
    pictures = np.random.default_rng(0).random([6, 4, 5, 3], np.float32)
    packed, stacked, same = evaluate(lambda: (ops.pack(tf.constant(points), 3), ops.pack(tf.constant(pictures), 2),
                                              ops.pack(tf.constant(pictures), 1)))
    np.testing.assert_array_equal(packed, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(stacked, [np.concatenate([pictures[i], pictures[i + 1]], axis=2) for i in (0, 2, 4)])
    np.testing.assert_array_equal(same, pictures)


def test_maxout_is_the_maximum_of_linear_functions():
    def build():
        y = ops.maxout(tf.constant(x), 4, 3, 'maxout')
        return y, tf.trainable_variables()

    x = np.random.default_rng(0).standard_normal([5, 2], np.float32)
    y, (w, bias) = evaluate(build)
    pieces = [x @ w[:, 4 * i:4 * i + 4] + bias[4 * i:4 * i + 4] for i in range(3)]
    np.testing.assert_allclose(y, np.max(pieces, axis=0), atol=1e-5)


def test_a_plane_has_its_right_side_up():
    feet = viz.mesh(2, 4)
    np.testing.assert_allclose(feet[[0, 1, 4, 15]], [[-1.5, -1.5], [-0.5, -1.5], [-1.5, -0.5], [1.5, 1.5]])
    surface = (feet[:, 0] + 2 * feet[:, 1]).reshape(4, 4)
    picture = viz.plane(2, np.array([[1.0, 0.5]]), np.zeros([0, 2]), surface, np.zeros([16, 2])).astype(int)
    assert picture.shape == (400, 400, 3)
    row, column = np.median(np.argwhere(picture[:, :, 0] > picture[:, :, 2] + 50), axis=0)
    assert abs(row - 150) < 3 and abs(column - 300) < 3            # (1, 0.5) of [-2, 2]^2, rows from the top
    assert picture[20, 380].sum() > picture[380, 380].sum() > picture[380, 20].sum()


def test_the_arrows_are_the_way_to_a_smaller_loss():
    """With the score a x + b y, G's loss softplus(-score) sends every sample along (a, b)."""
    def build():
        watched = testbed.watched('ring', 2, lambda points: points @ [[3.0], [-1.0]], lambda s: tf.reduce_sum(tf.nn.softplus(-s)))
        return watched['pictures']()

    samples, points, surface, arrows = evaluate(build)
    assert samples.shape == points.shape == (2500, 2) and surface.shape == (40, 40)
    feet = viz.mesh(1.5, 20)
    slope = 1 / (1 + np.exp(feet @ [3, -1]))
    np.testing.assert_allclose(arrows, slope[:, None] * [3, -1], rtol=1e-4)


class Setting:
    """A linear D and a one-number G on a batch that stays the same, and D's Adam after some updates."""

    def __init__(self, updates):
        with tf.variable_scope('data'):
            x = tf.constant(np.random.default_rng(0).standard_normal([50, 2]) + [1, 0], tf.float32)
            self.number = tf.placeholder_with_default(0.3, [], 'number')
            fake = tf.constant(np.random.default_rng(1).standard_normal([50, 2]), tf.float32) + self.number

        def discriminator(points):
            with ops.network('discriminator'):
                return ops.dense(points ** 2 + points, 1, 'dense')

        d_loss, _ = unrolled_gan.losses(discriminator(x), discriminator(fake))
        optimizer = tf.train.AdamOptimizer(unrolled_gan.D_LEARNING_RATE, unrolled_gan.BETA1, unrolled_gan.BETA2)
        self.step = ops.minimize(optimizer, d_loss, 'discriminator/')
        self.ahead = unrolled_gan.unrolled(discriminator, x, fake, optimizer, unrolled_gan.D_LEARNING_RATE, updates)
        with ops.substituted(self.ahead):
            _, self.g_loss = unrolled_gan.losses(discriminator(x), discriminator(fake))
        self.slope, = tf.gradients(self.g_loss, self.number)
        self.variables = {v.op.name: v for v in tf.trainable_variables('discriminator/')}


@pytest.mark.parametrize('before', [0, 3])
def test_the_unrolled_weights_are_those_that_updates_lead_to(before):
    with tf.Graph().as_default(), tf.Session() as session:
        setting = Setting(updates=4)
        session.run(tf.global_variables_initializer())
        for _ in range(before):
            session.run(setting.step)
        start, ahead = session.run([setting.variables, setting.ahead])
        for _ in range(4):
            session.run(setting.step)
        for name, value in session.run(setting.variables).items():
            np.testing.assert_allclose(ahead[name], value, rtol=1e-5, atol=1e-7)
            assert not np.allclose(ahead[name], start[name], rtol=1e-4)


def test_the_gradient_flows_through_the_updates(monkeypatch):
    """Against a finite difference of the loss at the weights D would really have; and it is another than without them."""
    monkeypatch.setattr(unrolled_gan, 'D_LEARNING_RATE', 0.1)

    def slopes(updates, through=True):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            setting = Setting(updates)
            session.run(tf.global_variables_initializer())
            for _ in range(5):
                session.run(setting.step)
            low, high = (session.run(setting.g_loss, {setting.number: 0.3 + h}) for h in (-0.01, 0.01))
            return session.run(setting.slope), (high - low) / 0.02

    unrolled, difference = slopes(3)
    assert unrolled == pytest.approx(difference, rel=5e-3)
    plain, _ = slopes(0)
    assert abs(plain - unrolled) > 0.02 * abs(plain)


@pytest.mark.parametrize('script', [toy, unrolled_gan])
def test_losses_are_those_of_the_paper(script):
    """Goodfellow et al. 2014, eq. 1 and the end of section 3, and their gradients: sigmoid less the label, over B."""
    real, fake = np.array([[0.3], [-1.2], [2.0]]), np.array([[-0.4], [0.9], [1.5]])

    def build():
        r, f = tf.constant(real, tf.float32), tf.constant(fake, tf.float32)
        d_loss, g_loss = script.losses(r, f)
        return [d_loss, g_loss, *tf.gradients(d_loss, [r, f]), *tf.gradients(g_loss, f)]

    d_loss, g_loss, by_real, by_fake, g_by_fake = evaluate(build)
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    assert d_loss == pytest.approx(-np.log(p).mean() - np.log(1 - q).mean(), rel=1e-5)
    assert g_loss == pytest.approx(-np.log(q).mean(), rel=1e-5)
    for found, expected in (by_real, (p - 1) / 3), (by_fake, q / 3), (g_by_fake, (q - 1) / 3):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def start(script, folder, *flags):
    command = [sys.executable, f'{script}.py', '--run-dir', str(folder), *SMALL, *flags]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize('script, flags', [('toy', ['--packing', '2', '--dataset', 'grid']), ('unrolled_gan', ['--unroll', '2'])])
def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path, script, flags):
    told = start(script, tmp_path / 'run', *flags)
    assert 'modes' in told and (tmp_path / 'run/metrics.json').exists()
    start(script, tmp_path / 'halves', *flags, '--steps', '6')
    assert start(script, tmp_path / 'halves', *flags) == told
    assert_same_run(tmp_path / 'run', tmp_path / 'halves')
    assert iio.imread(tmp_path / 'run/samples/step-000012.png').shape == (400, 400, 3)


def test_without_updates_ahead_it_is_the_plain_gan(tmp_path):
    shared = ['--dataset', 'ring', '--g-learning-rate', '1e-3', '--d-learning-rate', '1e-3', '--beta1', '0.5']
    start('toy', tmp_path / 'plain', *shared)
    start('unrolled_gan', tmp_path / 'unrolled', *shared, '--unroll', '0')
    ours, theirs = weights(tmp_path / 'plain'), weights(tmp_path / 'unrolled')
    names = [name for name in ours if name.startswith(('generator/', 'discriminator/'))]
    assert len(names) == 4 * 5 + 2 + 2 * 4
    for name in names:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_importing_builds_nothing():
    with tf.Graph().as_default() as graph:
        for module in testbed, toy, unrolled_gan:
            importlib.reload(module)
        assert not graph.get_operations()
