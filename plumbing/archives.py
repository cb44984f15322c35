"""An .npz of pictures, with their classes where it has them. It may be anybody's: what it claims is not believed."""
import contextlib
import functools
import io
import itertools
import math
import warnings
import zipfile

from plumbing import measures
from plumbing.files import UserError, reason, replacing, shortened

import numpy as np

LARGEST = 2**32          # bytes of the pictures
SIDE = 4096              # pixels of them, at most
DIRECTORY = 2**16        # bytes; no directory of an .npz is larger, and zipfile holds it whole


def read(path):
    """(the array `images`, uint8 [N, H, W, C], the array `labels`, int32 [N], or None where there is none) of an .npz.

    The header of each is judged before anything else of it is read, and nothing is unpickled. Raises UserError for all else
    than at most LARGEST bytes of whole grey or colour pictures and a whole number from 0 to 65,535 for each.
    """
    with opened(path, 'name a run folder or an .npz file', 'np.savez(path, images=images)') as archive:
        if 'images.npy' not in archive.namelist():
            raise UserError(f'{path} holds no array `images`: save it with np.savez(path, images=images)')
        images = member(path, archive, 'images', _check_images)
        if 'labels.npy' not in archive.namelist():
            return images, None
        return images, read_labels(path, archive, len(images))


def write(path, images, labels=None):
    """Writes an .npz that `read` reads, with the same bytes for the same arrays."""
    with replacing(path) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(file, images=images, **({} if labels is None else {'labels': np.asarray(labels)}))


@contextlib.contextmanager
def opened(path, advice, saved):
    """An .npz as a ZipFile, for `member`. Raises UserError, which ends in `advice`, or says how it is `saved`, if it is none."""
    if not path.is_file():
        raise UserError(f'{path} {"is no file" if path.exists() else "does not exist"}: {advice}')
    with open(path, 'rb') as file:
        try:
            check_zip(file)
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (UserError, MemoryError):
            raise
        except Exception as error:              # damaged files make the parsers raise anything
            raise UserError(f'{path} is not a whole .npz file ({reason(error)}): save it with {saved}') from None


def check_zip(stream):
    """Raises ValueError unless the stream ends like an .npz: an archive without a comment whose directory is small."""
    stream.seek(max(0, stream.seek(0, io.SEEK_END) - 42))
    end = stream.read()
    if end[-22:-18] != b'PK\5\6' or end[-42:-38] == b'PK\6\7' or end[-2:] != b'\0\0':      # PK67: larger than 4 GB
        raise ValueError('not a whole .npz file')
    if (size := int.from_bytes(end[-10:-6], 'little')) > DIRECTORY:
        raise ValueError(f'not an .npz file: the directory of the archive has {size:,} bytes')


def _check_images(path, dtype, shape):
    if dtype != np.uint8 or len(shape) != 4 or min(shape) < 1 or shape[3] not in (1, 3) or max(shape[1:3]) > SIDE:
        found = shortened(f'{dtype} {list(shape)}')
        raise UserError(f'{path}: images must be uint8 [N, H, W, C] with C = 1 or 3, H and W from 1 to {SIDE}, not {found}')
    if (size := math.prod(shape)) > LARGEST:
        raise UserError(f'{path} holds {shape[0]} images of {measures.by_size(shape[1:])}, {size / 2**30:,.1f} GiB: '
                        f'save at most {LARGEST // math.prod(shape[1:])} of them')


def read_labels(path, archive, count):
    """The array `labels` of an opened .npz, int32 [count]. Raises UserError for anything but whole numbers from 0 to 65,535."""
    labels = member(path, archive, 'labels', functools.partial(_check_labels, count=count))
    if labels.min() < 0 or labels.max() >= 2**16:
        raise UserError(f'{path}: labels must be from 0 to 65535, not from {labels.min()} to {labels.max()}')
    return labels.astype(np.int32)


def _check_labels(path, dtype, shape, count):
    if dtype.kind not in 'iu' or shape != (count,):
        raise UserError(f'{path}: labels must be whole numbers [{count}], one for each image, not '
                        f'{shortened(f"{dtype} {list(shape)}")}')


def member(path, archive, name, check):
    """An array of an opened .npz, after `check(path, dtype, shape)` of its header has not raised."""
    member = archive.getinfo(f'{name}.npy')
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError('compressed in a way that NumPy does not use, which may unpack to any size')
    with archive.open(member) as stream:
        start = io.BytesIO(stream.read(2**14))  # a header is shorter, but may claim to have gigabytes
        if (version := np.lib.format.read_magic(start)) not in [(1, 0), (2, 0)]:
            raise ValueError(f'an array in version {version} of its format')
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')     # of odd headers
            shape, fortran, dtype = read_header(start)
        check(path, dtype, shape)
        size = math.prod(shape) * dtype.itemsize
        numbers, filled = np.empty(size, np.uint8), 0
        for part in itertools.chain([start.read()], iter(lambda: stream.read(2**24), b'')):
            if filled + len(part) > size:
                raise ValueError('there is more than its header says')
            numbers[filled:filled + len(part)] = np.frombuffer(part, np.uint8)
            filled += len(part)
    if filled < size:
        raise ValueError(f'{size - filled:,} bytes are missing')
    numbers = numbers.view(dtype)
    return np.ascontiguousarray(numbers.reshape(shape[::-1]).T) if fortran else numbers.reshape(shape)
