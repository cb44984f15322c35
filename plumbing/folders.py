"""A folder of the user's own pictures as one array: found, decoded once, kept in the user's cache."""
import atexit
import concurrent.futures
import contextlib
import errno
import functools
import glob
import hashlib
import io
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import typing
import warnings

from plumbing import cache as user_cache
from plumbing.files import UserError, expanded, one_line, reason, remove, replacing, shortened

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows: two programs that start on a new folder at the same time both decode it
    fcntl = None

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.gif', '.webp', '.bmp')  # files that are taken from a folder
FORMATS = ('PNG', 'JPEG', 'GIF', 'WEBP', 'BMP')  # what a file may hold, whatever its suffix
BACKGROUND = (255, 255, 255)  # under transparent pixels: white, the usual page
MAX_PIXELS = 100_000_000  # in one file, or of --image-size; no camera's picture has more
MAX_BYTES = 2**30  # of one file: MAX_PIXELS of 16-bit RGBA without compression take less
PIXEL_BYTES = 17  # of memory that decoding takes for a pixel at most, measured on RGBA in PNG and on WebP
MEMORY_SHARE = 0.5  # of what is free, for all pictures that are decoded at the same time
MOST_BROKEN = 0.05  # share of the files; above it this is probably the wrong folder
VERSION = 2  # of what `decode` does and what is kept: a change makes older caches useless
THREADS = min(os.cpu_count() or 1, 8)
CHUNK = 256  # files given to the threads at once, or fewer: their decoded pictures wait in memory
CHUNK_BYTES = 2**28  # of these decoded pictures
PILLOW_BLOCK = 2**26  # bytes that Pillow asks for at once; of its own 2**24, glibc keeps what is freed, for each thread
BLOCK = 2**22  # bytes read at once where the cache is verified


class Pictures(typing.NamedTuple):
    """What `load` found.

    images: `OnDisk`, uint8 [N, H, W, C] in a random order, always the same; labels: uint16 [N], or None without classes;
    classes: their names; classless: why there are none, or ''; fingerprint: of all pixels and labels; colour: how many
    pictures were turned grey; told: where they come from, and what is wrong with them.
    """
    images: 'OnDisk'
    labels: np.ndarray | None
    classes: tuple
    classless: str
    fingerprint: str
    colour: int
    told: str


class OnDisk:
    """The array of an .npy file, uint8 [N, H, W, C], without holding it in memory; sliced and indexed like NumPy's.

    `a[2:5]` is a view that reads nothing; `a[indices]` and `np.asarray(a)` read the pictures asked for. The file is read,
    not memory-mapped: mapped pages would count as the program's own memory.
    """
    dtype = np.dtype(np.uint8)

    def __init__(self, path):
        self._file = open(path, 'rb', buffering=0)
        assert np.lib.format.read_magic(self._file) == (1, 0)
        self.shape, _, _ = np.lib.format.read_array_header_1_0(self._file)
        self._rows, self._start, self._lock = range(self.shape[0]), self._file.tell(), threading.Lock()

    ndim = property(lambda self: len(self.shape))
    nbytes = property(lambda self: int(np.prod(self.shape, dtype=np.int64)))

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        if isinstance(index, slice):
            view = object.__new__(OnDisk)
            vars(view).update(vars(self))
            view._rows = self._rows[index]
            view.shape = (len(view._rows), *self.shape[1:])
            return view
        rows = np.arange(self._rows.start, self._rows.stop, self._rows.step)[index]
        pictures = np.empty([*rows.shape, *self.shape[1:]], np.uint8)
        for row, picture in zip(rows.flat, pictures.reshape(rows.size, -1), strict=True):
            with self._lock:
                self._file.seek(self._start + int(row) * picture.size)
                if self._file.readinto(picture) != picture.size:
                    raise OSError(f'{self._file.name} ends before its last picture')
        return pictures

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[np.arange(len(self))], dtype)


@functools.lru_cache(maxsize=2)  # what a program reads stays the same, whatever happens to the folder
def load(folder, size, channels):
    """Reads the pictures in a folder and all its subfolders, as `Pictures` of [N, size, size, channels], channels 1 or 3.

    It takes the files with one of SUFFIXES, but no hidden ones, and follows no symbolic links; `decode` says how each is
    converted. They are decoded once, into an .npy in the user's cache whose name depends on the files' names, sizes and
    times; when these change, it is replaced, and so it is where it does not fit its checksum. Where the cache cannot be
    written, a temporary file is used.
    Files that cannot be decoded are left out, counted, and listed in a text file.
    Raises UserError if there is no such folder, there are fewer than two pictures in it, too many are broken, one is
    too large or cannot be read, or there is no space.
    """
    if size * size > MAX_PIXELS:
        raise UserError(f'pictures of {size:,} by {size:,} pixels are too large: '
                        f'--image-size is {math.isqrt(MAX_PIXELS):,} at most')
    folder = os.path.abspath(expanded(folder))
    files = find(folder)
    where = hashlib.sha256(os.fsencode(f'{folder}\n{size} {channels}')).hexdigest()[:12]
    what = hashlib.sha256(os.fsencode(f'{VERSION} {BACKGROUND} {files}')).hexdigest()[:12]
    name = f'{shortened(os.path.basename(folder)) or "root"}-{size}x{size}x{channels}-{where}'
    shape = (len(files), size, size, channels)
    names, classless = class_names(file for file, _, _ in files)
    cache, began = user_cache.path('pictures'), None
    found, complaint = _kept(cache, f'{name}-{what}', shape, names)
    if complaint:
        print(one_line(f'the decoded pictures in {cache} cannot be used ({complaint}): decoding them again'), file=sys.stderr)
    with contextlib.ExitStack() as stack:
        if not found:
            try:
                cache.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_alone(cache / f'{name}.lock'))
                _sweep(cache, name)
                _check_space(cache, math.prod(shape))
            except OSError as error:
                cache = stack.enter_context(_temporary(math.prod(shape), error))
            found, _ = _kept(cache, f'{name}-{what}', shape, names)         # another program may have made it meanwhile
        if not found:
            began = time.monotonic()
            record = _decode_all(folder, files, size, channels, cache, f'{name}-{what}')
            found = OnDisk(cache / f'{name}-{what}.npy'), record
            _remove_older(cache, name, what)
    images, record = found
    told = f'from the cache {cache}' if began is None else f'decoded now in {time.monotonic() - began:.0f} s'
    if record['broken']:
        told += f'; {record["broken"]:,} broken files left out, listed in {cache / f"{name}-{what}.broken.txt"}'
    labels = None if classless else np.array(record['labels'], np.uint16)
    return Pictures(images, labels, names, classless, record['fingerprint'], record['colour'], told)


def class_names(files):
    """(names of the first-level subfolders, sorted, '') of the files' names in a folder, or ((), why they are no classes)."""
    parts = [name.partition('/') for name in files]
    beside = [name for name, slash, _ in parts if not slash]
    names = tuple(sorted({name for name, slash, _ in parts if slash}))
    if len(names) < 2:
        return (), f'it takes two subfolders or more, and pictures are in {f"only {names[0]!r}" if names else "none"}'
    if beside:
        those = f'a picture ({beside[0]}) is' if len(beside) == 1 else f'{len(beside):,} pictures ({beside[0]}, ...) are'
        return (), f'{those} beside its subfolders: move what is there into one of them'
    if len(names) > 2**16:
        return (), f'it has {len(names):,} subfolders, more than {2**16:,}'
    return names, ''


def find(folder):
    """[(name, size, time)] of the picture files under a folder, sorted by name: '/' between its parts, nanoseconds."""
    if not os.path.isdir(folder):
        raise UserError(f'{folder} is a file: give the folder it is in' if os.path.exists(folder)
                        else f'the folder {folder} does not exist')
    found, links, others, todo = [], 0, 0, ['']
    while todo:
        inside = todo.pop()
        with os.scandir(os.path.join(folder, inside)) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if entry.is_symlink():
                    links += 1
                elif entry.is_dir():
                    todo.append(f'{inside}{entry.name}/')
                elif entry.is_file() and entry.name.lower().endswith(SUFFIXES):
                    status = entry.stat()
                    found.append((inside + entry.name, status.st_size, status.st_mtime_ns))
                else:
                    others += 1
    if len(found) < 2:
        aside = ' and '.join(text for number, text in [(others, f'{others:,} other files'), (
            links, f'{links:,} symbolic links, which are not followed')] if number)
        raise UserError(f'{folder} holds {"one picture" if found else "no pictures"} ({", ".join(SUFFIXES)})'
                        f'{f", but {aside}" if aside else ""}: it takes at least two')
    return sorted(found)


def decode(path, size, channels, memory=None):
    """One picture file -> (uint8 [size, size, channels], was it turned grey?); raises whatever Pillow raises.

    The first frame of an animation, rotated as EXIF says, composited on BACKGROUND, 16 bits rounded to 8, cropped to its
    middle square and resized by a Lanczos filter (after a box filter, where it shrinks a lot). One channel is the luma of
    ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B. `memory` is what it shares with other threads, a `Memory`.
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
        return _fitted(image, size, channels)


def _fitted(image, size, channels):
    image.draft(None, (2 * size, 2 * size))  # a JPEG file is decoded at 1/2, 1/4 or 1/8 if that is still larger
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _opaque(image)
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


def _decode_all(folder, files, size, channels, cache, name):
    """Writes NAME.npy, NAME.broken.txt if there is reason to, and last NAME.json, the record, which it returns."""
    order = np.random.RandomState(0).permutation(len(files))    # so that the first ones are a sample of all
    names = [files[i][0] for i in order]
    digest, broken, colour, count = hashlib.sha256(), [], 0, 0
    class_of = {name: number for number, name in enumerate(class_names(name for name, _, _ in files)[0])}
    labels = []
    for suffix in '.json', '.npy', '.broken.txt':
        remove(cache / f'{name}{suffix}')
    with replacing(cache / f'{name}.npy') as temporary, open(temporary, 'wb') as array, \
            contextlib.closing(_decoded(folder, names, size, channels)) as pictures:
        array.write(_header((0, size, size, channels)))
        for file, picture, note in pictures:
            if picture is None:
                broken.append(one_line(f'{file}: {reason(note)}'))
                continue
            array.write(picture)
            digest.update(picture)
            if class_of:
                subfolder = file.partition('/')[0]
                labels.append(class_of[subfolder])
                digest.update(os.fsencode(subfolder))
            colour += note
            count += 1
        if broken:
            log = cache / f'{name}.broken.txt'
            with replacing(log) as listed:
                listed.write_text('\n'.join(sorted(broken)) + '\n', errors='backslashreplace')
            if len(broken) > MOST_BROKEN * len(names) or count < 2:
                raise UserError(f'{len(broken):,} of {len(names):,} files in {folder} cannot be decoded, listed in {log}; '
                                f'the first is {min(broken)}')
        array.seek(0)
        array.write(_header((count, size, size, channels)))
    record = {'name': name, 'fingerprint': _fingerprint(count, digest), 'broken': len(broken), 'colour': int(colour),
              'labels': labels}
    with replacing(cache / f'{name}.json') as temporary:
        temporary.write_bytes(_sealed(record))
    return record


def _decoded(folder, names, size, channels):
    """Yields (name, picture, was it turned grey?) or (name, None, why it is broken) of each file, in the order of the names.

    A file that the system did not give is tried once more when all others of its chunk are done: results must not depend
    on how many files are open at once.
    Raises UserError where it fails again.
    """
    memory = Memory(MEMORY_SHARE * free_memory())
    step = max(1, min(CHUNK, CHUNK_BYTES // (size * size * channels)))

    def attempt(name):
        try:
            return decode(os.path.join(folder, name), size, channels, memory)
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


def _of_the_system(error):
    """Whether reading failed for a reason outside the file's bytes. Of damaged bytes, Pillow's OSErrors have no number."""
    if isinstance(error, OSError):
        return error.errno not in (None, errno.EINVAL) or str(error).startswith('out of memory')  # EINVAL: a seek before 0
    return isinstance(error, MemoryError)


def _cause(error):
    return 'not enough memory' if isinstance(error, MemoryError) else getattr(error, 'strerror', None) or reason(error)


def _header(shape):
    """The first bytes of the .npy of an array, uint8; as many for any number of pictures, for NumPy leaves room."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {'descr': '|u1', 'fortran_order': False, 'shape': shape})
    return file.getvalue()


def _fingerprint(count, digest):
    return f'{count:,} pictures, sha256 {digest.hexdigest()[:32]}'


def _sealed(record):
    """The record as JSON that ends with the checksum of what stands before it."""
    text = json.dumps(record)
    return f'{text[:-1]}, "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n'.encode()


def _kept(cache, name, most, classes):
    """((images, record), '') from the cache; or (None, why it cannot be used), '' where it holds nothing.

    most: [N, size, size, channels] of all files. Everything is verified: the record by its checksum, the header, and the
    pictures and their labels by the fingerprint.
    """
    if not os.path.lexists(cache / f'{name}.json'):     # it is written last
        return None, ''
    try:
        record = _record(cache / f'{name}.json', most[0])
        if record['name'] != name:
            raise ValueError('they are of another folder')
        if record['broken'] and not (cache / f'{name}.broken.txt').is_file():
            raise ValueError('the list of broken files is missing')
        _verify(cache / f'{name}.npy', record, most, classes)
        return (OnDisk(cache / f'{name}.npy'), record), ''
    except (OSError, ValueError) as error:
        return None, reason(error)


def _record(path, files):
    """The record, if it fits its checksum; of `files` files it cannot be longer than what is read."""
    with _opened(path) as file:
        text, _, checksum = file.read(4000 + 8 * files).rpartition(b', "sha256": "')
    if checksum != hashlib.sha256(text + b'}').hexdigest().encode() + b'"}\n':
        raise ValueError('the record does not fit its checksum')
    return json.loads(text + b'}')


def _verify(path, record, most, classes):
    """Raises ValueError unless the file is the .npy that the record was written with."""
    rows, picture = max(1, BLOCK // math.prod(most[1:])), math.prod(most[1:])
    with _opened(path) as file:
        count, rest = divmod(os.fstat(file.fileno()).st_size - len(_header(most)), picture)
        header = _header((max(count, 0), *most[1:]))
        if count > most[0] or rest or file.read(len(header)) != header:
            raise ValueError('the .npy has another header or length')
        digest, names, buffer = hashlib.sha256(), [os.fsencode(name) for name in classes], memoryview(bytearray(rows * picture))
        for start in range(0, count, rows):
            block = buffer[:file.readinto(buffer)]
            if not classes:
                digest.update(block)
                continue
            for row, label in enumerate(record['labels'][start:start + rows]):
                digest.update(block[row * picture:(row + 1) * picture])
                digest.update(names[label])
    if _fingerprint(count, digest) != record['fingerprint']:
        raise ValueError('the pictures do not fit their checksum')


def _opened(path):
    if not path.is_file():
        raise ValueError(f'there is no file {path.name}')
    return open(path, 'rb', buffering=0)


def _sweep(folder, name):
    """Removes what programs that were killed have left of a set. Without a lock, on Windows, one of them may still run."""
    for path in folder.glob(f'.new-*-{glob.escape(name)}-*') if fcntl else []:
        remove(path)


def _remove_older(folder, name, what):
    """Removes what was kept of a set before its files changed; Windows keeps those that another program reads."""
    for path in folder.glob(f'{glob.escape(name)}-*'):
        if not path.name.startswith(f'{name}-{what}.'):
            with contextlib.suppress(OSError):
                remove(path)


def _check_space(folder, need):
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OSError(f'{folder} has {free / 1e9:.1f} GB free, and the pictures take {need / 1e9:.1f}')


@contextlib.contextmanager
def _temporary(need, error):
    """Yields a temporary folder. Only the list of broken files is left of it, on Windows when the program ends."""
    print(one_line(f'decoded pictures cannot be kept ({reason(error)}), so the next run decodes them again'), file=sys.stderr)
    try:
        folder = pathlib.Path(tempfile.mkdtemp(prefix='pictures-'))
        atexit.register(_clear, folder)
        _check_space(folder, need)
    except OSError as error:
        raise UserError(f'no space for the decoded pictures: {reason(error)}') from None
    try:
        yield folder
    finally:
        _clear(folder)


def _clear(folder):
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.suffix != '.txt':
                path.unlink()
        folder.rmdir()


@contextlib.contextmanager
def _alone(path):
    """Waits until no other program holds the lock."""
    with open(path, 'w') as file:
        if fcntl:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print('another program is decoding these pictures: waiting for it', file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


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
