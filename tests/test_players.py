"""d2gan.py, veegan.py and mad_gan.py: their games at the optimum, which is known in closed form, and their networks."""
import d2gan
import mad_gan
import veegan
import viz

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import evaluate, random

pytestmark = pytest.mark.usefixtures('fresh_graph')

# Distributions over three places, as batches of the places' numbers
DATA, SAMPLES = np.array([0, 0, 0, 0, 1, 1, 1, 2]), np.array([0, 1, 2, 2, 2, 2, 2, 2])
P, Q = np.bincount(DATA) / 8, np.bincount(SAMPLES) / 8


def at(places, values):
    """A variable of a number for each place, and the batch [B, 1] of those at `places`."""
    return tf.gather(values, places)[:, None]


# D2GAN

def inverse_softplus(d):
    return np.log(np.expm1(d))


@pytest.mark.parametrize('alpha, beta', [(1.0, 1.0), (0.2, 0.5)])
def test_the_two_discriminators_at_their_best(alpha, beta, monkeypatch):
    """Proposition 1 and theorem 2 of the paper: D1 = alpha p / q, D2 = beta q / p, and the value is two KL divergences."""
    monkeypatch.setattr(d2gan, 'ALPHA', alpha)
    monkeypatch.setattr(d2gan, 'BETA', beta)
    s1, s2 = (tf.constant(inverse_softplus(best), tf.float32) for best in (alpha * P / Q, beta * Q / P))
    d_loss, g_loss = d2gan.losses(at(DATA, s1), at(DATA, s2), at(SAMPLES, s1), at(SAMPLES, s2))
    slopes = tf.gradients(d_loss, [s1, s2])
    d_loss, g_loss, slopes = evaluate([d_loss, g_loss, [tf.convert_to_tensor(slope) for slope in slopes]])
    forward, backward = scipy.stats.entropy(P, Q), scipy.stats.entropy(Q, P)
    value = alpha * (np.log(alpha) - 1) + beta * (np.log(beta) - 1) + alpha * forward + beta * backward
    assert d_loss == pytest.approx(-value, rel=1e-5)
    np.testing.assert_allclose(slopes, np.zeros([2, 3]), atol=1e-6)
    assert g_loss == pytest.approx(-alpha + beta * (np.log(beta) + backward), rel=1e-5)    # the terms that depend on G


def test_what_g_gets_of_a_sample_grows_with_d1_and_shrinks_with_d2():
    s1, s2 = tf.constant([[0.3]]), tf.constant([[-0.7]])
    _, g_loss = d2gan.losses(s1, s2, s1, s2)
    by_s1, by_s2 = evaluate(tf.gradients(g_loss, [s1, s2]))
    sigmoid = scipy.special.expit
    assert by_s1.item() == pytest.approx(-sigmoid(0.3), rel=1e-5)
    assert by_s2.item() == pytest.approx(sigmoid(-0.7) / np.log1p(np.exp(-0.7)), rel=1e-5)


def test_the_logarithm_of_softplus_does_not_run_out_of_numbers():
    s = np.array([-1e4, -200, -20, -15.1, -14.9, -1, 0, 3, 50], np.float32)
    x = tf.constant(s)
    y = d2gan.log_softplus(x)
    y, slope = evaluate([y, tf.gradients(y, x)[0]])
    exact = s.astype(float)
    exact[2:] = np.log(np.log1p(np.exp(exact[2:])))
    np.testing.assert_allclose(y, exact, rtol=1e-5)
    np.testing.assert_allclose(slope[:4], 1, rtol=1e-5)
    np.testing.assert_allclose(slope[4:], scipy.special.expit(s[4:]) / np.logaddexp(0, s[4:]), rtol=1e-5)


# VEEGAN

def test_the_loss_of_g_is_a_kl_divergence_at_the_best_d():
    """D of logistic regression is at its best log p / q; then E_q -D = KL(q || p), and D's loss is 2 ln 2 - 2 JSD."""
    s = tf.constant(np.log(P / Q), tf.float32)
    zeros = tf.zeros([8, 2])
    d_loss, g_loss, _ = veegan.losses(at(DATA, s), at(SAMPLES, s), zeros, zeros, zeros + 1)
    slope, = tf.gradients(d_loss, s)
    d_loss, g_loss, slope = evaluate([d_loss, g_loss, tf.convert_to_tensor(slope)])
    middle = (P + Q) / 2
    jsd = (scipy.stats.entropy(P, middle) + scipy.stats.entropy(Q, middle)) / 2
    assert d_loss == pytest.approx(2 * np.log(2) - 2 * jsd, rel=1e-5)
    assert g_loss == pytest.approx(scipy.stats.entropy(Q, P), rel=1e-5)
    np.testing.assert_allclose(slope, np.zeros(3), atol=1e-6)


def test_noise_is_reconstructed_by_its_likelihood():
    z, mean, sd = random(6, 3, seed=0), random(6, 3, seed=1), np.exp(random(6, 3, seed=2))
    _, _, found = veegan.losses(tf.zeros([6, 1]), tf.zeros([6, 1]), *map(tf.constant, (z, mean, sd)))
    expected = -scipy.stats.norm.logpdf(z, mean, sd).mean() - np.log(2 * np.pi) / 2
    assert evaluate(found) == pytest.approx(expected, rel=1e-5)


def test_the_reconstructor_is_never_certain(build):
    """Without a least deviation the likelihood of a z that F gets right grows without end: -log sd."""
    build('veegan', DATASET='ring', LEAST_SD=0.3)
    _, sd = veegan.reconstructor(tf.constant(1e4 * random(50, 2), tf.float32))       # far away, where its outputs are large
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = session.run(sd)
    assert found.min() == pytest.approx(0.3) and found.max() > 100


def test_the_reconstructor_learns_from_the_reconstruction_alone(build):
    """Algorithm 1: its gradient has no term of D's loss, and D's pairs are of x with F(x) and of G(z) with z."""
    built = build('veegan', DATASET='ring')
    weights = tf.trainable_variables('reconstructor/')
    scalars = built.given['scalars']
    assert weights and tf.gradients(scalars['g_loss'], weights) == [None] * len(weights)
    assert None not in tf.gradients(scalars['reconstruction'], weights)
    assert None not in tf.gradients(scalars['d_loss'], weights)          # D sees F(x), but its step moves D alone
    assert {v.name.split('/')[0] for v in tf.trainable_variables()} == {'generator', 'discriminator', 'reconstructor'}


# MAD-GAN

def test_each_generator_at_a_mode_of_its_own_is_the_optimum(monkeypatch):
    """K places, of each generator one: p is the mean of the q_k. The best D says 1/2 real, 1/2 the right generator."""
    k = 3
    monkeypatch.setattr(mad_gan, 'GENERATORS', k)
    logits = tf.constant(np.log(np.concatenate([np.eye(k) + 1e-12, np.ones([k, 1])], 1)), tf.float32)    # log q_k / K, log p
    d_loss, g_loss = mad_gan.losses(logits, logits, tf.eye(k))
    slope, = tf.gradients(d_loss, logits)
    d_loss, g_loss, slope, odds = evaluate([d_loss, g_loss, tf.convert_to_tensor(slope), mad_gan.score(logits)])
    assert d_loss == pytest.approx(2 * np.log(2), rel=1e-5) and g_loss == pytest.approx(np.log(2), rel=1e-5)
    np.testing.assert_allclose(slope, np.zeros([k, k + 1]), atol=1e-6)
    np.testing.assert_allclose(odds, np.zeros([k, 1]), atol=1e-6)


def test_generators_at_the_same_mode_cost_d_its_naming(monkeypatch):
    """Where all q_k = p, D can but guess whose a sample is: log K more than 2 ln 2, which is the plain GAN's."""
    k = 4
    monkeypatch.setattr(mad_gan, 'GENERATORS', k)
    logits = tf.constant([[0.0] * k + [np.log(k)]] * k, tf.float32)
    found = evaluate(mad_gan.losses(logits, logits, tf.eye(k)))
    assert found == pytest.approx((2 * np.log(2) + np.log(k), np.log(2)), rel=1e-5)


def test_the_losses_are_the_cross_entropies_of_the_right_names(monkeypatch):
    monkeypatch.setattr(mad_gan, 'GENERATORS', 2)
    real, fake = random(3, 3), random(3, 3, seed=1)
    found = evaluate(mad_gan.losses(tf.constant(real), tf.constant(fake), tf.one_hot([1, 0, 1], 2)))
    of_real, of_fake = (scipy.special.log_softmax(logits.astype(float), axis=1) for logits in (real, fake))
    d_loss = -of_real[:, 2].mean() - of_fake[range(3), [1, 0, 1]].mean()
    assert found == pytest.approx((d_loss, -of_fake[:, 2].mean()), rel=1e-5)


@pytest.mark.parametrize('dataset, shape', [('ring', [2]), ('mnist', [28, 28, 1])])
def test_generators_share_all_layers_but_the_last(dataset, shape, monkeypatch):
    monkeypatch.setattr(mad_gan, 'DATASET', dataset)
    monkeypatch.setattr(mad_gan, 'GENERATORS', 3)
    z = tf.constant(random(4, 2))
    alone = [mad_gan.generator(z, tf.one_hot([k] * 4, 3), training=False) for k in range(3)]
    alone, mixed = evaluate([alone, mad_gan.generator(z, tf.one_hot([2, 0, 0, 1], 3), training=False)])
    assert mixed.shape == (4, *shape) and np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(mixed, np.array(alone)[[2, 0, 0, 1], range(4)], rtol=1e-6)
    layers = {v.op.name.split('/')[1] for v in tf.trainable_variables('generator/')}
    own = {'generator1', 'generator2', 'generator3'}
    assert own < layers and not layers & {'point', 'deconv2'} and len(layers - own) == {'ring': 8, 'mnist': 4}[dataset]


def test_samples_have_the_colour_of_their_group():
    samples = np.array([[0.5, 0.5], [-0.5, 0.5], [0.5, -0.5]])
    picture = viz.plane(1, samples, np.zeros([0, 2]), groups=np.array([0, 2, 2])).astype(int)
    upper_right, upper_left, lower_right = (picture[row - 1:row + 2, column - 1:column + 2].mean((0, 1))
                                            for row, column in [(100, 300), (100, 100), (300, 300)])
    assert upper_right[2] > upper_right[0] + 50                          # C0 is blue
    assert upper_left[1] > upper_left[0] + 50                            # C2 is green
    np.testing.assert_allclose(upper_left, lower_right, atol=10)
