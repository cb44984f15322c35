"""The decoded pictures of a folder as they are kept in the user's cache: written, verified, and read batch by batch.

A set NAME is NAME.npy, the pictures; NAME.json, the record of them and of their labels; and NAME.broken.txt, where there are
files that cannot be decoded.
"""
import atexit
import contextlib
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

from plumbing.files import UserError, one_line, reason, remove, replacing

import numpy as np

try:
    import fcntl
except ImportError:  # Windows: two programs that start on a new folder at the same time both decode it
    fcntl = None

UNLABELLED = 'unlabelled'  # a first-level subfolder of pictures without a class, where others are classes
MOST_BROKEN = 0.05  # share of the files; above it this is probably the wrong folder
BLOCK = 2**22  # bytes read at once where the cache is verified


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


def kept(cache, name, most, classes):
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
        digest, names, buffer = hashlib.sha256(), _encoded(classes), memoryview(bytearray(rows * picture))
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


def write(cache, name, most, classes, folder, decoded):
    """Writes NAME.npy, NAME.broken.txt if there is reason to, and last NAME.json, the record; returns (images, record).

    decoded: the generator `decoder.decoded`, of the files in `folder`; most and classes as `kept` takes them.
    Raises UserError if too many files are broken.
    """
    digest, broken, colour, count = hashlib.sha256(), [], 0, 0
    names, labels = _encoded(classes), []
    for suffix in '.json', '.npy', '.broken.txt':
        remove(cache / f'{name}{suffix}')
    with replacing(cache / f'{name}.npy') as temporary, open(temporary, 'wb') as array, \
            contextlib.closing(decoded) as pictures:
        array.write(_header((0, *most[1:])))
        for file, picture, note in pictures:
            if picture is None:
                broken.append(one_line(f'{file}: {reason(note)}'))
                continue
            array.write(picture)
            digest.update(picture)
            if classes:
                labels.append(names.index(os.fsencode(file.partition('/')[0])))
                digest.update(names[labels[-1]])
            colour += note
            count += 1
        if broken:
            log = cache / f'{name}.broken.txt'
            with replacing(log) as listed:
                listed.write_text('\n'.join(sorted(broken)) + '\n', errors='backslashreplace')
            if len(broken) > MOST_BROKEN * most[0] or count < 2:
                raise UserError(f'{len(broken):,} of {most[0]:,} files in {folder} cannot be decoded, listed in {log}; '
                                f'the first is {min(broken)}; more than {MOST_BROKEN:.0%} may not: take them out')
        array.seek(0)
        array.write(_header((count, *most[1:])))
    record = {'name': name, 'fingerprint': _fingerprint(count, digest), 'broken': len(broken), 'colour': int(colour),
              'labels': labels}
    with replacing(cache / f'{name}.json') as temporary:
        temporary.write_bytes(_sealed(record))
    return OnDisk(cache / f'{name}.npy'), record


def _encoded(classes):
    """What the labels of a record stand for: the classes, and last of all UNLABELLED, which is none."""
    return [os.fsencode(name) for name in (*classes, UNLABELLED)]


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


@contextlib.contextmanager
def place(cache, name, need):
    """Yields the folder to keep a set of `need` bytes in: the cache, locked, or a temporary one where it cannot be written."""
    with contextlib.ExitStack() as stack:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_alone(cache / f'{name}.lock'))
            _sweep(cache, name)
            _check_space(cache, need)
        except OSError as error:
            cache = stack.enter_context(_temporary(need, error))
        yield cache


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


def _check_space(folder, need):
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OSError(f'{folder} has {free / 1e9:.1f} GB free, and the pictures take {need / 1e9:.1f}')


def _sweep(folder, name):
    """Removes what programs that were killed have left of a set. Without a lock, on Windows, one of them may still run."""
    for path in folder.glob(f'.new-*-{glob.escape(name)}-*') if fcntl else []:
        remove(path)


def remove_older(folder, name, what):
    """Removes what was kept of a set before its files changed; Windows keeps those that another program reads."""
    for path in folder.glob(f'{glob.escape(name)}-*'):
        if not path.name.startswith(f'{name}-{what}.'):
            with contextlib.suppress(OSError):
                remove(path)
