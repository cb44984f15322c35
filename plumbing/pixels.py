"""Pixels as bytes and as the numbers that networks make."""
import numpy as np


def to_uint8(images):
    """Float images in [-1, 1] -> uint8, rounded; values outside the range are clipped."""
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)
