"""lapgan.py: the pyramid against SciPy, what is made of it again, and which sizes it takes."""
import lapgan
from plumbing import files

import numpy as np
import pytest
import scipy.ndimage
import tensorflow.compat.v1 as tf
from conftest import evaluate, random

pytestmark = pytest.mark.usefixtures('fresh_graph')
KERNEL = np.array([1, 4, 6, 4, 1]) / 16


def test_down_is_a_blur_and_every_other_pixel():
    x = random(2, 12, 12, 3)
    blurred = x
    for axis in 1, 2:
        blurred = scipy.ndimage.correlate1d(blurred, KERNEL, axis, mode='reflect')
    np.testing.assert_allclose(evaluate(lapgan.down(tf.constant(x))), blurred[:, ::2, ::2], rtol=1e-4, atol=1e-6)


def test_up_is_zeros_between_the_pixels_and_a_blur():
    x = random(2, 5, 5, 3)
    apart = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], 'edge')
    for axis in 1, 2:
        apart = np.insert(apart, range(1, apart.shape[axis] + 1), 0, axis)
        apart = scipy.ndimage.correlate1d(apart, 2 * KERNEL, axis, mode='constant')
    np.testing.assert_allclose(evaluate(lapgan.up(tf.constant(x))), apart[:, 2:-2, 2:-2], rtol=1e-4, atol=1e-6)


def test_brightness_stays():
    x = tf.fill([1, 8, 8, 1], 0.7)
    base, levels = lapgan.pyramid(x)
    base, levels = evaluate([base, levels])
    np.testing.assert_allclose(base, np.full([1, 2, 2, 1], 0.7), rtol=1e-6)
    for low, h in levels:
        np.testing.assert_allclose(low, np.full(low.shape, 0.7), rtol=1e-6)
        np.testing.assert_allclose(h, np.zeros(h.shape), atol=1e-6)


@pytest.mark.parametrize('levels, side', [(2, 28), (3, 32), (1, 10)])
def test_a_picture_is_made_again_from_its_pyramid(levels, side, monkeypatch):
    monkeypatch.setattr(lapgan, 'LEVELS', levels)
    x = random(2, side, side, 3)
    picture, found = lapgan.pyramid(tf.constant(x))
    shapes = []
    for low, h in found:
        np.testing.assert_allclose(evaluate(low), evaluate(lapgan.up(picture)), atol=1e-5)   # enlarged from what is there so far
        picture = lapgan.up(picture) + h
        shapes.append(picture.shape.as_list())
    assert shapes == [[2, side >> level, side >> level, 3] for level in range(levels - 1, -1, -1)]
    np.testing.assert_allclose(evaluate(picture), x, atol=1e-5)


def test_pictures_are_drawn_coarse_to_fine(monkeypatch):
    """Details of 0 leave the enlarged base; the noise of a size does not change the coarser ones."""
    monkeypatch.setattr(lapgan, 'detail_generator', lambda low, z, training: tf.zeros_like(low) * z[:, :1, None, None])
    z, planes = tf.constant(random(3, lapgan.Z_DIM)), [tf.constant(random(3, side * side)) for side in (14, 28)]
    base, _, middle, _, fine = lapgan.drawn(z, *planes, training=False)
    base, middle, fine, expected = evaluate([base, middle, fine, lapgan.up(lapgan.up(base))])
    assert base.shape == (3, 7, 7, 1) and middle.shape == (3, 14, 14, 1)
    np.testing.assert_allclose(fine, expected, atol=1e-6)


@pytest.mark.parametrize('size, levels', [(30, 2), (8, 2), (28, 3)])
def test_sizes_that_make_no_pyramid_are_refused(size, levels, monkeypatch):
    monkeypatch.setattr(lapgan, 'IMAGE_SIZE', size)
    monkeypatch.setattr(lapgan, 'LEVELS', levels)
    with pytest.raises(files.UserError, match='IMAGE_SIZE must be a multiple of'):
        lapgan.main()
