"""Pixels as bytes and as the numbers that networks make."""
import math
import os
import struct

from plumbing import files

import imageio.v3 as iio
import numpy as np


def to_uint8(images):
    """Float images in [-1, 1] -> uint8, rounded; values outside the range are clipped."""
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def to_float(images):
    """uint8 images -> float32 in [-1, 1]."""
    return images / np.float32(127.5) - 1


def save(path, picture):
    """Writes a uint8 picture [h, w] or [h, w, 3] in the format of the path's suffix; returns the path.

    Raises UserError where the format cannot hold so large a picture.
    """
    with files.replacing(path) as temporary:
        try:
            iio.imwrite(os.path.abspath(temporary), picture)  # of another path it would expand a ~
        except (ValueError, struct.error, OSError) as error:
            if getattr(error, 'errno', None):
                raise
            size = 'x'.join(map(str, picture.shape[1::-1]))
            raise files.UserError(f'cannot write {size} pixels as {path} ({files.reason(error)}): a .png can be larger') from None
    return path


def tiled(images, columns=None, gap=0, background=0):
    """uint8 [N, H, W, C] -> [h, w, C], in rows of `columns` (None for a square) with gaps of `gap` pixels."""
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    cells = np.full([rows * columns, height + gap, width + gap, channels], background, np.uint8)
    cells[:count, :height, :width] = images
    picture = cells.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    return picture.reshape(rows * (height + gap), columns * (width + gap), channels)[:-gap or None, :-gap or None]
