"""The plane: its distributions and measures, packing, maxout, pictures of it, the unroll, and runs of both scripts."""
import json
import math

import ops
import testbed
import toy
import unrolled_gan
import viz
from plumbing import plane

import forkserver
import imageio.v3 as iio
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import assert_same_run, evaluate, scalars, wait_for

pytestmark = pytest.mark.usefixtures('fresh_graph')


def measured(samples, dataset):
    return evaluate(plane.measures(tf.constant(samples, tf.float32), dataset))


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
    x = evaluate(testbed.batches(dataset, 100_000))
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
    x = evaluate(plane.points('spirals', tf.constant(u, tf.float32), tf.zeros([len(u), 2])))
    angle = 3 * np.pi * np.hypot(*x.T)
    sign = np.sign(x[:, 0] * np.cos(angle) + x[:, 1] * np.sin(angle))
    np.testing.assert_allclose(x, (sign * angle / (3 * np.pi))[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-4)
    assert abs(sign.mean()) < 4 / math.sqrt(len(u))
    assert scipy.stats.kstest(((angle / np.pi) ** 2 - 0.25) / 8.75, 'uniform').statistic < 0.02
    assert measured(x, 'spirals')['quality'] == 1


def test_packs_are_rows_side_by_side():
    points = np.arange(12, dtype=np.float32).reshape(6, 2)
    pictures = np.random.default_rng(0).random([6, 4, 5, 3], np.float32)
    packed, stacked, same = evaluate([toy.pack(tf.constant(points), 3), toy.pack(tf.constant(pictures), 2),
                                      toy.pack(tf.constant(pictures), 1)])
    np.testing.assert_array_equal(packed, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(stacked, [np.concatenate([pictures[i], pictures[i + 1]], axis=2) for i in (0, 2, 4)])
    np.testing.assert_array_equal(same, pictures)


def test_maxout_is_the_maximum_of_linear_functions():
    x = np.random.default_rng(0).standard_normal([5, 2], np.float32)
    y = ops.maxout(tf.constant(x), 4, 3, 'maxout')
    y, (w, bias) = evaluate([y, tf.trainable_variables()])
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
    network = testbed.generator_network('ring', 2)
    drawn = testbed.drawings('ring', network, lambda points: points @ [[3.0], [-1.0]],
                             lambda scores: tf.reduce_sum(tf.nn.softplus(-scores)))
    samples, points, surface, arrows = evaluate(drawn['pictures']())
    assert samples.shape == points.shape == (2500, 2) and surface.shape == (40, 40)
    feet = viz.mesh(1.5, 20)
    slope = 1 / (1 + np.exp(feet @ [3, -1]))
    np.testing.assert_allclose(arrows, slope[:, None] * [3, -1], rtol=1e-4)
    assert testbed.drawings('mnist', network) == {}


# the unroll

class Setting:
    """A quadratic D and a one-number G on a batch that stays the same, and D's Adam after some updates."""

    def __init__(self, updates):
        with tf.variable_scope('data'):
            self.x = np.random.default_rng(0).standard_normal([50, 2]) + [1, 0]
            self.noise = np.random.default_rng(1).standard_normal([50, 2])
            x = tf.constant(self.x, tf.float32)
            self.number = tf.placeholder_with_default(0.3, [], 'number')
            fake = tf.constant(self.noise, tf.float32) + self.number

        def discriminator(points):
            with ops.network('discriminator'):
                return ops.dense(points ** 2 + points, 1, 'dense')

        d_loss, _ = unrolled_gan.losses(discriminator(x), discriminator(fake))
        optimizer = tf.train.AdamOptimizer(unrolled_gan.D_LEARNING_RATE, unrolled_gan.BETA1, unrolled_gan.BETA2)
        self.step = ops.minimize(optimizer, d_loss, 'discriminator/')
        self.ahead = unrolled_gan.unrolled(discriminator, x, fake, optimizer, unrolled_gan.D_LEARNING_RATE, updates)
        with unrolled_gan.substituted(self.ahead):
            _, self.g_loss = unrolled_gan.losses(discriminator(x), discriminator(fake))
        self.slope, = tf.gradients(self.g_loss, self.number)
        self.variables = {v.op.name: v for v in tf.trainable_variables('discriminator/')}

    def losses(self, weights, number=0.3):
        """(-log D(x), -log(1 - D(G(z))), -log D(G(z))), means by NumPy under these weights of D."""
        def logits(points):
            return (points ** 2 + points) @ weights['discriminator/dense/weights'] + weights['discriminator/dense/bias']
        real, fake = logits(self.x), logits(self.noise + number)
        return [np.logaddexp(0, values).mean() for values in (-real, fake, -fake)]


@pytest.mark.parametrize('before', [0, 3])
def test_the_unrolled_weights_are_those_that_updates_lead_to(before):
    setting = Setting(updates=4)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(before):
            session.run(setting.step)
        start, ahead = session.run([setting.variables, setting.ahead])
        for _ in range(4):
            session.run(setting.step)
        for name, value in session.run(setting.variables).items():
            np.testing.assert_allclose(ahead[name], value, rtol=1e-5, atol=1e-7)
            assert not np.allclose(ahead[name], start[name], rtol=1e-4)


@pytest.mark.parametrize('kind', ['saddle', 'non-saturating'])
def test_the_gradient_flows_through_the_updates(kind, monkeypatch):
    """Against a finite difference of the loss at the weights D would really have; and it is another than without them.

    'saddle' is minus D's whole loss there: its real term, too, moves with G, because D's weights do.
    """
    monkeypatch.setattr(unrolled_gan, 'D_LEARNING_RATE', 0.1)
    monkeypatch.setattr(unrolled_gan, 'G_LOSS', kind)

    def slopes(updates):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            setting, ends, real_terms = Setting(updates), [], []
            session.run(tf.global_variables_initializer())
            for _ in range(5):
                session.run(setting.step)
            for number in 0.29, 0.31:
                g_loss, ahead = session.run([setting.g_loss, setting.ahead], {setting.number: number})
                real, fake, fooled = setting.losses(ahead, number)
                ends.append(-real - fake if kind == 'saddle' else fooled)
                real_terms.append(-real)
                assert g_loss == pytest.approx(ends[-1], rel=1e-5)
            return session.run(setting.slope), (ends[1] - ends[0]) / 0.02, (real_terms[1] - real_terms[0]) / 0.02

    unrolled, difference, of_real = slopes(3)
    assert unrolled == pytest.approx(difference, rel=5e-3)
    assert kind != 'saddle' or abs(of_real) > 0.02 * abs(unrolled)      # else the real term would not be tested
    plain, difference, of_real = slopes(0)
    assert plain == pytest.approx(difference, rel=5e-3) and of_real == 0
    assert abs(plain - unrolled) > 0.02 * abs(plain)


@pytest.mark.parametrize('script, kind', [(toy, None), (unrolled_gan, 'non-saturating'), (unrolled_gan, 'saddle')])
def test_losses_are_those_of_the_paper(script, kind, monkeypatch):
    """Goodfellow et al. 2014, eq. 1 and the end of section 3, and their gradients: sigmoid less the label, over B.

    Metz et al. 2016, eq. 5, is minus D's loss for G.
    """
    if kind:
        monkeypatch.setattr(unrolled_gan, 'G_LOSS', kind)
    real, fake = np.array([[0.3], [-1.2], [2.0]]), np.array([[-0.4], [0.9], [1.5]])
    r, f = tf.constant(real, tf.float32), tf.constant(fake, tf.float32)
    losses = script.losses(r, f)
    d_loss, g_loss, by_real, by_fake, g_by_fake = evaluate([
        *losses, *tf.gradients(losses[0], [r, f]), *tf.gradients(losses[1], f)])
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    assert d_loss == pytest.approx(-np.log(p).mean() - np.log(1 - q).mean(), rel=1e-5)
    assert g_loss == pytest.approx(-d_loss if kind == 'saddle' else -np.log(q).mean(), rel=1e-5)
    for found, expected in (by_real, (p - 1) / 3), (by_fake, q / 3), (g_by_fake, -q / 3 if kind == 'saddle' else (q - 1) / 3):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


SHARED = {'DATASET': 'ring', 'G_LEARNING_RATE': 1e-3, 'D_LEARNING_RATE': 1e-3, 'BETA1': 0.5, 'Z_DIM': 2}


@pytest.mark.slow
def test_without_updates_ahead_it_is_the_plain_gan(build):
    """The same bits as toy.py's after three steps."""
    def trained(name, **constants):
        with tf.Graph().as_default():
            built = build(name, **SHARED, **constants)
            with built.session() as session:
                for update in built.given['updates'] * 3:
                    session.run(update)
                return session.run({v.op.name: v for v in tf.trainable_variables()})

    ours, theirs = trained('toy'), trained('unrolled_gan', UNROLL=0, G_LOSS='non-saturating')
    assert ours.keys() == theirs.keys() and len(ours) == 4 * 3 + 2 + 2 * 4
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.slow
def test_the_saddle_without_updates_ahead_is_the_minimax_game(build):
    """The same gradients as those of another script; it draws real samples for G too, so that later batches are others."""
    def slopes(name, **constants):
        with tf.Graph().as_default():
            built, found = build(name, **SHARED, **constants), {}
            for network in 'generator', 'discriminator':
                variables = tf.trainable_variables(f'{network}/')
                slopes = tf.gradients(built.given['scalars'][f'{network[0]}_loss'], variables)
                found.update({v.op.name: slope for v, slope in zip(variables, slopes, strict=True)})
            return evaluate(found)

    ours, theirs = slopes('objectives', OBJECTIVE='minimax'), slopes('unrolled_gan', UNROLL=0, G_LOSS='saddle')
    assert ours.keys() == theirs.keys() and len(ours) == 4 * 3 + 2 + 2 * 4
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-7, err_msg=name)


# runs

FLAGS = ('--dataset grid --packing 2 --steps 12 --batch-size 10 --log-every 1 --sample-every 6 --eval-every 6 '
         '--checkpoint-every 6 --decay').split()


@pytest.mark.slow
def test_a_run_in_the_plane_is_drawn_measured_and_resumed(tmp_path):
    """Killed in the middle, with learning rates that decay over the whole: the same bits as without."""
    status, out, error = forkserver.run('toy', '--run-dir', tmp_path / 'run', *FLAGS, driven=False)
    assert status == 0, error
    found = json.loads((tmp_path / 'run/metrics.json').read_text())
    assert out.strip().splitlines()[-1].startswith(f'{found["modes"]:.0f} modes, {found["quality"]:.1%} of high quality')
    rows = scalars(tmp_path / 'run')
    assert [row['step'] for row in rows if row['modes']] == ['6', '12']
    assert float(rows[-1]['reverse_kl']) == pytest.approx(found['reverse_kl'], rel=1e-4)
    assert iio.imread(tmp_path / 'run/samples/step-000012.png').shape == (400, 400, 3)

    process = forkserver.start('toy', '--run-dir', tmp_path / 'killed', *FLAGS, driven=False)
    wait_for(lambda: list(tmp_path.glob('killed/checkpoints/step-000006.index')), process)
    process.kill()
    process.communicate()
    assert forkserver.run('toy', '--run-dir', tmp_path / 'killed', *FLAGS, driven=False)[0] == 0
    assert_same_run(tmp_path / 'run', tmp_path / 'killed')
