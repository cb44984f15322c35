"""DCGAN beyond 28 pixels: the paper's sizes and parameter counts, both ways to double a side, label smoothing."""
import math

import dcgan
import ops
from plumbing import files

import numpy as np
import pytest
import tensorflow.compat.v1 as tf


def sizes(scope):
    return sum(math.prod(v.shape) for v in tf.trainable_variables(scope))


def test_at_64_pixels_and_width_128_it_is_the_network_of_the_paper(monkeypatch):
    monkeypatch.setattr(dcgan, 'IMAGE_SIZE', 64)
    monkeypatch.setattr(dcgan, 'WIDTH', 128)
    with tf.Graph().as_default():
        images = dcgan.generator(tf.zeros([2, 100]), training=True)
        dcgan.discriminator(images, training=True)
        kernels = [v.shape.as_list() for v in tf.trainable_variables('generator/') if v.shape.rank == 4]
        assert images.shape.as_list() == [2, 64, 64, 1]
        assert kernels == [[4, 4, 1024, 512], [4, 4, 512, 256], [4, 4, 256, 128], [4, 4, 128, 1]]
        # weights, and scale and offset of batch norm; the paper's first layer is a projection of z to 4x4x1024
        norms = 2 * (4 * 4 * 1024 + 512 + 256 + 128)
        assert sizes('generator/') == 100 * 16384 + 16 * (1024 * 512 + 512 * 256 + 256 * 128 + 128) + 1 + norms
        norms = 2 * (256 + 512 + 1024)
        assert sizes('discriminator/') == 16 * (128 + 128 * 256 + 256 * 512 + 512 * 1024) + 128 + 16384 + 1 + norms


@pytest.mark.parametrize('size', [16, 24, 28, 32, 48, 64, 128])
@pytest.mark.parametrize('upsample', ['transpose', 'resize'])
def test_every_size_comes_out_as_asked(monkeypatch, size, upsample):
    for name, value in {'IMAGE_SIZE': size, 'CHANNELS': 3, 'WIDTH': 2, 'UPSAMPLE': upsample}.items():
        monkeypatch.setattr(dcgan, name, value)
    with tf.Graph().as_default():
        images = dcgan.generator(tf.zeros([2, 100]), training=True)
        assert images.shape.as_list() == [2, size, size, 3]
        assert dcgan.discriminator(images, training=True).shape.as_list() == [2, 1]


@pytest.mark.parametrize('size, channels', [(14, 1), (30, 1), (66, 3), (28, 2)])
def test_other_sizes_are_refused(size, channels):
    with pytest.raises(files.UserError, match='IMAGE_SIZE must be'):
        ops.depth(size, channels)


def test_resized_pixels_see_equal_weights_and_transposed_ones_do_not(monkeypatch):
    """Of a constant map a resize-convolution makes a constant one away from the border; the other makes a checkerboard."""
    patterns = {}
    for upsample in 'transpose', 'resize':
        monkeypatch.setattr(dcgan, 'UPSAMPLE', upsample)
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(0)
            y = dcgan.double(tf.ones([1, 8, 8, 4]), 1, 'double')
            session.run(tf.global_variables_initializer())
            patterns[upsample] = session.run(y)[0, 2:-2, 2:-2, 0]
    assert np.ptp(patterns['resize']) < 1e-6 < 1e-2 < np.ptp(patterns['transpose'])
    np.testing.assert_allclose(patterns['transpose'][::2, ::2], patterns['transpose'][0, 0], rtol=1e-5)


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_the_smoothed_loss_is_the_cross_entropy_of_smoothed_labels(monkeypatch, smoothing):
    monkeypatch.setattr(dcgan, 'LABEL_SMOOTHING', smoothing)
    real, fake = np.array([[-2.0], [0.5]]), np.array([[1.0], [-3.0]])
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    target = 1 - smoothing
    with tf.Graph().as_default(), tf.Session() as session:
        d_loss, g_loss = session.run(dcgan.losses(tf.constant(real), tf.constant(fake)))
    np.testing.assert_allclose(d_loss, (-target * np.log(p) - (1 - target) * np.log(1 - p) - np.log(1 - q)).mean())
    np.testing.assert_allclose(g_loss, -np.log(q).mean())
