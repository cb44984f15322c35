"""A folder of the user's own pictures as one array: found, decoded once, kept in the user's cache."""
import functools
import hashlib
import math
import os
import sys
import time
import typing

from plumbing import cache as user_cache
from plumbing import decoder, picturecache
from plumbing.files import UserError, expanded, one_line, shortened
from plumbing.picturecache import UNLABELLED

import numpy as np

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.gif', '.webp', '.bmp')  # files that are taken from a folder
HALVES = ':left', ':right'  # behind a folder's name: that half of each of its pictures
VERSION = 2  # of what `decoder.decode` does and what `picturecache` keeps: a change makes older caches useless


class Pictures(typing.NamedTuple):
    """What `load` found.

    images: uint8 [N, H, W, C] in a random order, always the same, those of UNLABELLED last; labels: uint16 [n], n <= N, of those
    before them, or None without classes; classes: their names; classless: why there are none, or ''; fingerprint: of all pixels
    and labels; colour: how many pictures were turned grey; told: where they come from, and what is wrong with them; files: the
    names of all files, sorted; broken: how many of them are left out.
    """
    images: picturecache.OnDisk
    labels: np.ndarray | None
    classes: tuple
    classless: str
    fingerprint: str
    colour: int
    told: str
    files: tuple = ()
    broken: int = 0


@functools.lru_cache(maxsize=2)  # what a program reads stays the same, whatever happens to the folder
def load(folder, size, channels):
    """Reads the pictures in a folder and all its subfolders, as `Pictures` of [N, size, size, channels], channels 1 or 3.

    It takes the files with one of SUFFIXES, but no hidden ones, and follows no symbolic links; `decoder.decode` says how each
    is converted. They are decoded once, into an .npy in the user's cache whose name depends on the files' names, sizes and
    times; when these change, it is replaced, and so it is where it does not fit its checksum. Where the cache cannot be
    written, a temporary file is used.
    Files that cannot be decoded are left out, counted, and listed in a text file. FOLDER:left and FOLDER:right are the halves of
    pictures that hold two side by side.
    Raises UserError if there is no such folder, there are fewer than two pictures in it, too many are broken, one is
    too large or cannot be read, or there is no space.
    """
    if size * size > decoder.MAX_PIXELS:
        raise UserError(f'pictures of {size:,} by {size:,} pixels are too large: '
                        f'--image-size is {math.isqrt(decoder.MAX_PIXELS):,} at most')
    folder, half = halved(os.path.abspath(expanded(folder)))
    files = find(folder)
    where = hashlib.sha256(os.fsencode(f'{folder}{half}\n{size} {channels}')).hexdigest()[:12]
    names, classless = class_names(file for file, _, _ in files)
    partly = ' partly' if names and any(_unlabelled(file) for file, _, _ in files) else ''
    what = hashlib.sha256(os.fsencode(f'{VERSION}{partly} {decoder.BACKGROUND} {files}')).hexdigest()[:12]
    name = f'{shortened(os.path.basename(folder)) or "root"}{half.replace(":", "-")}-{size}x{size}x{channels}-{where}'
    shape = (len(files), size, size, channels)
    cache, began = user_cache.path('pictures'), None
    found, complaint = picturecache.kept(cache, f'{name}-{what}', shape, names)
    if complaint:
        print(one_line(f'the decoded pictures in {cache} cannot be used ({complaint}): decoding them again'), file=sys.stderr)
    if not found:
        with picturecache.place(cache, name, math.prod(shape)) as cache:
            found, _ = picturecache.kept(cache, f'{name}-{what}', shape, names)     # another program may have made it meanwhile
            if not found:
                began, pictures = time.monotonic(), decoder.decoded(folder, _shuffled(files, names), size, channels, half[1:])
                found = picturecache.write(cache, f'{name}-{what}', shape, names, folder, pictures)
                picturecache.remove_older(cache, name, what)
    images, record = found
    told = f'from the cache {cache}' if began is None else f'decoded now in {time.monotonic() - began:.0f} s'
    if record['broken']:
        told += f'; {record["broken"]:,} broken files left out, listed in {cache / f"{name}-{what}.broken.txt"}'
    labels = None if classless else np.array([label for label in record['labels'] if label < len(names)], np.uint16)
    return Pictures(images, labels, names, classless, record['fingerprint'], record['colour'], told,
                    tuple(name for name, _, _ in files), record['broken'])


def halved(folder):
    """('FOLDER', ':left') of 'FOLDER:left', and (folder, '') where it is no half, or there is a folder of the whole name."""
    half = next((half for half in HALVES if folder.endswith(half) and not os.path.exists(folder)), '')
    return folder.removesuffix(half), half


def unpaired(files, others):
    """A file name of one of two sorted lists that the other does not have, whatever the suffix, or '' where there is none."""
    stems, partners = ([os.path.splitext(name)[0] for name in names] for names in (files, others))
    alone = set(stems) ^ set(partners) or {one for one, other in zip(stems, partners, strict=False) if one != other}
    return next((name for name in sorted([*files, *others]) if os.path.splitext(name)[0] in alone), '')


def _shuffled(files, classes):
    """The names of the files in an order that is always the same, so that the first ones are a sample of all classes."""
    order = [files[i][0] for i in np.random.RandomState(0).permutation(len(files))]
    return sorted(order, key=_unlabelled) if classes else order


def _unlabelled(name):
    return name.startswith(f'{UNLABELLED}/')


def class_names(files):
    """(names of the first-level subfolders, sorted, '') of the files' names in a folder, or ((), why they are no classes).

    UNLABELLED is none of them.
    """
    parts = [name.partition('/') for name in files]
    beside = [name for name, slash, _ in parts if not slash]
    names = tuple(sorted({name for name, slash, _ in parts if slash} - {UNLABELLED}))
    if len(names) < 2:
        also = f', not counting {UNLABELLED!r}' if any(name == UNLABELLED and slash for name, slash, _ in parts) else ''
        return (), f'it takes two subfolders or more, and pictures are in {f"only {names[0]!r}" if names else "none"}{also}'
    if beside:
        those = f'a picture ({beside[0]}) is' if len(beside) == 1 else f'{len(beside):,} pictures ({beside[0]}, ...) are'
        return (), f'{those} beside its subfolders: move what is there into one of them'
    if len(names) > 2**16:
        return (), f'it has {len(names):,} subfolders, more than {2**16:,}'
    return names, ''


def find(folder, least=2):
    """[(name, size, time)] of the picture files under a folder, sorted by name: '/' between its parts, nanoseconds.

    Raises UserError if it is no folder, or holds fewer than `least` of them.
    """
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
    if len(found) < least:
        aside = ' and '.join(text for number, text in [(others, f'{others:,} other files'), (
            links, f'{links:,} symbolic links, which are not followed')] if number)
        raise UserError(f'{folder} holds {"one picture" if found else "no pictures"} ({", ".join(SUFFIXES)})'
                        f'{f", but {aside}" if aside else ""}: it takes at least {"two" if least == 2 else "one"}')
    return sorted(found)
