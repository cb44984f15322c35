"""Distributions of points in the plane, and the measures of the published tables.

As in the tables of VEEGAN (Srivastava et al. 2017, arXiv:1705.07761) and PacGAN (Lin et al. 2018, arXiv:1712.04086): `ring`,
8 Gaussians of standard deviation 0.01 on the unit circle; `grid`, 5 x 5 Gaussians of 0.05, 2 apart. `spirals` are two arms
of our own.
"""
import numpy as np
import tensorflow.compat.v1 as tf

ANGLES = np.arange(8) * np.pi / 4
ARCS = 10                        # of equal length in an arm of the spirals: its modes
TURN = np.sqrt(np.linspace(0.25, 9, 401)[1::2]) * np.pi  # 200 places along an arm: its angle, from pi/2 to 3 pi
ARM = np.stack([TURN * np.cos(TURN), TURN * np.sin(TURN)], 1) / (3 * np.pi)
PLANES = {                       # data set: centres [K, 2], the mode of each, standard deviation, half a picture's side
    'ring': (np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1), np.arange(8), 0.01, 1.5),
    'grid': (np.array([[x, y] for x in range(-4, 5, 2) for y in range(-4, 5, 2)]), np.arange(25), 0.05, 5.5),
    'spirals': (np.concatenate([ARM, -ARM]), np.arange(400) // (200 // ARCS), 0.02, 1.5),
}


def points(dataset, u, e):
    """Draws of a plane's distribution [B, 2] by u [B] from U[0, 1) and e [B, 2] from N(0, 1)."""
    centres, _, sd, _ = PLANES[dataset]
    with tf.name_scope('points'):
        return tf.gather(tf.constant(centres, tf.float32), tf.cast(u * len(centres), tf.int32)) + sd * e


def measures(samples, dataset):
    """Points [N, 2] -> {modes, quality, reverse_kl}, scalar tensors, by the protocol of the published tables.

    A sample is of high quality within 3 standard deviations of the nearest centre (Gaussian data: 1 - exp(-9 / 2) = 98.9 %);
    quality is their share. Modes are those with at least one such sample. reverse_kl is that of their histogram over the K
    modes from the uniform one, sum p log(p K), in nats; log K, the most there is, where no sample is of high quality.
    """
    centres, modes, sd, _ = PLANES[dataset]
    k = modes[-1] + 1
    apart = samples[:, None] - tf.constant(centres, tf.float32)              # [N, centres, 2]
    squares = tf.reduce_sum(tf.square(apart), 2)
    good = tf.cast(tf.reduce_min(squares, 1) < (3 * sd) ** 2, tf.float32)
    nearest = tf.gather(tf.constant(modes), tf.argmin(squares, 1))
    counts = tf.math.unsorted_segment_sum(good, nearest, k)
    p = counts / tf.maximum(tf.reduce_sum(counts), 1)
    reverse_kl = tf.reduce_sum(tf.math.xlogy(p, p * k)) + np.log(k) * (1 - tf.reduce_sum(p))
    return {'modes': tf.reduce_sum(tf.cast(counts > 0, tf.float32)), 'quality': tf.reduce_mean(good), 'reverse_kl': reverse_kl}
