"""A folder of the user's own pictures as one array: found, decoded once, kept in the user's cache."""
import atexit
import concurrent.futures
import contextlib
import functools
import glob
import hashlib
import json
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
from plumbing.files import UserError, reason, replacing

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
MAX_PIXELS = 100_000_000  # in one file; no camera's picture has more, and decoding takes 4 bytes for each
MOST_BROKEN = 0.05  # share of the files; above it this is probably the wrong folder
VERSION = 2  # of what `decode` does and what is kept: a change makes older caches useless
THREADS = min(os.cpu_count() or 1, 8)
CHUNK = 256  # files given to the threads at once


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
    times; when these change, it is replaced. Where the cache cannot be written, a temporary file is used.
    Files that cannot be decoded are left out, counted, and listed in a text file.
    Raises UserError if there is no such folder, there are fewer than two pictures in it, too many are broken or one is
    too large, or there is no space.
    """
    folder = os.path.abspath(os.path.expanduser(folder))
    files = find(folder)
    where = hashlib.sha256(os.fsencode(f'{folder}\n{size} {channels}')).hexdigest()[:12]
    what = hashlib.sha256(os.fsencode(f'{VERSION} {BACKGROUND} {files}')).hexdigest()[:12]
    name = f'{os.path.basename(folder) or "root"}-{size}x{size}x{channels}-{where}'
    need = len(files) * size * size * channels
    cache = user_cache.path('pictures')
    record = _record(cache / f'{name}-{what}.json')
    began = None
    if not record:
        try:
            _check_space(cache, need)
            lock = _alone(cache / f'{name}.lock')
        except OSError as error:
            cache = _temporary(need, error)
            lock = contextlib.nullcontext()
        with lock:
            record = _record(cache / f'{name}-{what}.json')     # another program may have made it meanwhile
            if not record:
                began = time.monotonic()
                record = _decode_all(folder, files, size, channels, cache, f'{name}-{what}')
                for old in cache.glob(f'{glob.escape(name)}-*'):
                    if not old.name.startswith(f'{name}-{what}.'):
                        old.unlink()
    told = f'from the cache {cache}' if began is None else f'decoded now in {time.monotonic() - began:.0f} s'
    if record['broken']:
        told += f'; {record["broken"]:,} broken files left out, listed in {record["log"]}'
    images = OnDisk(cache / f'{name}-{what}.npy')
    names, classless = class_names(file for file, _, _ in files)
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


def decode(path, size, channels):
    """One picture file -> (uint8 [size, size, channels], was it turned grey?); raises whatever Pillow raises.

    The first frame of an animation, rotated as EXIF says, composited on BACKGROUND, 16 bits rounded to 8, cropped to its
    middle square and resized by a Lanczos filter (after a box filter, where it shrinks a lot). One channel is the luma of
    ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B.
    Raises UserError above MAX_PIXELS, before it decodes.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(f'{path} is {image.width:,} by {image.height:,} pixels, more than {MAX_PIXELS:,} in all: '
                            'take it out of the folder, or make it smaller')
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


def _decode_all(folder, files, size, channels, cache, name):
    """Writes NAME.npy, NAME.broken.txt if there is reason to, and last NAME.json, the record, which it returns."""
    order = np.random.RandomState(0).permutation(len(files))    # so that the first ones are a sample of all
    names = [files[i][0] for i in order]
    digest, broken, colour, count, log = hashlib.sha256(), [], 0, 0, ''
    class_of = {name: number for number, name in enumerate(class_names(name for name, _, _ in files)[0])}
    labels = []

    def attempt(name):
        try:
            return decode(os.path.join(folder, name), size, channels)
        except UserError:
            raise
        except Exception as error:  # damaged bytes make the decoders raise anything
            return None, reason(error)

    with replacing(cache / f'{name}.npy') as temporary, open(temporary, 'wb') as array, _plain_pillow(), \
            concurrent.futures.ThreadPoolExecutor(THREADS) as pool, \
            tqdm(total=len(names), desc='decoding', unit='file', leave=False, disable=None) as bar:
        _write_header(array, (0, size, size, channels))
        for start in range(0, len(names), CHUNK):
            chunk = names[start:start + CHUNK]
            for file, (picture, note) in zip(chunk, pool.map(attempt, chunk), strict=True):
                if picture is None:
                    broken.append(f'{file}: {note}')
                    continue
                array.write(picture)
                digest.update(picture)
                if class_of:
                    subfolder = file.partition('/')[0]
                    labels.append(class_of[subfolder])
                    digest.update(os.fsencode(subfolder))
                colour += note
                count += 1
            bar.update(len(chunk))
        if broken:
            log = cache / f'{name}.broken.txt'
            log.write_text('\n'.join(sorted(broken)) + '\n', errors='backslashreplace')
            if len(broken) > MOST_BROKEN * len(names) or count < 2:
                raise UserError(f'{len(broken):,} of {len(names):,} files in {folder} cannot be decoded, listed in {log}; '
                                f'the first is {min(broken)}')
        array.seek(0)
        _write_header(array, (count, size, size, channels))
    record = {'fingerprint': f'{count:,} pictures, sha256 {digest.hexdigest()[:32]}', 'broken': len(broken),
              'log': str(log), 'colour': colour, 'labels': labels}
    with replacing(cache / f'{name}.json') as temporary:
        temporary.write_text(json.dumps(record) + '\n')
    return record


def _write_header(file, shape):
    header = {'descr': '|u1', 'fortran_order': False, 'shape': shape}
    np.lib.format.write_array_header_1_0(file, header)  # NumPy leaves room: it is as long for any count


def _record(path):
    try:
        return json.loads(path.read_text()) if path.with_suffix('.npy').exists() else None
    except (OSError, ValueError):
        return None


def _check_space(folder, need):
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OSError(f'{folder} has {free / 1e9:.1f} GB free, and the pictures take {need / 1e9:.1f}')


def _temporary(need, error):
    """A temporary folder; when the program ends, only the list of broken files is left of it."""
    print(f'decoded pictures cannot be kept ({reason(error)}), so the next run decodes them again', file=sys.stderr)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='pictures-'))
    atexit.register(_clear, folder)
    try:
        _check_space(folder, need)
    except OSError as error:
        raise UserError(f'no space for the decoded pictures: {error}') from None
    return folder


def _clear(folder):
    for path in folder.iterdir():
        if path.suffix != '.txt':
            path.unlink()
    with contextlib.suppress(OSError):
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
    """No warnings about odd files, and no pixel limit but ours."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
