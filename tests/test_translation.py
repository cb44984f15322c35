"""translation.py, pix2pix.py and cyclegan.py: what pictures are made into against SciPy and NumPy, and their networks."""
import translation

import numpy as np
import pytest
import scipy.ndimage
import tensorflow.compat.v1 as tf
from conftest import evaluate, random

pytestmark = pytest.mark.usefixtures('fresh_graph')


def pictures(*shape, seed=0):
    """Random pictures in [-1, 1]."""
    return np.tanh(random(*shape, seed=seed))


def test_edges_are_the_dilation_less_the_picture():
    x = pictures(3, 9, 9, 2)
    p = (x + 1) / 2
    expected = 2 * (scipy.ndimage.grey_dilation(p, size=(1, 3, 3, 1), mode='nearest') - p) - 1
    np.testing.assert_allclose(evaluate(translation.edges(tf.constant(x))), expected, atol=1e-6)


def test_an_even_picture_has_no_edges_and_a_dot_a_ring():
    x = np.full([1, 5, 5, 1], -1, 'f')
    ring = x.copy()
    x[0, 2, 2] = 1
    ring[0, 1:4, 1:4] = 1
    ring[0, 2, 2] = -1
    np.testing.assert_array_equal(evaluate(translation.edges(tf.constant(x))), ring)
    np.testing.assert_array_equal(evaluate(translation.edges(tf.fill([1, 4, 4, 1], 0.25))), np.full([1, 4, 4, 1], -1))


def test_a_negative_of_a_negative_is_the_picture():
    x = pictures(2, 4, 4, 3)
    once = translation.negative(tf.constant(x))
    first, again = evaluate([once, translation.negative(once)])
    np.testing.assert_allclose((first + 1) / 2, 1 - (x + 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(again, x)
