"""Folders of pictures: what becomes of a file, the cache, large sets. Pillow writes the files; NumPy says what they hold."""
import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import zlib

import data
import evaluation
import metrics
from plumbing import cache as user_cache
from plumbing import decoder, files, folders, interrupts, measures, picturecache, savedmodel

import forkserver
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import contents
from PIL import Image

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the cache, empty."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folders.load.cache_clear()
    return tmp_path / 'cache/gan-training/pictures'


def smooth(height, width, channels=3):
    """A picture whose resizing hardly depends on the filter: slopes."""
    down, right = np.mgrid[:height, :width]
    planes = [down / height, right / width, 1 - (down / height + right / width) / 2][:channels]
    return np.rint(255 * np.stack(planes, 2)).astype(np.uint8)


def folder_of(path, count, size=8, seed=0):
    """A folder of `count` PNG files of noise."""
    random = np.random.default_rng(seed)
    path.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, [size, size, 3], np.uint8)).save(path / f'{i:03d}.png')
    return path


def again(*arguments):
    """Loads as another program would."""
    folders.load.cache_clear()
    return folders.load(*arguments)


def image_set(images):
    return sorted(np.asarray(image).tobytes() for image in images)


@pytest.mark.parametrize('name, options, tolerance', [
    ('a.png', {}, 0), ('a.bmp', {}, 0), ('a.webp', {'lossless': True}, 0), ('a.webp', {'quality': 95}, 8),
    ('a.jpg', {'quality': 98, 'subsampling': 0}, 4), ('a.JPEG', {'quality': 98, 'progressive': True}, 8), ('a.gif', {}, 40)])
@pytest.mark.parametrize('grey', [False, True])
def test_every_format(name, options, tolerance, grey, tmp_path):
    expected = smooth(32, 32, 1 if grey else 3)
    Image.fromarray(expected[:, :, 0] if grey else expected).save(tmp_path / name, **options)
    found, _ = decoder.decode(tmp_path / name, 32, 3)
    assert found.dtype == np.uint8 and found.shape == (32, 32, 3)
    assert np.abs(found.astype(int) - expected).max() <= tolerance


def test_the_content_counts_not_the_suffix(tmp_path):
    expected = smooth(8, 8)
    Image.fromarray(expected).save(tmp_path / 'a.bmp')
    (tmp_path / 'a.bmp').rename(tmp_path / 'a.png')
    np.testing.assert_array_equal(decoder.decode(tmp_path / 'a.png', 8, 3)[0], expected)


def test_an_animation_gives_its_first_picture(tmp_path):
    frames = [Image.new('RGB', [8, 8], colour) for colour in ('red', 'green', 'blue')]
    for name in 'a.gif', 'a.png', 'a.webp':
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **({'lossless': True} if 'webp' in name else {}))
        assert (decoder.decode(tmp_path / name, 8, 3)[0] == [255, 0, 0]).all()


def test_transparency_is_composited(tmp_path):
    """out = a c + (1 - a) background, in RGBA, LA, and the two ways of palettes."""
    rgba = RANDOM.integers(0, 256, [16, 16, 4], np.uint8)
    rgba[0, :, 3], rgba[1, :, 3] = 0, 255
    a = rgba[..., 3:] / 255
    Image.fromarray(rgba).save(tmp_path / 'rgba.png')
    expected = a * rgba[..., :3] + (1 - a) * decoder.BACKGROUND
    assert np.abs(decoder.decode(tmp_path / 'rgba.png', 16, 3)[0] - expected).max() <= 1
    Image.fromarray(rgba[..., [0, 3]], 'LA').save(tmp_path / 'la.png')
    expected = a * rgba[..., :1] + (1 - a) * decoder.BACKGROUND
    assert np.abs(decoder.decode(tmp_path / 'la.png', 16, 3)[0] - expected).max() <= 1
    indices, colours = RANDOM.integers(0, 4, [16, 16], np.uint8), RANDOM.integers(0, 256, [4, 3], np.uint8)
    palette = Image.fromarray(indices, 'P')
    palette.putpalette(colours.tobytes())
    palette.save(tmp_path / 'bytes.png', transparency=bytes([0, 100, 255, 255]))
    a = np.array([0, 100, 255, 255])[indices][..., None] / 255
    expected = a * colours[indices] + (1 - a) * decoder.BACKGROUND
    assert np.abs(decoder.decode(tmp_path / 'bytes.png', 16, 3)[0] - expected).max() <= 1
    palette.save(tmp_path / 'index.gif', transparency=2)
    expected = np.where(indices[..., None] == 2, decoder.BACKGROUND, colours[indices])
    np.testing.assert_array_equal(decoder.decode(tmp_path / 'index.gif', 16, 3)[0], expected)


def test_16_bits_of_grey_are_rounded_to_8(tmp_path):
    deep = RANDOM.integers(0, 65536, [16, 16], np.uint16)
    Image.fromarray(deep).save(tmp_path / 'a.png')
    expected = np.rint(deep / 257)
    for channels in 1, 3:
        found, _ = decoder.decode(tmp_path / 'a.png', 16, channels)
        np.testing.assert_array_equal(found, expected[..., None].repeat(channels, 2))


def test_cmyk_and_one_bit(tmp_path):
    Image.new('CMYK', [8, 8], (0, 255, 255, 0)).save(tmp_path / 'red.jpg', quality=100)
    assert np.abs(decoder.decode(tmp_path / 'red.jpg', 8, 3)[0] - np.array([255, 0, 0.])).max() <= 4
    bits = RANDOM.integers(0, 2, [8, 8]).astype(bool)
    Image.fromarray(bits).save(tmp_path / 'bits.png')
    np.testing.assert_array_equal(decoder.decode(tmp_path / 'bits.png', 8, 1)[0][..., 0], bits * 255)


def test_one_channel_is_the_luma_and_says_whether_there_was_colour(tmp_path):
    colour = smooth(16, 16)
    Image.fromarray(colour).save(tmp_path / 'colour.png')
    Image.fromarray(colour[..., :1].repeat(3, 2)).save(tmp_path / 'grey.png')
    found, was = decoder.decode(tmp_path / 'colour.png', 16, 1)
    assert was and np.abs(found[..., 0] - colour @ [0.299, 0.587, 0.114]).max() <= 1
    found, was = decoder.decode(tmp_path / 'grey.png', 16, 1)
    assert not was and (found == colour[..., :1]).all()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_says_which_way_is_up(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(smooth(32, 32))
    picture.save(tmp_path / 'a.jpg', exif=exif, quality=98, subsampling=0)
    operation = [None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
                 Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90]
    expected = np.asarray(picture.transpose(operation[orientation]) if orientation > 1 else picture)
    assert np.abs(decoder.decode(tmp_path / 'a.jpg', 32, 3)[0].astype(int) - expected).max() <= 4


def test_the_middle_square_is_resized(tmp_path):
    for height, width in (20, 60), (61, 20), (7, 7):
        picture = Image.fromarray(RANDOM.integers(0, 256, [height, width, 3], np.uint8))
        picture.save(tmp_path / 'a.png')
        for size in 7, 16, 20, 28:
            side = min(height, width)
            left, top = (width - side) // 2, (height - side) // 2
            square = picture.crop([left, top, left + side, top + side])
            expected = np.asarray(square.resize([size, size], Image.Resampling.LANCZOS))
            np.testing.assert_array_equal(decoder.decode(tmp_path / 'a.png', size, 3)[0], expected)


def test_much_larger_pictures_are_averaged(tmp_path):
    """Noise shrunk by k has a standard deviation near 1 / k of before; picking pixels would keep it whole."""
    noise = RANDOM.integers(0, 256, [640, 640], np.uint8)
    for name in 'a.png', 'a.jpg':
        Image.fromarray(noise).save(tmp_path / name)
        found, _ = decoder.decode(tmp_path / name, 32, 1)
        assert 0.7 < found.std() / (noise.std() / 20) < 1.5
        slopes = smooth(640, 640)
        Image.fromarray(slopes).save(tmp_path / name)
        expected = slopes.reshape(32, 20, 32, 20, 3).mean((1, 3))
        assert np.abs(decoder.decode(tmp_path / name, 32, 3)[0] - expected).max() <= 6


def test_a_folder_is_read_whole_in_an_order_of_its_own(tmp_path):
    folder_of(tmp_path / 'set', 20)
    folder_of(tmp_path / 'set/deep/er', 5, seed=1)
    for name in '.hidden.png', 'notes.txt', '.DS_Store', 'deep/._000.png', '.git/a.png':
        (tmp_path / 'set' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'set' / name).write_bytes(b'no picture')
    found = folders.load(str(tmp_path / 'set'), 8, 3)
    names = [name for name, _, _ in folders.find(tmp_path / 'set')]
    assert names == sorted(names) and len(names) == 25 and 'deep/er/004.png' in names
    expected = [np.asarray(Image.open(tmp_path / 'set' / name)) for name in names]
    assert image_set(np.asarray(found.images)) == image_set(expected)
    assert not np.array_equal(found.images, expected)


def test_links_are_not_followed(tmp_path):
    folder_of(tmp_path / 'set', 3)
    folder_of(tmp_path / 'elsewhere', 3, seed=1)
    os.symlink(tmp_path / 'elsewhere', tmp_path / 'set/out')
    os.symlink(tmp_path / 'elsewhere/000.png', tmp_path / 'set/out.png')
    os.symlink(tmp_path / 'set', tmp_path / 'set/loop')
    assert len(folders.find(tmp_path / 'set')) == 3
    os.symlink(tmp_path / 'set', tmp_path / 'link')  # but the folder itself may be one
    assert len(folders.find(tmp_path / 'link')) == 3


def test_train_and_test_share_the_pictures_out(tmp_path, capsys):
    folder = folder_of(tmp_path / 'set', 45)
    train, labels = data.load(str(folder), size=8, channels=3)
    test, _ = data.load(str(folder), 'test', size=8, channels=3)
    assert labels is None and len(train) == 41 and len(test) == 4
    assert len(set(image_set([*train, *test]))) == 45
    assert f'{folder}: 45 pictures of 8x8x3; 41 to train with (decoded now' in capsys.readouterr().out


def test_grey_pictures_of_a_colour_folder_are_said(tmp_path, capsys):
    folder = folder_of(tmp_path / 'set', 12)
    images, _ = data.load(str(folder), size=8, channels=1)
    assert images.shape == (11, 8, 8, 1) and '12 of them turned grey (--channels 3 keeps the colour)' in capsys.readouterr().out


def test_the_second_time_is_from_the_cache_until_a_file_changes(tmp_path, cache, monkeypatch):
    folder, decoded, decode = folder_of(tmp_path / 'set', 12), [], decoder.decode
    monkeypatch.setattr(decoder, 'decode', lambda path, *rest: decoded.append(path) or decode(path, *rest))
    first = again(str(folder), 8, 3)
    assert len(decoded) == 12 and 'decoded now' in first.told
    second = again(str(folder), 8, 3)
    assert len(decoded) == 12 and 'from the cache' in second.told and second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(first.images, second.images)

    os.utime(folder / '003.png', (1, 1))  # read again, found to be the same
    touched = again(str(folder), 8, 3)
    assert len(decoded) == 24 and touched.fingerprint == first.fingerprint
    seen = [first.fingerprint]
    for change in (lambda: Image.new('RGB', [8, 8]).save(folder / '003.png'), lambda: folder_of(folder / 'more', 1, seed=5),
                   lambda: (folder / '007.png').unlink()):
        change()
        seen.append(again(str(folder), 8, 3).fingerprint)
    assert len(set(seen)) == 4 and seen[-1].startswith('12 pictures') and seen[-2].startswith('13 pictures')
    again(str(folder), 16, 3), again(str(folder), 8, 1)
    assert len(list(cache.glob('*.npy'))) == len(list(cache.glob('*.json'))) == 3  # one for each size and channels
    monkeypatch.setattr(folders, 'VERSION', 1000)
    assert 'decoded now' in again(str(folder), 8, 3).told and len(list(cache.glob('*.npy'))) == 3
    assert np.load(next(cache.glob('*-8x8x1-*.npy'))).shape == (12, 8, 8, 1)


def test_half_a_cache_is_none(tmp_path, cache):
    folder = folder_of(tmp_path / 'set', 12)
    first = np.asarray(again(str(folder), 8, 3).images)
    for name in '*.npy', '*.json':
        next(cache.glob(name)).unlink()
        assert 'decoded now' in again(str(folder), 8, 3).told
    next(cache.glob('*.json')).write_text('{"finge')
    found = again(str(folder), 8, 3)
    assert 'decoded now' in found.told
    np.testing.assert_array_equal(found.images, first)


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, capsys):
    folder = folder_of(tmp_path / 'set', 12)
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    assert len(again(str(folder), 8, 3).images) == 12
    assert 'cannot be kept' in capsys.readouterr().err
    monkeypatch.setattr(picturecache.shutil, 'disk_usage', lambda path: types.SimpleNamespace(free=10))
    with pytest.raises(files.UserError, match='no space'):
        again(str(folder), 8, 3)


# what is in the cache is verified

def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << position % 8
    path.write_bytes(content)


def rewritten(path, change):
    """The record with something else in it, and the checksum it had."""
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record) + '\n')


def replaced_by_a_folder(path):
    path.unlink()
    (path / 'inside').mkdir(parents=True)


DAMAGES = {
    '.npy': {**{f'bit {i}': lambda path, i=i: flip(path, i) for i in (0, 6, 8, 20, 60, 127, 128, 1000, -1)},
             'zeros': lambda path: path.write_bytes(bytes(path.stat().st_size)),
             'zero pictures': lambda path: path.write_bytes(path.read_bytes()[:128] + bytes(path.stat().st_size - 128)),
             'short': lambda path: os.truncate(path, 1000), 'empty': lambda path: os.truncate(path, 0),
             'a picture less': lambda path: os.truncate(path, path.stat().st_size - 192),
             'longer': lambda path: os.truncate(path, 2**40), 'gone': lambda path: path.unlink(), 'folder': replaced_by_a_folder,
             'two swapped': lambda path: np.save(path, np.load(path)[[1, 0, *range(2, 12)]])},
    '.json': {**{f'bit {i}': lambda path, i=i: flip(path, i) for i in (0, 15, 40, -1, -10)},
              'labels': lambda path: rewritten(path, lambda record: record['labels'].reverse()),
              'count': lambda path: rewritten(path, lambda record: record.update(broken=7)),
              'types': lambda path: rewritten(path, lambda record: record.update(labels={}, fingerprint=None, colour=[])),
              'list': lambda path: path.write_text('[]'), 'number': lambda path: path.write_text('NaN'),
              'deep': lambda path: path.write_text('[' * 100_000), 'long': lambda path: os.truncate(path, 2**40),
              'folder': replaced_by_a_folder, 'link': lambda path: [path.unlink(), path.symlink_to('nowhere')]}}


@pytest.mark.parametrize('suffix, damage', [(suffix, name) for suffix, names in DAMAGES.items() for name in names])
def test_a_damaged_cache_is_said_and_made_again(suffix, damage, tmp_path, cache, capsys):
    folder_of(tmp_path / 'set/a', 6), folder_of(tmp_path / 'set/b', 6, seed=1)
    first = again(str(tmp_path / 'set'), 8, 3)
    pictures = np.asarray(first.images)
    DAMAGES[suffix][damage](next(cache.glob(f'*{suffix}')))
    found = again(str(tmp_path / 'set'), 8, 3)
    np.testing.assert_array_equal(found.images, pictures)
    np.testing.assert_array_equal(found.labels, first.labels)
    assert found.fingerprint == first.fingerprint and found.colour == first.colour
    error = capsys.readouterr().err
    assert 'decoded now' in found.told and 'cannot be used' in error and error.count('\n') == 1
    assert 'from the cache' in again(str(tmp_path / 'set'), 8, 3).told and not capsys.readouterr().err


def test_no_bit_of_the_pictures_can_change_unnoticed(tmp_path, cache):
    """One bit in each of 60 places, in a set that is read in several blocks."""
    folder = folder_of(tmp_path / 'set', 12)
    first = again(str(folder), 8, 3)
    array = next(cache.glob('*.npy'))
    whole = array.read_bytes()
    for position in RANDOM.integers(0, len(whole), 60):
        flip(array, int(position))
        shape = (12, 8, 8, 3)
        assert picturecache.kept(cache, array.stem, shape, ())[0] is None
        array.write_bytes(whole)
    assert picturecache.kept(cache, array.stem, shape, ())[0][1]['fingerprint'] == first.fingerprint


def test_the_cache_of_another_folder_is_not_taken(tmp_path, cache, capsys):
    """Both of its files are whole, but copied to this folder's names."""
    for name, seed in ('set', 0), ('other', 1):
        again(str(folder_of(tmp_path / name, 12, seed=seed)), 8, 3)
    for suffix in '.npy', '.json':
        shutil.copy(next(cache.glob(f'other*{suffix}')), next(cache.glob(f'set*{suffix}')))
    found = again(str(tmp_path / 'set'), 8, 3)
    assert image_set(np.asarray(found.images)) == image_set(Image.open(path) for path in (tmp_path / 'set').iterdir())
    assert 'they are of another folder' in capsys.readouterr().err


@pytest.mark.parametrize('block', [1, 500, 2**22])
def test_the_fingerprint_is_a_sha256_of_pixels_and_classes(block, tmp_path, monkeypatch):
    """As hashlib computes it; runs recorded it, so that it must stay what it is."""
    monkeypatch.setattr(picturecache, 'BLOCK', block)
    folder_of(tmp_path / 'plain', 12), folder_of(tmp_path / 'zoo/cat', 5), folder_of(tmp_path / 'zoo/ant', 6, seed=1)
    for name in 'plain', 'zoo':
        for _ in 'decoded', 'from the cache':
            found, text = again(str(tmp_path / name), 8, 3), b''
            for i, picture in enumerate(np.asarray(found.images)):
                text += picture.tobytes() + (found.classes[found.labels[i]].encode() if found.classes else b'')
            assert found.fingerprint == f'{len(found.images)} pictures, sha256 {hashlib.sha256(text).hexdigest()[:32]}'


def test_a_list_of_broken_files_that_is_gone_is_made_again(tmp_path, cache):
    folder = broken(folder_of(tmp_path / 'set', 97), 3)
    again(str(folder), 8, 3)
    next(cache.glob('*.txt')).unlink()
    assert 'decoded now' in again(str(folder), 8, 3).told and len(next(cache.glob('*.txt')).read_text().splitlines()) == 3


def test_what_killed_programs_left_is_removed(tmp_path, cache):
    """Half an array of the same files, and one of the files as they were before."""
    folder = folder_of(tmp_path / 'set', 12)
    again(str(folder), 8, 3)
    name = next(cache.glob('*.npy')).name
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    (cache / f'.new-{ended.pid}-{name}').write_text('half')
    (cache / f'.new-{ended.pid}-{name[:-16]}0123456789ab.npy').write_text('half')
    os.utime(folder / '003.png', (1, 1))
    again(str(folder), 8, 3)
    assert not list(cache.glob('.new-*')) and len(list(cache.iterdir())) == 3    # array, record and lock


def test_a_temporary_cache_leaves_nothing(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / 'set', 12)
    (tmp_path / 'file').write_text('')
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    found = again(str(folder), 8, 3)
    assert not list((tmp_path / 'tmp').iterdir())           # the array is open, and has no name any more
    assert image_set(np.asarray(found.images)) == image_set(Image.open(path) for path in folder.iterdir())


# what the system does not give

def failing(monkeypatch, error, names, times):
    """Decoding raises an error so many times for each of the names; the list of what was decoded, in order."""
    decode, left, calls = decoder.decode, dict.fromkeys(names, times), []

    def attempt(path, *rest):
        name = os.path.basename(path)
        calls.append(name)
        if left.get(name):
            left[name] -= 1
            raise error
        return decode(path, *rest)

    monkeypatch.setattr(decoder, 'decode', attempt)
    return calls


ERRORS = [OSError(number, os.strerror(number)) for number in (errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.ESTALE)]
ERRORS += [MemoryError(), OSError('out of memory error when reading image file')]


@pytest.mark.parametrize('error', ERRORS, ids=repr)
def test_what_fails_once_is_read_when_the_others_are_done(error, tmp_path, monkeypatch):
    folder = folder_of(tmp_path / 'set', 30)
    expected = again(str(folder), 8, 3)
    folder.rename(tmp_path / 'moved')
    names = [f'{i:03d}.png' for i in (3, 4, 17)]
    calls = failing(monkeypatch, error, names, 1)
    found = again(str(tmp_path / 'moved'), 8, 3)
    assert sorted(calls[30:]) == names and len(set(calls[:30])) == 30
    np.testing.assert_array_equal(found.images, expected.images)       # each in its place
    assert found.fingerprint == expected.fingerprint and 'broken' not in found.told


@pytest.mark.parametrize('error', ERRORS, ids=repr)
def test_what_fails_twice_ends_it_with_nothing_kept(error, tmp_path, monkeypatch, cache):
    folder = folder_of(tmp_path / 'set', 30)
    failing(monkeypatch, error, ['004.png'], 2)
    with pytest.raises(files.UserError, match=r'set/004.png cannot be read \(\w.*\w\), .* take the file out'):
        again(str(folder), 8, 3)
    assert [path.suffix for path in cache.iterdir()] == ['.lock']


def test_a_file_that_is_gone_meanwhile_is_not_a_broken_one(tmp_path, monkeypatch):
    folder, find = folder_of(tmp_path / 'set', 30), folders.find
    monkeypatch.setattr(folders, 'find', lambda path: [*find(path), ('z.png', 1, 1)])
    with pytest.raises(files.UserError, match=r'z.png cannot be read \(No such file or directory\)'):
        again(str(folder), 8, 3)


def test_damaged_bytes_are_still_broken_files(tmp_path, monkeypatch):
    for error in (OSError('image file is truncated'), SyntaxError('not a PNG'), ValueError('x'), IndexError(), RecursionError(),
                  OSError(errno.EINVAL, 'a seek before the start')):
        with monkeypatch.context() as patch:
            failing(patch, error, ['004.png'], 9)
            folder = folder_of(tmp_path / type(error).__name__ / str(error), 30)
            assert '1 broken files left out' in again(str(folder), 8, 3).told


# memory, and Ctrl-C

@pytest.mark.parametrize('at_once', [1, 2, 5])
def test_as_many_are_decoded_at_once_as_memory_allows(at_once, tmp_path, monkeypatch):
    """Of six threads; the pictures of different sizes count by their pixels. What comes out is the same."""
    folder = folder_of(tmp_path / 'set', 40, size=40)
    expected, fitted, running, most = again(str(folder), 8, 3), decoder._fitted, [], []

    def counted(image, *rest):
        me = object()           # pictures would be compared by their pixels
        running.append(me)
        most.append(len(running))
        time.sleep(0.002)
        running.remove(me)
        return fitted(image, *rest)

    monkeypatch.setattr(decoder, 'THREADS', 6)
    monkeypatch.setattr(decoder, '_fitted', counted)
    one = decoder.PIXEL_BYTES * 1600 + max(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(decoder, 'free_memory', lambda: (at_once + 0.1) * one / decoder.MEMORY_SHARE)
    folder.rename(tmp_path / 'moved')
    found = again(str(tmp_path / 'moved'), 8, 3)
    assert max(most) <= at_once and found.fingerprint == expected.fingerprint
    monkeypatch.setattr(decoder, 'free_memory', lambda: 0)              # none is enough for one: each is decoded alone
    os.utime(tmp_path / 'moved/003.png', (1, 1))
    most.clear()
    assert again(str(tmp_path / 'moved'), 8, 3).fingerprint == expected.fingerprint and max(most) == 1


@pytest.mark.slow
def test_large_pictures_take_the_memory_of_one(tmp_path):
    """Six of 9 million pixels and 17 bytes each, where there is room for one: 153 MB, not 918."""
    for i in range(6):
        (tmp_path / 'set').mkdir(exist_ok=True)
        Image.new('RGBA', [3000, 3000], (i, 2, 3, 100)).save(tmp_path / f'set/{i}.png')
    program = ('import resource, sys; from plumbing import decoder, folders\n'
               'decoder.THREADS, decoder.free_memory = 6, lambda: 0\n'
               'def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
               'before = most(); folders.load(sys.argv[1], 8, 3); print(most() - before)')
    done = subprocess.run([sys.executable, '-c', program, str(tmp_path / 'set')], capture_output=True, text=True, check=True,
                          cwd=pathlib.Path(folders.__file__).parents[1])
    assert int(done.stdout) < 300_000


def test_absurd_picture_sizes_are_refused_before_anything_is_made(tmp_path, cache):
    folder = folder_of(tmp_path / 'set', 12)
    for size in 10_001, 1_000_000, 10**50:
        with pytest.raises(files.UserError, match='too large: --image-size is 10,000 at most'):
            data.load(str(folder), size=size, channels=3)
    assert not cache.exists()


def test_absurd_files_are_refused_before_they_are_read(tmp_path):
    folder = folder_of(tmp_path / 'set', 12)
    os.truncate(folder / '003.png', 2**40)
    with pytest.raises(files.UserError, match='003.png has 1,099,511,627,776 bytes, more than 1,073,741,824: take it out'):
        again(str(folder), 8, 3)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_decoding(number, tmp_path, monkeypatch, cache):
    """Files that wait for a thread or for memory are left alone, and nothing is kept."""
    folder, decode, started, stopped = folder_of(tmp_path / 'set', 200), decoder.decode, [], threading.Event()

    def attempt(path, size, channels, memory, half):
        started.append(path)
        if len(started) == 20:
            os.kill(os.getpid(), number)
        if len(started) >= 20:
            stopped.wait(0.05)
        return decode(path, size, channels, memory)

    monkeypatch.setattr(decoder, 'decode', attempt)
    with interrupts.raised(), pytest.raises(interrupts.Interrupted):
        again(str(folder), 8, 3)
    assert 20 <= len(started) < 100 and [path.suffix for path in cache.iterdir()] == ['.lock']


def test_who_waits_for_memory_is_let_go():
    memory, ended = decoder.Memory(10), []

    def wait():
        try:
            with memory.taken(5):
                ended.append('decoded')
        except Exception as error:
            ended.append(type(error).__name__)

    with memory.taken(20):
        thread = threading.Thread(target=wait)
        thread.start()
        memory.close()
        thread.join(60)
    assert ended == ['CancelledError']


# names of folders

@pytest.mark.parametrize('name', ['ä b', 'two\nlines', os.fsdecode(b'not \xff utf-8'), '*[a]?', 'x' * 205, 'x' * 255, 'ä' * 127,
                                  os.fsdecode(b'\xff' * 255)], ids=range(8))
def test_any_name_of_a_folder(name, tmp_path, cache, capsys):
    try:
        folder = folder_of(tmp_path / name, 12)
    except OSError:
        pytest.skip('the file system does not take this name')
    images, _ = data.load(str(folder), size=8, channels=3)
    again(str(folder), 8, 3)
    assert len(images) == 11 and 'from the cache' in again(str(folder), 8, 3).told
    out, error = capsys.readouterr()
    assert out.count('\n') == 1 and not error and len(list(cache.iterdir())) == 3
    out.encode()
    os.utime(folder / '003.png', (1, 1))
    again(str(folder), 8, 3)
    assert len(list(cache.iterdir())) == 3                  # the older one is found under its name


def test_ordinary_names_in_the_cache_stay(tmp_path, cache):
    again(str(folder_of(tmp_path / 'set of birds', 12)), 8, 3)
    where = hashlib.sha256(f'{tmp_path}/set of birds\n8 3'.encode()).hexdigest()[:12]
    assert next(cache.glob('*.lock')).name == f'set of birds-8x8x3-{where}.lock'


def test_home_folders(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    folder_of(tmp_path / 'set', 12)
    assert data.full_name('~/set') == str(tmp_path / 'set') and len(again('~/set', 8, 3).images) == 12
    for call in data.full_name, data.load, lambda path: folders.load(path, 8, 3):
        with pytest.raises(files.UserError, match='no home folder for ~nobody-of-this-name/set'):
            call('~nobody-of-this-name/set')


@pytest.fixture
def homeless(tmp_path, monkeypatch):
    """A user without a home; where temporary files are."""
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setattr(os.path, 'expanduser', lambda path: path)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    monkeypatch.chdir(tmp_path)
    user_cache._homeless.cache_clear()
    return tmp_path / 'tmp'


def test_a_user_without_a_home_has_a_cache_of_his_own(tmp_path, homeless):
    folder_of(tmp_path / 'set', 12)
    again('set', 8, 3)
    assert 'from the cache' in again('set', 8, 3).told and not (tmp_path / '~').exists()
    mine, = homeless.iterdir()
    assert mine.stat().st_mode & 0o777 == 0o700 and len(list(mine.rglob('*.npy'))) == 1
    user_cache._homeless.cache_clear()
    assert 'from the cache' in again('set', 8, 3).told


@pytest.mark.parametrize('taken', [lambda path: path.mkdir(mode=0o777) or path.chmod(0o777), lambda path: path.write_text(''),
                                   lambda path: path.symlink_to('/')])
def test_a_place_that_others_can_write_to_is_not_the_cache(taken, homeless):
    homeless.mkdir()
    place = homeless / f'gan-training-{os.getuid()}'
    taken(place)
    found = user_cache.path('pictures')
    assert place not in found.parents and found.parents[1].stat().st_mode & 0o777 == 0o700
    assert user_cache.path('pictures') == found


def broken(folder, count):
    """Some that end early, some empty, some of text."""
    whole = (folder / '000.png').read_bytes()
    for i in range(count):
        (folder / f'broken{i}.png').write_bytes([whole[:len(whole) // 2], b'', b'text'][i % 3])
    return folder


def test_broken_files_are_left_out_and_listed(tmp_path):
    folder = broken(folder_of(tmp_path / 'set', 97), 3)
    for told in again(str(folder), 8, 3).told, again(str(folder), 8, 3).told:  # also when it comes from the cache
        log = re.search(r'3 broken files left out, listed in (.*\.txt)', told)[1]
        assert [line.split(':')[0] for line in pathlib.Path(log).read_text().splitlines()] == [f'broken{i}.png' for i in range(3)]
    assert image_set(np.asarray(again(str(folder), 8, 3).images)) == image_set(
        np.asarray(Image.open(path)) for path in folder.glob('[0-9]*.png'))


def test_too_many_broken_files_stop_it(tmp_path, cache):
    folder = broken(folder_of(tmp_path / 'set', 27), 3)
    with pytest.raises(files.UserError, match='3 of 30 files in .* cannot be decoded, listed in .*txt; the first is broken0'):
        again(str(folder), 8, 3)
    assert not list(cache.glob('*.npy')) and not list(cache.glob('*.json')) and list(cache.glob('*.txt'))


def test_absurd_sizes_stop_it_before_they_are_decoded(tmp_path):
    folder = folder_of(tmp_path / 'set', 12)
    small = (folder / '000.png').read_bytes()  # 8 of signature, 4 of length, then b'IHDR', width, height, 5 more; a checksum
    head = b'IHDR' + struct.pack('>II', 20000, 20000) + small[24:29]
    (folder / 'bomb.png').write_bytes(small[:12] + head + struct.pack('>I', zlib.crc32(head)) + small[33:])
    with pytest.raises(files.UserError, match='bomb.png is 20,000 by 20,000 pixels'):
        again(str(folder), 8, 3)


@pytest.mark.parametrize('make, complaint', [
    (lambda path: None, 'does not exist'), (lambda path: path.write_text(''), 'is a file'),
    (lambda path: path.mkdir(), 'holds no pictures'), (lambda path: folder_of(path, 1), 'holds one picture'),
    (lambda path: [path.mkdir(), (path / 'a.txt').write_text('')], 'no pictures .* but 1 other files'),
    (lambda path: [path.mkdir(), os.symlink('/', path / 'a')], 'no pictures .* but 1 symbolic links, which are not')])
def test_folders_without_pictures(make, complaint, tmp_path):
    make(tmp_path / 'set')
    with pytest.raises(files.UserError, match=complaint):
        data.load(str(tmp_path / 'set'))


@pytest.mark.parametrize('arguments, complaint', [
    (['mnistt'], "unknown data set 'mnistt'.*mnist, fashion_mnist.*folder"),
    (['mnist', 'train', 28, 2], 'channels must be 1 or 3')])
def test_wrong_names_and_channels(arguments, complaint):
    with pytest.raises(files.UserError, match=complaint):
        data.load(*arguments)


def batches(images, count, **options):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(3)
        x = data.batches(images, 7)
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        return np.stack([session.run(x) for _ in range(count)])


def test_batches_read_from_disk_are_those_from_memory(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / 'set', 60)
    in_memory, _ = data.load(str(folder), size=8, channels=3)
    expected = batches(in_memory, 20)
    monkeypatch.setattr(data, 'IN_MEMORY', 1000)
    on_disk, _ = data.load(str(folder), size=8, channels=3)
    assert isinstance(in_memory, np.ndarray) and isinstance(on_disk, picturecache.OnDisk)
    np.testing.assert_array_equal(batches(on_disk, 20), expected)
    np.testing.assert_array_equal(batches(in_memory, 20), expected)  # too large for the graph, but in memory


def test_pictures_on_disk_are_cut_and_read_like_an_array(tmp_path):
    a = RANDOM.integers(0, 256, [9, 4, 4, 3], np.uint8)
    np.save(tmp_path / 'a.npy', a)
    on_disk = picturecache.OnDisk(tmp_path / 'a.npy')
    assert on_disk.shape == a.shape and len(on_disk) == 9 and on_disk.ndim == 4 and on_disk.nbytes == a.nbytes
    for index in 3, -1, [1, 5, 1], np.array([[0, 8], [2, 2]]), a[:, 0, 0, 0] > 100:
        np.testing.assert_array_equal(on_disk[index], a[index])
    np.testing.assert_array_equal(on_disk[2:8][1:][::2], a[2:8][1:][::2])
    np.testing.assert_array_equal(on_disk[2:8][-1], a[7])
    with pytest.raises(IndexError):
        on_disk[2:4][2]


# classes

def painted(path, colour, count=1, start=0, size=8):
    """Pictures of one colour, so that a picture tells which class it is of."""
    path.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        Image.new('RGB', [size, size], colour).save(path / f'{i:03d}.png')


COLOURS = {'10': (10, 0, 0), '9': (9, 0, 0), 'Zebra': (1, 2, 3), 'ant': (4, 5, 6), 'étoile': (7, 8, 9)}  # in this order


@pytest.fixture
def zoo(tmp_path):
    for number, (name, colour) in enumerate(reversed(COLOURS.items())):
        painted(tmp_path / 'zoo' / name, colour, 8 + number)
        painted(tmp_path / 'zoo' / name / 'deep' / 'er', colour, 2)
    painted(tmp_path / 'zoo/.hidden', (99, 99, 99), 3)
    return tmp_path / 'zoo'


def test_the_classes_of_a_folder_are_its_subfolders(zoo):
    """In alphabetical order, with all that is in them; each label is that of the picture's own colour, in both splits."""
    assert data.class_names(str(zoo), 8, 3) == tuple(COLOURS) == data.class_names(str(zoo), 8, 3, needed=True)
    counts = np.zeros(5, int)
    for split in 'train', 'test':
        images, labels = data.load(str(zoo), split, 8, 3)
        assert labels.dtype == np.uint16 and labels.shape == (len(images),)
        expected = [list(COLOURS.values()).index(tuple(image[0, 0])) for image in images]
        np.testing.assert_array_equal(labels, expected)
        counts += np.bincount(labels, minlength=5)
    assert counts.tolist() == [14, 13, 12, 11, 10]


def test_labels_come_from_the_cache_as_they_came_from_the_files(zoo):
    first, second = again(str(zoo), 8, 3), again(str(zoo), 8, 3)
    assert 'decoded now' in first.told and 'from the cache' in second.told
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.classes == second.classes == tuple(COLOURS)


def test_labels_stay_with_pictures_that_are_read_from_disk(zoo, monkeypatch):
    monkeypatch.setattr(data, 'IN_MEMORY', 1000)
    images, labels = data.load(str(zoo), size=8, channels=3)
    assert isinstance(images, picturecache.OnDisk)
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = data.batches((images, labels), 7)
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for _ in range(20):
            x, y = session.run(tensors)
            colours = np.rint((x[:, 3, 3] + 1) * 127.5)
            np.testing.assert_array_equal(colours, np.array(list(COLOURS.values()))[y])


def test_broken_files_leave_the_labels_with_their_pictures(zoo):
    for name in '000.png', '003.png':
        (zoo / 'ant' / name).write_bytes(b'text')
    (zoo / 'Zebra/000.png').write_bytes((zoo / 'Zebra/000.png').read_bytes()[:40])
    found = again(str(zoo), 8, 3)
    assert '3 broken files left out' in found.told and len(found.images) == len(found.labels) == 57
    colours = np.array(list(COLOURS.values()))
    np.testing.assert_array_equal(np.asarray(found.images)[:, 0, 0], colours[found.labels])
    assert np.bincount(found.labels).tolist() == [14, 13, 11, 9, 10]


def test_another_name_of_a_class_is_another_set(zoo):
    """The same pixels in the same order; only what they are called has changed."""
    before = again(str(zoo), 8, 3)
    (zoo / 'Zebra').rename(zoo / 'Yak')
    after = again(str(zoo), 8, 3)
    np.testing.assert_array_equal(before.images, after.images)
    np.testing.assert_array_equal(before.labels, after.labels)
    assert after.classes[2] == 'Yak' and after.fingerprint != before.fingerprint


@pytest.mark.parametrize('change, complaint', [
    (lambda zoo: painted(zoo, (0, 0, 0), 1), r'a picture \(000.png\) is beside its subfolders: move what'),
    (lambda zoo: painted(zoo, (0, 0, 0), 2, start=7), r'2 pictures \(007.png, ...\) are beside its subfolders'),
    (lambda zoo: [(zoo / name).rename(zoo.parent / f'gone {name}') for name in list(COLOURS)[1:]], "only '10'"),
    (lambda zoo: [path.rename(zoo / f'{path.parent.name} {path.name}') for path in zoo.glob('[!.]*/*.png')]
     + [(zoo / name / 'deep').rename(zoo.parent / f'gone {name}') for name in COLOURS], 'pictures are in none')])
def test_a_folder_without_classes_says_why(zoo, change, complaint):
    change(zoo)
    images, labels = data.load(str(zoo), size=8, channels=3)
    assert labels is None and len(images) > 5 and data.class_names(str(zoo), 8, 3) is None
    with pytest.raises(files.UserError, match=f'zoo has no classes: .*{complaint}'):
        data.class_names(str(zoo), 8, 3, needed=True)


def test_the_classes_of_the_other_sets():
    assert data.class_names('MNIST') == tuple('0123456789') and data.class_names('fashion', needed=True)[9] == 'ankle boot'
    assert data.class_names('stacked_mnist')[407] == '407' and len(data.class_names('stacked-mnist')) == 1000


def test_a_count_that_cannot_be_shuffled_leaves_one_more_to_the_test(monkeypatch):
    assert [n for n in range(2**16, 2**16 + 3) if not data._shuffles(n)] == [2**16 + 1]
    rows = np.zeros([72819, 1, 1, 1], np.uint8)  # a tenth less are 65,538, and of one more 65,537
    for more, counts in (0, (65538, 7281)), (-1, (65536, 7282)):
        found = folders.Pictures(rows[:len(rows) + more], None, (), 'none', '', 0, '')
        monkeypatch.setattr(folders, 'load', lambda *arguments, found=found: found)
        monkeypatch.setattr(data, 'full_name', lambda name: name)
        assert tuple(len(data.load('set', split, 1)[0]) for split in ('train', 'test')) == counts


# runs on a folder

FLAGS = ('--image-size 8 --channels 3 --g-hidden 8 --d-hidden 8 --batch-size 16 --dropout 0 --epochs 2 --eval-every 5 '
         '--sample-every 5 --checkpoint-every 5 --precision float32').split()


@pytest.fixture
def train(tmp_path):
    """Runs gan_fc.py with flags on a folder, relative to tmp_path: (exit status, stdout, stderr)."""
    def start(folder, *more):
        process = forkserver.start('gan_fc', '--dataset', folder, '--run-dir', 'runs/gan_fc-set', *FLAGS, *more, driven=False,
                                   cwd=tmp_path, environment={'XDG_CACHE_HOME': str(tmp_path / 'cache')})
        out, error = process.communicate()
        return process.returncode, out, error
    return start


@pytest.mark.slow
def test_a_run_knows_its_pictures_wherever_they_are(tmp_path, train):
    folder, run_dir = folder_of(tmp_path / 'set', 80), tmp_path / 'runs/gan_fc-set'
    status, out, error = train('set')
    assert status == 0, error
    assert 'starts at step 0 of 9 (2 passes over the data)' in out  # 72 pictures, 16 a step, twice: 9
    assert 'Frechet distances are of 72 samples, not 2000' in out
    assert 'not measured: it takes 65 held-out pictures, and there are 8' in out
    record = json.loads((run_dir / 'settings.json').read_text())
    settings = record['settings']
    assert record['classes'] is None
    assert settings['DATASET'] == str(folder) and settings['PICTURES'].startswith('80 pictures, sha256 ')
    assert 'frechet_72' in (run_dir / 'scalars.csv').read_text()
    assert savedmodel.samples(run_dir, 3).shape == (3, 8, 8, 3)

    os.utime(folder / '005.png', (1, 1))
    assert 'finished' in train('set')[1]
    folder.rename(tmp_path / 'moved')
    status, out, _ = train('moved', '--run-dir', str(run_dir))
    assert status == 0 and 'finished' in out
    assert json.loads((run_dir / 'settings.json').read_text())['settings']['DATASET'] == str(tmp_path / 'moved')

    before = contents(run_dir)
    for change, counts in [(lambda: Image.new('RGB', [8, 8]).save(tmp_path / 'moved/005.png'), '80 pictures.*now 80 pictures'),
                           (lambda: (tmp_path / 'moved/005.png').unlink(), '80 pictures.*now 79 pictures')]:
        change()
        status, _, error = train('moved', '--run-dir', str(run_dir), '--epochs', '3')
        assert status == 2 and re.search(f'error: the pictures in .*moved have changed since .* {counts}', error), error
        assert contents(run_dir) == before
    status, _, error = train('moved', '--run-dir', str(run_dir), '--image-size', '12')
    assert status == 2 and 'IMAGE_SIZE was 8, now 12' in error and contents(run_dir) == before


@pytest.mark.slow
def test_a_few_pictures_are_trained_on_without_being_measured(tmp_path, train):
    """In two subfolders, which the run remembers as its classes."""
    for name in 'b', 'a':
        folder_of(tmp_path / f'set/{name}', 10, seed=ord(name))
    status, out, error = train('set')
    assert status == 0 and '18 pictures with a class to train with are too few for a Frechet distance' in out, error
    assert 'frechet' not in (tmp_path / 'runs/gan_fc-set/scalars.csv').read_text()
    assert json.loads((tmp_path / 'runs/gan_fc-set/settings.json').read_text())['classes'] == ['a', 'b']


@pytest.mark.slow
@pytest.mark.parametrize('more, complaint', [
    (['--batch-size', '19'], 'BATCH_SIZE is 19, but must be from 1 to the number of images, 18'),
    (['--steps', '5'], '--steps and --epochs'), (['--channels', '2'], 'channels must be 1 or 3'),
    (['--image-size', '0'], 'IMAGE_SIZE'), (['--dataset', 'sett'], "unknown data set 'sett'"),
    (['--dataset', './sett'], 'does not exist')])
def test_mistakes_are_one_line_with_status_2(more, complaint, tmp_path, train):
    status, _, error = train(folder_of(tmp_path / 'set', 20), *more)
    lines = [line for line in error.splitlines() if line.startswith('error: ')]
    assert status == 2 and len(lines) == 1 and complaint in lines[0] and 'Traceback' not in error, error
    assert not (tmp_path / 'runs').exists()


def test_the_samples_of_a_folder_are_measured_against_its_own_test_set(tmp_path, monkeypatch):
    folder = str(folder_of(tmp_path / 'set', 700))
    train, test = (data.load(folder, split, 8, 3)[0] for split in ('train', 'test'))
    evaluation._yardstick.cache_clear()
    copies = evaluation.measure(train[:70], folder, 70, folder=tmp_path)
    assert copies['model']['copied'] == 1 and copies['dataset'] == folder and 'untrained' in copies['evaluator']
    itself = evaluation.measure(test, folder, 70)
    for name, value in itself['real'].items():
        assert itself['model'][name] == pytest.approx(value)
    assert evaluation.default_count(folder, (8, 8, 3)) == 70
    monkeypatch.setattr(sys, 'argv', ['metrics.py', str(tmp_path / 'samples.npz'), '--dataset', folder])
    np.savez(tmp_path / 'samples.npz', images=test)
    metrics.main()


def test_nearest_reads_from_disk_in_blocks(tmp_path, monkeypatch):
    train = RANDOM.integers(0, 256, [50, 4, 4, 3], np.uint8)
    images = RANDOM.integers(0, 256, [9, 4, 4, 3], np.uint8)
    np.save(tmp_path / 'a.npy', train)
    monkeypatch.setattr(measures, 'SEARCH_BYTES', 48 * 40)
    distances, where = measures.nearest(images, picturecache.OnDisk(tmp_path / 'a.npy'))
    gaps = np.sqrt(np.square((images[:, None] - train[:40].astype(float)) / 255).sum((2, 3, 4)))
    np.testing.assert_allclose(distances, np.sort(gaps, 1)[:, :2])
    np.testing.assert_array_equal(where, gaps.argmin(1))
