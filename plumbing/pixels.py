"""Pixels as bytes and as the numbers that networks make."""
from plumbing import files

import imageio.v3 as iio
import numpy as np


def to_uint8(images):
    """Float images in [-1, 1] -> uint8, rounded; values outside the range are clipped."""
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def save(path, picture):
    """Writes a uint8 picture [h, w] or [h, w, 3] in the format of the path's suffix; returns the path."""
    with files.replacing(path) as temporary:
        iio.imwrite(temporary, picture)
    return path
