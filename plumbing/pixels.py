"""Pixels as bytes and as the numbers that networks make."""
import os
import struct

from plumbing import files

import imageio.v3 as iio
import numpy as np


def to_uint8(images):
    """Float images in [-1, 1] -> uint8, rounded; values outside the range are clipped."""
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


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
