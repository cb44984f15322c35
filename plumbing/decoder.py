"""Picture files to pixels: one, or many in threads that share the memory that is free."""
import concurrent.futures
import contextlib
import errno
import os
import threading
import warnings

from plumbing.files import UserError, reason

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

FORMATS = ('PNG', 'JPEG', 'GIF', 'WEBP', 'BMP')  # what a file may hold, whatever its suffix
BACKGROUND = (255, 255, 255)  # under transparent pixels: white, the usual page
MAX_PIXELS = 100_000_000  # in one file, or of --image-size; no camera's picture has more
MAX_BYTES = 2**30  # of one file: MAX_PIXELS of 16-bit RGBA without compression take less
PIXEL_BYTES = 17  # of memory that decoding takes for a pixel at most, measured on RGBA in PNG and on WebP
MEMORY_SHARE = 0.5  # of what is free, for all pictures that are decoded at the same time
THREADS = min(os.cpu_count() or 1, 8)
CHUNK = 256  # files given to the threads at once, or fewer: their decoded pictures wait in memory
CHUNK_BYTES = 2**28  # of these decoded pictures
PILLOW_BLOCK = 2**26  # bytes that Pillow asks for at once; of its own 2**24, glibc keeps what is freed, for each thread


def decoded(folder, names, size, channels, half=''):
    """Yields (name, picture, was it turned grey?) or (name, None, why it is broken) of each file, in the order of the names.

    A file that the system did not give is tried once more when all others of its chunk are done: results must not depend
    on how many files are open at once.
    Raises UserError where it fails again.
    """
    memory = Memory(MEMORY_SHARE * free_memory())
    step = max(1, min(CHUNK, CHUNK_BYTES // (size * size * channels)))

    def attempt(name):
        try:
            return decode(os.path.join(folder, name), size, channels, memory, half)
        except UserError:
            raise
        except Exception as error:  # damaged bytes make the decoders raise anything
            return None, error

    with _plain_pillow(), concurrent.futures.ThreadPoolExecutor(THREADS) as pool, \
            tqdm(total=len(names), desc='decoding', unit='file', leave=False, disable=None) as bar:
        try:
            for start in range(0, len(names), step):
                chunk = names[start:start + step]
                for name, (picture, note) in zip(chunk, list(pool.map(attempt, chunk)), strict=True):
                    if picture is None and _of_the_system(note):
                        picture, note = attempt(name)
                    if picture is None and _of_the_system(note):
                        raise UserError(f'{os.path.join(folder, name)} cannot be read ({_cause(note)}), and nothing was kept: '
                                        'mend that, or take the file out of the folder') from note
                    yield name, picture, note
                    bar.update()
        finally:
            memory.close()
            pool.shutdown(wait=False, cancel_futures=True)  # files that wait for a thread need not be decoded


def decode(path, size, channels, memory=None, half=''):
    """One picture file -> (uint8 [size, size, channels], was it turned grey?); raises whatever Pillow raises.

    The first frame of an animation, rotated as EXIF says, composited on BACKGROUND, 16 bits rounded to 8, cropped to its
    middle square and resized by a Lanczos filter (after a box filter, where it shrinks a lot). One channel is the luma of
    ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B. `memory` is what it shares with other threads, a `Memory`. half: 'left' or 'right'
    for that half of the picture alone, which must be wider than high.
    Raises UserError above MAX_PIXELS and MAX_BYTES, before it decodes.
    """
    with open(path, 'rb') as file, contextlib.ExitStack() as stack:     # open: of a path, Pillow would map a BMP into memory
        if (length := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            raise UserError(f'{path} has {length:,} bytes, more than {MAX_BYTES:,}: '
                            'take it out of the folder, or make it smaller')
        image = stack.enter_context(Image.open(file, formats=FORMATS))
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f'{path} is {image.width:,} by {image.height:,} pixels, more than {MAX_PIXELS:,} in all: '
                            'take it out of the folder, or make it smaller')
        if memory:
            stack.enter_context(memory.taken(PIXEL_BYTES * max(image.width * image.height, size * size) + length))
        return _fitted(image, size, channels, half)


def _fitted(image, size, channels, half):
    image.draft(None, (2 * size * (1 + bool(half)), 2 * size))  # a JPEG file is decoded at 1/2, 1/4 or 1/8 if still larger
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _opaque(image)
    if half:
        if image.width <= image.height:
            raise ValueError(f'{image.width} by {image.height} pixels are no two halves side by side')
        middle = image.width // 2
        image = image.crop((0, 0, middle, image.height) if half == 'left' else (image.width - middle, 0, *image.size))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    colour = channels == 1 and image.mode == 'RGB' and int(np.ptp(np.asarray(image), 2).max()) > 16  # more than rounding
    pixels = np.asarray(image.convert('L' if channels == 1 else 'RGB'))
    return pixels.reshape(size, size, channels), colour


def _opaque(image):
    """A picture of any mode as L or RGB."""
    if image.mode.startswith('I'):  # 16 bits of grey
        return Image.fromarray(((np.clip(image, 0, 65535).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = Image.alpha_composite(Image.new('RGBA', image.size, (*BACKGROUND, 255)), image.convert('RGBA'))
    return image if image.mode == 'L' else image.convert('RGB')


class Memory:
    """The bytes that the pictures being decoded take together. One that needs more than all of them is decoded alone."""

    def __init__(self, size):
        self.size = self.left = max(1, int(size))
        self.closed, self._changed = False, threading.Condition()

    @contextlib.contextmanager
    def taken(self, wanted):
        """The context that has so many of the bytes; it waits for them, unless nothing is decoded any more."""
        wanted = min(wanted, self.size)
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self.left >= wanted)
            if self.closed:
                raise concurrent.futures.CancelledError
            self.left -= wanted
        try:
            yield
        finally:
            with self._changed:
                self.left += wanted
                self._changed.notify_all()

    def close(self):
        with self._changed:
            self.closed = True
            self._changed.notify_all()


def free_memory():
    """Bytes of memory that Linux, and the container if it limits them, says are free; 4 GB where there is no such word."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration), open('/proc/meminfo') as lines:
        found.append(1024 * int(next(line for line in lines if line.startswith('MemAvailable:')).split()[1]))
    for path in '/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes':
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            found.append(int(file.read()))
    return min(found, default=4 * 10**9)


def _of_the_system(error):
    """Whether reading failed for a reason outside the file's bytes. Of damaged bytes, Pillow's OSErrors have no number."""
    if isinstance(error, OSError):
        return error.errno not in (None, errno.EINVAL) or str(error).startswith('out of memory')  # EINVAL: a seek before 0
    return isinstance(error, MemoryError)


def _cause(error):
    return 'not enough memory' if isinstance(error, MemoryError) else getattr(error, 'strerror', None) or reason(error)


@contextlib.contextmanager
def _plain_pillow():
    """No warnings about odd files, no pixel limit but ours, and blocks of memory that go back to the system when freed."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        block = Image.core.get_block_size()
        Image.core.set_block_size(PILLOW_BLOCK)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            Image.core.set_block_size(block)
