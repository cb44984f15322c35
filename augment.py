"""Pictures that are changed at random in the graph, and a loss for what should survive it.

Their random numbers are those of `ops`, so that a run that is resumed draws what it would have drawn.
"""
import ops

import tensorflow.compat.v1 as tf


def turned(x, u, most):
    """x [B, s, s, c] in [-1, 1], u [B, 6] in [-1, 1) -> pictures turned by up to `most` radians, sheared by up to 0.8 most,
    scaled by up to 0.4 most across and down, and moved by up to s / 14 pixels right and down; what comes in at an edge is -1."""
    with tf.name_scope('turned'):
        side = x.shape[1]
        angle, shear, wide, high, right, below = tf.unstack(
            u * [most, 0.8 * most, 0.4 * most, 0.4 * most, side / 14, side / 14], axis=1)
        middle, zero = (side - 1) / 2, tf.zeros_like(angle)
        a, b = (1 + wide) * tf.cos(angle), shear - tf.sin(angle)              # from (x, y) around the middle
        c, d = tf.sin(angle), (1 + high) * tf.cos(angle)                      # it reads at (a x + b y, c x + d y)
        matrix = tf.stack([a, b, right + middle * (1 - a - b), c, d, below + middle * (1 - c - d), zero, zero], 1)
        return tf.raw_ops.ImageProjectiveTransformV3(images=x, transforms=matrix, output_shape=[side, side], fill_value=-1.0,
                                                     fill_mode='CONSTANT', interpolation='BILINEAR')


def turned_by_chance(x, most, name='turn'):
    """Each of the pictures x `turned` as chance has it; name: of the random numbers."""
    return turned(x, ops.uniform([x.shape[0], 6], name, -1, 1), most)


def mutual_information(logits, other_logits):
    """I(c; c') in nats of categories c and c' that have `logits` and `other_logits` [B, K], of each pair of a batch.

    It is largest, ln K, where they are certain and agree, and all categories are equally frequent. Of pictures and the same ones
    turned it is the objective of invariant information clustering (Ji, Henriques & Vedaldi 2018, arXiv:1807.06653, eq. 3).
    """
    p, q = tf.nn.softmax(logits), tf.nn.softmax(other_logits)
    with tf.name_scope('I_turned'):
        joint = tf.matmul(p, q, transpose_a=True) / p.shape[0]
        joint = (joint + tf.transpose(joint)) / 2                                          # P(c, c') [K, K]
        h, h_both = (-tf.reduce_sum(x * tf.math.log(x + 1e-8)) for x in (tf.reduce_sum(joint, 0), joint))
        return tf.subtract(2 * h, h_both, name='I_turned')


def information_kept(x, logits, categorize, most):
    """I(c; c') in nats of the categories of pictures x [B, s, s, c] in [-1, 1] and of the same ones `turned`.

    logits [B, K]: of their categories; categorize: function from pictures to such; most: radians.
    """
    with tf.name_scope('data/'):
        other = turned_by_chance(x, most)
    with tf.name_scope('turned'):
        other_logits = categorize(other)
    with tf.name_scope('losses/'):
        return mutual_information(logits, other_logits)
