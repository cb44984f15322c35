"""cogan.py: which layers are shared, tasks against SciPy, the share of pixels that agree, halves without a common picture."""
import cogan
import data

import drive
import numpy as np
import pytest
import scipy.ndimage
import tensorflow.compat.v1 as tf
from conftest import evaluate, random

pytestmark = pytest.mark.usefixtures('fresh_graph')


def variables(network, domain=None):
    """{layer/variable: its number of numbers} of a network, of a domain or shared."""
    found = {v.op.name.removeprefix(f'{network}/'): v.shape.num_elements() for v in tf.trainable_variables(f'{network}/')}
    return {name.removeprefix(f'domain{domain}/'): size for name, size in found.items()
            if (name.startswith(f'domain{domain}/') if domain else not name.startswith('domain'))}


@pytest.fixture
def small(monkeypatch):
    for constant, value in {'WIDTH': 2, 'HIDDEN': 8, 'DETAIL': 3, 'Z_DIM': 5}.items():
        monkeypatch.setattr(cogan, constant, value)


@pytest.mark.parametrize('own', [1, 2])
def test_generators_share_all_layers_but_the_last_two(small, monkeypatch, own):
    """Of domain 2 alone, or of both; then they are alike."""
    monkeypatch.setattr(cogan, 'OWN', own)
    cogan.generator(tf.zeros([3, 5]), training=True)
    one, other = variables('generator', 1), variables('generator', 2)
    assert one == (other if own == 2 else {}) and {name.split('/')[0] for name in other} == {'detail', 'pixels'}
    assert {name.split('/')[0] for name in variables('generator')} == {
        'dense1', 'norm1', 'project', 'project_norm', 'deconv1', 'deconv1_norm', 'deconv2'}


def test_discriminators_share_all_layers_but_the_first(small):
    cogan.discriminator([tf.zeros([3, 28, 28, 1])] * 2, training=True)
    one, other = variables('discriminator', 1), variables('discriminator', 2)
    assert one == other and {name.split('/')[0] for name in one} == {'conv1'}
    assert {name.split('/')[0] for name in variables('discriminator')} == {'conv2', 'norm1', 'dense1', 'norm2', 'dense2'}


def test_without_sharing_only_z_is_common(small, monkeypatch):
    """Two whole generators, and two whole discriminators: logits of domain 1 know nothing of domain 2."""
    monkeypatch.setattr(cogan, 'SHARED', False)
    monkeypatch.setattr(cogan, 'OWN', 2)
    logits = cogan.discriminator(cogan.generator(tf.constant(random(3, 5)), training=True), training=True)
    assert logits.shape.as_list() == [6, 1]
    assert not variables('generator') and variables('generator', 1) == variables('generator', 2)
    assert not variables('discriminator') and variables('discriminator', 1) == variables('discriminator', 2)
    weights = tf.trainable_variables()
    gradients = evaluate([tf.convert_to_tensor(gradient) for gradient in tf.gradients(logits[:3], weights)])
    for weight, gradient in zip(weights, gradients, strict=True):
        assert '/domain2/' not in weight.op.name or not gradient.any()
    assert any(gradient.any() for gradient in gradients)


def test_logits_are_those_of_domain_1_then_of_domain_2(small):
    """Without batch norm of the batch at hand, what is judged does not depend on what stands beside it."""
    x, y = random(3, 28, 28, 1), random(3, 28, 28, 1, seed=1)
    both = cogan.discriminator([tf.constant(x), tf.constant(y)], training=False)
    with tf.name_scope('swapped'):
        swapped = cogan.discriminator([tf.constant(x), tf.constant(x)], training=False)
    both, swapped = evaluate([both, swapped])
    np.testing.assert_allclose(both[:3], swapped[:3], atol=1e-6)
    assert np.abs(both[3:] - swapped[3:]).max() > 1e-5 and np.abs(swapped[:3] - swapped[3:]).max() > 1e-5


@pytest.mark.parametrize('own', [1, 2])
def test_a_change_of_the_shared_layers_changes_both_pictures(small, monkeypatch, own):
    """One of a domain's own layers leaves the picture of the other as it is."""
    monkeypatch.setattr(cogan, 'OWN', own)
    x1, x2 = cogan.generator(tf.constant(random(4, 5)), training=False)
    own1, own2, shared = (tf.trainable_variables(f'generator/{layer}/') for layer in ('domain1', 'domain2', 'dense1'))
    assert bool(own1) == (own == 2) and own2 and shared
    for x, weights, expected in ((x1, own1, True), (x1, own2, False), (x2, own1, False), (x2, own2, True),
                                 (x1, shared, True), (x2, shared, True)):
        assert all((gradient is not None) == expected for gradient in tf.gradients(x, weights))


def test_a_pixel_is_drawn_from_the_sketch_around_it(small):
    """Two layers of 3x3: the 5x5 pixels around it, and no others."""
    x = tf.constant(random(1, 28, 28, 1))
    with tf.variable_scope('drawn'):
        y = cogan.drawn(x, training=False)
    seen = evaluate(tf.gradients(y[0, 10, 12, 0], x)[0])[0, ..., 0] != 0
    rows, columns = np.nonzero(seen)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 12, 10, 14)


def test_what_is_small_drowns_in_the_noise_of_training(small, monkeypatch):
    """Noise of the given standard deviation is added to the sketch, in training alone."""
    monkeypatch.setattr(cogan, 'NOISE', 0.3)
    taken, conv = [], cogan.ops.conv
    monkeypatch.setattr(cogan.ops, 'conv', lambda x, *given, **more: taken.append(x) or conv(x, *given, **more))
    x = random(20, 28, 28, 1)
    for training in True, False:
        with tf.variable_scope('drawn', reuse=tf.AUTO_REUSE):
            cogan.drawn(tf.constant(x), training)
    noisy, _, plain, _ = evaluate(taken)
    np.testing.assert_array_equal(plain, x)
    assert (noisy - x).std() == pytest.approx(0.3, rel=0.05) and abs((noisy - x).mean()) < 0.02


@pytest.mark.parametrize('channels', [1, 3])
def test_the_tasks_are_the_papers(channels, monkeypatch):
    """The authors' edges, of bytes: the dilation by a 3x3 square (outside of the picture is nothing) less the picture."""
    x = np.random.default_rng(0).integers(0, 256, [3, 12, 12, channels])
    given = tf.constant(x / 127.5 - 1, tf.float32)
    for task, expected in ('edges', scipy.ndimage.grey_dilation(x, [1, 3, 3, 1], mode='constant') - x), ('negative', 255 - x):
        monkeypatch.setattr(cogan, 'TASK', task)
        np.testing.assert_allclose((evaluate(cogan.transformed(given)) + 1) * 127.5, expected, atol=1e-3)


def test_agreement_is_the_share_of_pixels_on_the_same_side_of_grey(monkeypatch):
    monkeypatch.setattr(cogan, 'TASK', 'negative')
    x = random(4, 10, 10, 1)
    x[abs(x) < 0.01] = 0.5
    y = -x
    y[0, :3] *= -1                                           # 30 of 100 pixels
    y[1, 0, 0] = 1e-3 * np.sign(y[1, 0, 0])                  # on the same side still
    y[2] *= -1
    np.testing.assert_allclose(evaluate(cogan.agreement(tf.constant(x), tf.constant(y))), [0.7, 1, 0, 1], rtol=1e-6)


def test_agreement_of_edges_is_counted_on_the_edges(monkeypatch):
    """A white square of 4x4: its edge is the ring of 20 pixels around it. Against no edges at all, these 20 disagree."""
    monkeypatch.setattr(cogan, 'TASK', 'edges')
    x, ring = -np.ones([1, 10, 10, 1], np.float32), -np.ones([1, 10, 10, 1], np.float32)
    x[0, 3:7, 3:7] = ring[0, 2:8, 2:8] = 1
    ring[0, 3:7, 3:7] = -1
    for found, share in (ring, 1), (-np.ones_like(x), 0.8), (x, 1 - (20 + 16) / 100):
        assert evaluate(cogan.agreement(tf.constant(x), tf.constant(found))) == pytest.approx([share], rel=1e-6)


def test_no_picture_is_known_to_both_domains(build, monkeypatch):
    """Over an epoch domain 1 is shown each picture of one half, domain 2 what is made of each of the other half; never a pair."""
    shown, discriminator = [], cogan.discriminator
    monkeypatch.setattr(cogan, 'discriminator', lambda images, training: shown.append(images) or discriminator(images, training))
    pictures = (np.random.default_rng(0).integers(0, 256, [32, 28, 28, 1])).astype(np.uint8)
    monkeypatch.setattr(drive, 'load', lambda *given, **more: (pictures, None))
    built = build('cogan', TASK='negative', BATCH_SIZE=8)
    assert data.load is drive.load
    (x1, x2), _ = shown
    with built.session() as session:
        batches = [session.run([x1, x2]) for _ in range(2)]
    number = {image.tobytes(): i for i, image in enumerate(pictures)}
    one, other = ([number[np.rint((sign * image + 1) * 127.5).astype(np.uint8).tobytes()] for batch in batches
                   for image in batch[k]] for k, sign in ((0, 1), (1, -1)))
    assert sorted(one + other) == list(range(32)) and len(set(one)) == len(set(other)) == 16


def test_the_losses_are_the_papers_non_saturating():
    real, fake = random(6, 1), random(6, 1, seed=1)
    d_loss, g_loss = evaluate(cogan.losses(tf.constant(real), tf.constant(fake)))
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    assert d_loss == pytest.approx(-(np.log(p) + np.log(1 - q)).mean(), rel=1e-5)
    assert g_loss == pytest.approx(-np.log(q).mean(), rel=1e-5)
