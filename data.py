"""Data sets by name or folder, and batches of them as tensors of the graph."""
import math
import os
import zlib

import mnist
import pictures
from files import UserError

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

DATA_DIR = ''  # a folder (or one .npz) to look in first; when it is '', the environment variable GAN_DATA_DIR
NAMES = {'mnist': 'mnist', 'fashion_mnist': 'fashion_mnist', 'fashion-mnist': 'fashion_mnist', 'fashion': 'fashion_mnist',
         'stacked_mnist': 'stacked_mnist', 'stacked-mnist': 'stacked_mnist'}
STACKED = {'train': 128_000, 'test': 26_000}  # pictures of stacked_mnist, as in Lin et al. 2018 (arXiv:1712.04086)
HELD_OUT = 10  # of so many pictures in a folder, one is in the test set
HELD_OUT_BYTES = 2**26  # at most, 5,461 pictures of 64x64x3: all of them are measured at once
IN_MEMORY = 2**28  # bytes; larger sets stay where they are, on disk or in memory, and only the batches get into the graph


def full_name(name):
    """'mnist', 'fashion_mnist' or 'stacked_mnist', or the absolute path of a folder of pictures.

    A name that is no data set's is a folder if there is one, or if it looks like a path.
    Raises UserError for any other name.
    """
    if name.lower() in NAMES:
        return NAMES[name.lower()]
    path = os.path.abspath(os.path.expanduser(name))
    if name and (os.path.exists(path) or os.sep in name or (os.altsep or os.sep) in name):
        return path
    raise UserError(f'unknown data set {name!r}: the known ones are {", ".join(NAMES)}; or give a folder of pictures')


def load(name, split='train', size=28, channels=None):
    """Reads 'mnist', 'fashion_mnist' (also 'fashion-mnist', 'fashion'), 'stacked_mnist' or a folder; split 'train' or 'test'.

    Returns images uint8 [N, size, size, channels] (channels 1 or 3, or None for those of the set), resized from 28x28 where
    size is not 28, and labels uint8 [N] (uint16 of stacked_mnist), and prints one line that says where they were found.
    A folder's pictures have no labels, None; a tenth of them (or HELD_OUT_BYTES), drawn once and for all, is the test
    set. Where they take more than IN_MEMORY, `images` is a `pictures.OnDisk`.
    Raises UserError for an unknown set or split, a DATA_DIR that does not exist, channels that the set does not have, and
    data that cannot be had (for a folder, see `pictures.load`).
    """
    name = full_name(name)
    if split not in ('train', 'test'):
        raise UserError(f'unknown split {split!r}: it is train or test')
    if channels not in (None, 1, 3) or size < 1:
        raise UserError(f'{size}x{size} pictures of {channels} channels: channels must be 1 or 3, and the size at least 1')
    if name not in NAMES:
        return _load_folder(name, split, size, channels or 3), None
    if name == 'stacked_mnist' and channels not in (None, 3):
        raise UserError(f'stacked_mnist has 3 channels, a digit in each, not {channels}: use --channels 3')
    images, labels = mnist.load(name.removeprefix('stacked_'), split, DATA_DIR or os.environ.get('GAN_DATA_DIR', ''))
    if name == 'stacked_mnist':
        images, labels = stack(images, labels, STACKED[split])
    if size != 28:
        fitted = np.empty([len(images), size, size, images.shape[3]], np.uint8)
        for image, out in zip(images, fitted, strict=True):
            out[:] = np.array(Image.fromarray(image.squeeze()).resize([size, size], Image.Resampling.BICUBIC)).reshape(out.shape)
        images = fitted
    return images if channels in (None, images.shape[3]) else images.repeat(channels, axis=3), labels


def stack(images, labels, count):
    """`count` pictures of three digits each, drawn at random, one in each colour channel: 1,000 modes to be found.

    images uint8 [N, 28, 28, 1], labels uint8 [N] -> uint8 [count, 28, 28, 3], uint16 [count], the three-digit numbers.
    The same for everybody. From Metz et al. 2016 (arXiv:1611.02163), section 3.3.1.
    """
    drawn = np.random.RandomState(0).randint(len(images), size=[count, 3])      # NumPy keeps this stream for ever
    return (np.concatenate([images[column] for column in drawn.T], axis=3),
            (labels[drawn] @ np.array([100, 10, 1])).astype(np.uint16))


def fingerprint(name, size, channels):
    """A text that changes with the pictures in a folder, once decoded; '' for the other sets, which never change."""
    name = full_name(name)
    return '' if name in NAMES else pictures.load(name, size, channels).fingerprint


def _load_folder(folder, split, size, channels):
    found = pictures.load(folder, size, channels)
    held = max(1, min(len(found.images) // HELD_OUT, HELD_OUT_BYTES // (size * size * channels)))
    held += not _shuffles(len(found.images) - held)
    images = found.images[:held] if split == 'test' else found.images[held:]
    grey = f', {found.colour:,} of them turned grey (--channels 3 keeps the colour)' if found.colour else ''
    print(f'{folder}: {len(found.images):,} pictures of {size}x{size}x{channels}{grey}; '
          f'{len(images):,} to {split} with ({found.told})')
    return np.asarray(images) if images.nbytes <= IN_MEMORY else images


def stored(images):
    """The whole of `images` uint8 [N, H, W, C] as float32 in [-1, 1], from a local variable that no checkpoint holds."""
    return _scaled(_store(images))


def batches(images, batch_size):
    """Returns x float32 [batch_size, H, W, C] in [-1, 1], the next batch in every session call that reads it.

    images: uint8 [N, H, W, C]. They are held in the local variable `images`, which local_variables_initializer() fills
    and no checkpoint holds; or, where they take more than IN_MEMORY, read from `images` batch by batch. The saved variable
    `position` counts the images served: with the graph's seed it is all the state there is. Every image comes once per
    epoch, in an order of its own; a batch may run over into the next epoch.
    Raises UserError unless 1 <= batch_size <= N, and for the few N that the shuffle cannot do (4**k + 1 from 65,537).
    """
    n = len(images)
    if not 1 <= batch_size <= n:
        raise UserError(f'BATCH_SIZE is {batch_size}, but must be from 1 to the number of images, {n:,}')
    if not _shuffles(n):
        raise UserError(f'{n:,} images are one too many to be shuffled: leave one out')
    position = tf.get_variable('position', shape=[], dtype=tf.int64, initializer=tf.zeros_initializer(),
                               trainable=False, use_resource=True)
    advanced = tf.assign_add(position, batch_size)
    tf.add_to_collection('batches', (advanced.op, batch_size, n))  # for run.py, which counts epochs
    start = advanced - batch_size
    served = start + tf.range(batch_size, dtype=tf.int64)  # [B]
    epoch, offset = served // n, served % n
    # The shuffle keeps only the low bits of its key, 8 of each word for N <= 65,536: spread seed and epoch over them.
    stream = ((tf.get_default_graph().seed or 0) & 0x7FFFFFFF) << 32 | zlib.crc32(b'shuffle')
    keys = tf.stack([tf.random.stateless_uniform([3], [stream, e], None, None, tf.int32, alg='philox')
                     for e in (epoch[0], epoch[0] + 1)])  # [2, 3]: B <= N, so a batch sees two epochs at most
    index = tf.raw_ops.RandomIndexShuffle(  # fewer than 10 rounds leave orders correlated
        index=offset, seed=tf.gather(keys, epoch - epoch[0]), max_index=tf.constant(n - 1, tf.int64), rounds=12)
    if images.nbytes <= IN_MEMORY:
        return _scaled(tf.gather(_store(images), index))
    rows = tf.numpy_function(lambda index: images[index], [index], tf.uint8, name='read')
    rows.set_shape([batch_size, *images.shape[1:]])
    return _scaled(rows)


def _shuffles(n):
    return n <= 2**16 or not math.log(n - 1, 4).is_integer()  # RandomIndexShuffle: ceil(log2(n - 1)) bits are one too few


def _store(images):
    read = tf.numpy_function(lambda: np.asarray(images), [], tf.uint8, name='read')
    read.set_shape(images.shape)
    return tf.get_variable('images', initializer=read, trainable=False, use_resource=True,
                           collections=[tf.GraphKeys.LOCAL_VARIABLES])


def _scaled(pixels):
    return tf.cast(pixels, tf.float32) / 127.5 - 1.0
