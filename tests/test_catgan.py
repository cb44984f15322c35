"""CatGAN and SGAN: their losses as NumPy finds them in the probabilities, and who learns from what."""
import math

import catgan
import sgan

import drive
import forkserver
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import evaluate, random, softmax

pytestmark = pytest.mark.usefixtures('fresh_graph')


# CatGAN

def test_the_classifier_of_a_run_has_the_statistics_of_real_pictures(tmp_path):
    """As TensorFlow finds them in the SavedModel, layer by layer, for the training pictures: D also learned from G's."""
    status, _, error = forkserver.run('catgan', '--labels', 20, '--batch-size', 8, '--width', 2, '--hidden', 16, '--steps', 3,
                                      '--eval-every', 0, '--run-dir', tmp_path / 'run')
    assert status == 0, error
    pictures = drive.load('mnist')[0] / np.float32(127.5) - 1
    with tf.Session(graph=tf.Graph()) as session:
        signature = tf.saved_model.load(session, ['serve'], str(tmp_path / 'run' / 'classifier')).signature_def['serving_default']
        norms = [op for op in session.graph.get_operations() if op.type.startswith('FusedBatchNorm')]
        for norm in norms:
            x, *statistics = session.run([norm.inputs[i] for i in (0, 3, 4)], {signature.inputs['images'].name: pictures})
            np.testing.assert_allclose(statistics, [x.mean((0, 1, 2)), x.var((0, 1, 2))], rtol=0.02, atol=0.02 * x.std())
    assert len(norms) == 2


def test_entropies_are_those_of_scipy():
    logits = 3 * random(7, 5)
    p = softmax(logits)
    found = evaluate([entropy(tf.constant(logits)) for entropy in (catgan.conditional_entropy, catgan.marginal_entropy)])
    np.testing.assert_allclose(found, [scipy.stats.entropy(p, axis=1).mean(), scipy.stats.entropy(p.mean(0))], rtol=1e-5)


def test_entropies_of_what_is_sure_and_of_what_is_not():
    """Also where a probability is 0 in float32: no NaN, and no bound."""
    sure, alike = tf.constant(1e4 * np.eye(4, dtype='f')), tf.zeros([6, 4])
    assert evaluate(catgan.conditional_entropy(sure)) == pytest.approx(0, abs=1e-6)
    assert evaluate(catgan.marginal_entropy(sure)) == pytest.approx(math.log(4), rel=1e-6)
    assert evaluate(catgan.marginal_entropy(sure[:1])) == pytest.approx(0, abs=1e-6)
    assert evaluate(catgan.conditional_entropy(alike)) == pytest.approx(math.log(4), rel=1e-6)
    for entropy in catgan.conditional_entropy, catgan.marginal_entropy:
        assert np.isfinite(evaluate(tf.gradients(entropy(sure), sure))).all()


@pytest.mark.parametrize('labels', [0, 20])
def test_the_game_of_catgan(labels, build):
    """Equations 7 to 9 from the probabilities that D gives: what d_loss and g_loss are, and that labels are learnt by D alone."""
    built = build('catgan', LABELS=labels, CATEGORIES=6, INVARIANCE=0.0, NOISE=0.0)
    given = built.given
    with built.session() as session:
        found, real, fake = session.run([given['scalars'], given['scores']['real'], given['scores']['fake']])
    assert real.shape == fake.shape == (8, 10 if labels else 6)
    h = {name: (scipy.stats.entropy(softmax(logits), axis=1).mean(), scipy.stats.entropy(softmax(logits).mean(0)))
         for name, logits in (('real', real), ('fake', fake))}
    assert found['d_loss'] == pytest.approx(-(h['real'][1] - h['real'][0] + h['fake'][0]), abs=1e-4)
    assert found['g_loss'] == pytest.approx(-h['fake'][1] + h['fake'][0], abs=1e-4)
    assert ('class_loss' in found) == bool(labels)
    if labels:
        assert found['class_loss'] == pytest.approx(math.log(10), rel=0.3)
        assert tf.gradients(given['scalars']['class_loss'], tf.trainable_variables('generator/')) == [
            None] * len(tf.trainable_variables('generator/'))


@pytest.mark.parametrize('networks', ['conv', 'dense'])
def test_noise_is_for_training_alone(networks, build):
    """The classifier says the same of a picture twice; while training D sees it through another noise each time."""
    built = build('catgan', NOISE=0.5, NETWORKS=networks)
    x = tf.constant(random(3, 28, 28, 1).clip(-1, 1))
    classifier = built.given['networks']['classifier'].function
    noisy = catgan.discriminator(x, categories=10, training=True)
    with built.session() as session:
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(classifier(x)), session.run(classifier(x)))
        assert not np.array_equal(session.run(noisy), session.run(noisy))


# SGAN

def test_the_losses_of_sgan_are_those_of_its_probabilities():
    """-log P(real|x) with P(real|x) = 1 - P(K + 1|x), -log P(K + 1|G(z)), and -log P(y|x), by NumPy from softmax."""
    real, fake, labelled = 2 * random(6, 4), 2 * random(6, 4, seed=1), 2 * random(3, 4, seed=2)
    y = np.array([0, 2, 1])
    sources = sgan.source(tf.constant(real)), sgan.source(tf.constant(fake))
    found = evaluate(sgan.losses(*sources, tf.constant(labelled), tf.constant(y)))
    p_real, p_fake, p_labelled = map(softmax, (real, fake, labelled))
    d_loss = -np.log(1 - p_real[:, -1]).mean() - np.log(p_fake[:, -1]).mean()
    expected = d_loss, -np.log(1 - p_fake[:, -1]).mean(), -np.log(p_labelled[np.arange(3), y]).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_source_of_sgan_stays_finite_and_has_a_gradient():
    logits = tf.constant(np.float32([[1e4, 0, -1e4], [-1e4, 0, 1e4]]))
    found = sgan.source(logits)
    np.testing.assert_allclose(evaluate(found), [[2e4], [-1e4]])
    assert np.isfinite(evaluate(tf.gradients(sgan.losses(found, found, logits, tf.constant([0, 1]))[0], logits))).all()


def test_the_classifier_of_sgan_leaves_fake_out(build):
    """P(y|x, real): the softmax of K + 1 without its last, divided by the rest."""
    built = build('sgan', LABELS=20)
    x = tf.constant(random(4, 28, 28, 1).clip(-1, 1))
    logits, p = sgan.discriminator(x, classes=10, training=False), built.given['networks']['classifier'].function(x)
    with built.session() as session:
        logits, p = session.run([logits, p])
    whole = softmax(logits)
    assert p.shape == (4, 10)
    np.testing.assert_allclose(p, whole[:, :-1] / whole[:, :-1].sum(1, keepdims=True), rtol=1e-4)
