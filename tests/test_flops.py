"""benchmarks/flops.py against counts by hand and TensorFlow's profiler."""
import data
import gan_fc
import run
from benchmarks import flops

import numpy as np
import pytest
import tensorflow.compat.v1 as tf


def test_a_step_of_the_fully_connected_gan_by_hand(monkeypatch):
    """2 multiplications and additions x batch x inputs x outputs for each product that an update needs."""
    b, z, h, n = 8, 10, 12, 784
    constants = {'BATCH_SIZE': b, 'Z_DIM': z, 'G_HIDDEN': (h,), 'D_HIDDEN': (h,), 'BATCH_NORM': False, 'DROPOUT': 0.0}
    for name, value in constants.items():
        monkeypatch.setattr(gan_fc, name, value)
    monkeypatch.setattr(data, 'load', lambda *args, **options: (np.zeros([20, 28, 28, 1], np.uint8), None))
    monkeypatch.setattr(run, 'train', lambda script, *, updates, **options: found.extend(flops.count([u]) for u in updates))
    found = []
    with tf.Graph().as_default():
        gan_fc.main()
    g, d = z * h + h * n, n * h + h
    d_step = g + 4 * d + 2 * h                          # G; D forward and by its weights, twice, and by its hidden layer
    g_step = g + (g + h * n) + d + (h + h * n)          # forward; by G's weights and hidden layer; D forward and by its input
    assert found == [2 * b * d_step, 2 * b * g_step]


def test_convolutions_as_the_profiler_counts_them():
    with tf.Graph().as_default() as graph:
        x, kernel = tf.placeholder(tf.float32, [2, 14, 14, 3]), tf.placeholder(tf.float32, [4, 4, 3, 5])
        y = tf.nn.conv2d(x, kernel, 2, 'SAME')  # the profiler takes all gradients for SAME
        targets = [y, *tf.gradients(y, [x, kernel]), tf.matmul(tf.zeros([3, 4]), tf.zeros([5, 4]), transpose_b=True)]
        options = {**tf.profiler.ProfileOptionBuilder.float_operation(), 'output': 'none'}
        profile = tf.profiler.profile(graph, cmd='op', options=options)
        assert flops.count(targets) == profile.total_float_ops


def test_an_unknown_shape_is_not_counted():
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 3])
        with pytest.raises(ValueError, match='nothing to count'):
            flops.count([tf.matmul(x, tf.ones([3, 2]))])
