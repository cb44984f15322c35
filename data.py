"""Data sets by name or folder, and batches of them as tensors of the graph."""
import contextlib
import math
import os
import zlib

from plumbing import cluster, folders, mnist
from plumbing.files import UserError, expanded, one_line

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

DATA_DIR = ''  # a folder (or one .npz) to look in first; when it is '', the environment variable GAN_DATA_DIR
NAMES = {'mnist': 'mnist', 'fashion_mnist': 'fashion_mnist', 'fashion-mnist': 'fashion_mnist', 'fashion': 'fashion_mnist',
         'stacked_mnist': 'stacked_mnist', 'stacked-mnist': 'stacked_mnist'}
CLASSES = {
    'mnist': tuple('0123456789'), 'stacked_mnist': tuple(f'{number:03d}' for number in range(1000)),
    'fashion_mnist': ('t-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag', 'ankle boot')}
STACKED = {'train': 128_000, 'test': 26_000}  # pictures of stacked_mnist, as in Lin et al. 2018 (arXiv:1712.04086)
HELD_OUT = 10  # one in so many pictures of a folder is in the test set
HELD_OUT_BYTES = 2**26  # at most, 5,461 pictures of 64x64x3: all of them are measured at once
MOST_RESIZED = 2**32  # bytes that MNIST and its like may take; a folder is cached on disk and may take more
IN_MEMORY = 2**28  # bytes; larger sets stay where they are, on disk or in memory, and only batches enter the graph


def full_name(name):
    """'mnist', 'fashion_mnist' or 'stacked_mnist', or the absolute path of a folder of pictures, or of half of them, FOLDER:left.

    A name that is no data set's is a folder if there is one, or if it looks like a path.
    Raises UserError for any other name.
    """
    if name.lower() in NAMES:
        return NAMES[name.lower()]
    path = os.path.abspath(expanded(name))
    if name and (os.path.exists(folders.halved(path)[0]) or os.sep in name or (os.altsep or os.sep) in name):
        return path
    raise UserError(f'unknown data set {name!r}: the known ones are {", ".join(NAMES)}; or give a folder of pictures')


def load(name, split='train', size=28, channels=None, unlabelled=False):
    """Reads 'mnist', 'fashion_mnist' (also 'fashion-mnist', 'fashion'), 'stacked_mnist' or a folder; split 'train' or 'test'.

    Returns images uint8 [N, size, size, channels] (channels 1 or 3, or None for those of the set), resized from 28x28 where
    size is not 28, and labels uint8 [N] (uint16 of stacked_mnist and of folders), and prints one line that says where they
    were found. The classes of a folder are its first-level subfolders, see `class_names`; labels are None where it has none.
    A tenth of a folder (or HELD_OUT_BYTES), drawn once and for all, is its test set. What is in its subfolder `unlabelled`,
    beside classes, has none: it is left out, but for the training pictures of who asks for `unlabelled` ones, whose labels,
    int32, are -1. Where a folder's pictures take more than IN_MEMORY, `images` is a `picturecache.OnDisk`.
    Raises UserError for an unknown set or split, a DATA_DIR that does not exist, channels that the set does not have, and
    data that cannot be had (for a folder, see `folders.load`) or would take more than MOST_RESIZED.
    """
    name = full_name(name)
    if split not in ('train', 'test'):
        raise UserError(f'unknown split {split!r}: it is train or test')
    _check_shape(size, channels)
    if name not in NAMES:
        return _load_folder(name, split, size, channels or 3, unlabelled)
    if name == 'stacked_mnist' and channels not in (None, 3):
        raise UserError(f'stacked_mnist has 3 channels, a digit in each, not {channels}: use --channels 3')
    _check_size(name, split, size, channels)
    images, labels = mnist.load(name.removeprefix('stacked_'), split, DATA_DIR or os.environ.get('GAN_DATA_DIR', ''))
    if name == 'stacked_mnist':
        images, labels = stack(images, labels, STACKED[split])
    if size != 28:
        fitted = np.empty([len(images), size, size, channels or images.shape[3]], np.uint8)
        for image, out in zip(images, fitted, strict=True):
            resized = np.array(Image.fromarray(image.squeeze()).resize([size, size], Image.Resampling.BICUBIC))
            out[:] = resized.reshape(size, size, -1)        # one channel fills three
        images = fitted
    return images if channels in (None, images.shape[3]) else images.repeat(channels, axis=3), labels


def load_pairs(source, target, split='train', size=28, channels=3):
    """(images of one folder, of the other, labels of the other's) as `load` reads them, in step: picture i belongs to picture i.

    They are those of equal file names, whatever their suffixes: FOLDER:left and FOLDER:right are in step too.
    Raises UserError, which names a file, if one has no partner, or if some cannot be decoded; and as `load` does.
    """
    source, target = full_name(source), full_name(target)
    for name in source, target:
        if name in NAMES:
            raise UserError(f'{name} has no files that could be the pairs of others: give two folders with the same file names')
    if source == target:
        raise UserError(f'{source} is given twice: --source is the folder of the inputs, --dataset that of what becomes of them')
    one, other = (folders.load(folder, size, channels) for folder in (source, target))
    if alone := folders.unpaired(one.files, other.files):
        has = 'both' if alone in one.files and alone in other.files else source if alone in one.files else target
        raise UserError(one_line(f'{alone} is in {has} alone: each of the {len(one.files):,} files in {source} and the '
                                 f'{len(other.files):,} in {target} needs a partner of the same name'))
    for folder, found in (source, one), (target, other):
        if found.broken and folders.halved(source)[0] != folders.halved(target)[0]:
            raise UserError(one_line(f'{folder}: {found.told}: their partners would be alone, so take both out'))
    images, labels = load(target, split, size, channels)
    return load(source, split, size, channels)[0], images, labels


def _check_shape(size, channels):
    if channels not in (None, 1, 3) or size < 1:
        raise UserError(f'{size}x{size} pictures of {channels} channels: channels must be 1 or 3, and the size at least 1')


def _check_size(name, split, size, channels):
    count = STACKED[split] if name == 'stacked_mnist' else mnist.PARTS[f'x_{split}'][1][0]
    channels = channels or (3 if name == 'stacked_mnist' else 1)
    need = count * size * size * channels
    if need > MOST_RESIZED:
        most = math.isqrt(MOST_RESIZED // (count * channels))
        raise UserError(f'{name} in {size}x{size}x{channels} would take {-(-need // 2**30):,} GiB, more than '
                        f'{MOST_RESIZED // 2**30}: pictures of {most}x{most} are the largest (--image-size {most})')


def class_names(name, size=28, channels=None, needed=False):
    """The names of a data set's classes, in the order of their labels, or None where it has none.

    A folder's are its first-level subfolders in alphabetical order but for `unlabelled`; there must be two at least, and no
    picture beside them.
    Raises UserError, which says why, if they are `needed` and the folder has none, or one with fewer than two pictures to train
    with, and as `load` does.
    """
    name = full_name(name)
    _check_shape(size, channels)
    if name in CLASSES:
        return CLASSES[name]
    found = folders.load(name, size, channels or 3)
    if needed and found.labels is None:
        raise UserError(f'{name} has no classes: {found.classless}')
    if needed:
        trained = np.bincount(found.labels[_held_out(found, size, channels or 3):], minlength=len(found.classes))
        few = int(trained.argmin())
        if trained[few] < 2:
            raise UserError(one_line(
                f'the class {found.classes[few]!r} of {name} has {trained[few]} of its {(found.labels == few).sum()} pictures to '
                'train with (the others are held out), and it takes 2: add some, or remove that subfolder'))
    return found.classes or None


def stack(images, labels, count):
    """`count` pictures of three digits each, drawn at random, one in each colour channel: 1,000 modes to be found.

    images uint8 [N, 28, 28, 1], labels uint8 [N] -> uint8 [count, 28, 28, 3], uint16 [count], the three-digit numbers.
    The same for everybody. From Metz et al. 2016 (arXiv:1611.02163), section 3.3.1.
    """
    drawn = np.random.RandomState(0).randint(len(images), size=[count, 3])      # NumPy keeps this stream for ever
    return (np.concatenate([images[column] for column in drawn.T], axis=3),
            (labels[drawn] @ np.array([100, 10, 1])).astype(np.uint16))


def few_labels(labels, count, seed=0):
    """The indices [count] of a small labelled subset, as many of each class as of every other; drawn once for a seed.

    labels: whole numbers [N] from 0 to K - 1, or -1 where there is none. The first K are one of each class, in their order, and
    so on. A larger count of the same seed contains the smaller ones.
    Raises UserError where count is not a multiple of K, or a class has too few examples.
    """
    labels = np.asarray(labels)
    k = int(labels.max()) + 1
    each, rest = divmod(count, k)
    if rest or not each:
        raise UserError(f'{count} labelled examples of {k} classes: give --labels a multiple of {k}')
    order = np.random.RandomState(seed).permutation(len(labels))                # NumPy keeps this stream for ever
    drawn = [order[labels[order] == c][:each] for c in range(k)]
    if short := [c for c in range(k) if len(drawn[c]) < each]:
        raise UserError(f'class {short[0]} has {len(drawn[short[0]])} examples, fewer than the {each} to be labelled: '
                        'give fewer --labels, or that class more pictures')
    return np.stack(drawn, 1).ravel()


def labelled(images, labels, count, seed, batch_size):
    """The next batch of the few examples of `few_labels`: (images, labels) as `batches` returns them, [B, ...] and [B].

    B: batch_size, or count where that is less. The run's labelled.png shows the first ones of each class.
    Raises UserError as `few_labels` does, and if several workers need more.
    """
    few = few_labels(labels, count, seed)
    if len(few) < (whole := min(batch_size, len(few)) * cluster.size()):
        raise UserError(f'{len(few)} labelled pictures are fewer than the {whole} of a step of {cluster.size()} workers: '
                        'give more --labels, or train in one process')
    tf.add_to_collection('labelled', images[few])     # for run.py, which draws them
    return batches((images[few], labels[few]), min(batch_size, len(few)), 'labelled')


def fingerprint(name, size, channels):
    """A text that changes with the pictures in a folder, once decoded; '' for the other sets, which never change."""
    name = full_name(name)
    return '' if name in NAMES else folders.load(name, size, channels).fingerprint


def _load_folder(folder, split, size, channels, unlabelled):
    found = folders.load(folder, size, channels)
    held, count = _held_out(found, size, channels), _labelled(found)
    some = unlabelled and split == 'train' and count < len(found.images)
    part = slice(held) if split == 'test' else slice(held, None if some else count)
    images, labels = found.images[part], None if found.labels is None else found.labels[part]
    if some:
        labels = np.concatenate([labels.astype(np.int32), np.full(len(found.images) - count, -1, np.int32)])
    grey = f', {found.colour:,} of them turned grey (--channels 3 keeps the colour)' if found.colour else ''
    without = f', {len(found.images) - count:,} without a class{"" if some else " left out"}' if count < len(found.images) else ''
    print(one_line(f'{folder}: {len(found.images):,} pictures of {size}x{size}x{channels}{grey}{without}; '
                   f'{len(images):,} to {split} with ({found.told})'))
    return np.asarray(images) if images.nbytes <= IN_MEMORY else images, labels


def _held_out(found, size, channels):
    """How many of a folder's pictures, the first ones, are its test set."""
    count = _labelled(found)
    held = max(1, min(count // HELD_OUT, HELD_OUT_BYTES // (size * size * channels)))
    return held + (not _shuffles(count - held))


def _labelled(found):
    """How many of a folder's pictures, the first ones, have a class; all of them where there are no classes."""
    return len(found.images) if found.labels is None else len(found.labels)


def stored(images, name='images'):
    """The whole of `images` uint8 [N, H, W, C] as float32 in [-1, 1], from a local variable that no checkpoint holds: `name`."""
    kept = _store(images, name)
    with tf.name_scope('scale'):
        return _scaled(kept)


def batches(arrays, batch_size, name=''):
    """The next batch in every session call that reads it: of images, or of several arrays [N, ...] with one shuffle for all.

    arrays: images uint8 [N, H, W, C], for which a tensor x float32 [batch_size, H, W, C] in [-1, 1] is returned; or a tuple,
    such as (images, labels) or (images, other_images), for which a tuple of tensors is: whole numbers [N] become
    int32 [batch_size]. Sets that are to be shuffled apart take a call each, with a `name` of its own, which is its scope.
    The arrays are held in local variables, which local_variables_initializer() fills and no checkpoint holds; or, where
    one takes more than IN_MEMORY, it is read batch by batch. The saved variable `position` counts the examples served: with
    the graph's seed it is all the state there is. Every example comes once per epoch, in an order of that epoch's own; a
    batch may run over into the next epoch.
    Raises UserError unless 1 <= batch_size <= N, and for the few N that the shuffle cannot do (4**k + 1 from 65,537).
    """
    several = isinstance(arrays, tuple)
    arrays = arrays if several else (arrays,)
    n = len(arrays[0])
    cluster.note(arrays)
    if any(len(array) != n for array in arrays):
        raise ValueError(f'the arrays have {", ".join(str(len(array)) for array in arrays)} examples: pairs take equal numbers')
    with tf.variable_scope(name) if name else contextlib.nullcontext():
        index = _next_indices(n, batch_size, f'shuffle{name}')
        found = tuple(_gathered(array, index, 'images' if i == 0 else f'images_{i}') for i, array in enumerate(arrays))
    return found if several else found[0]


def _next_indices(n, batch_size, stream):
    """Indices int64 [batch_size] of the next examples of n, shuffled anew in each epoch; stream: a name for the order."""
    whole = batch_size * cluster.size()
    if not 1 <= whole <= n:
        raise UserError(f'BATCH_SIZE is {whole}, but must be from 1 to the number of images, {n:,}')
    if not _shuffles(n):
        raise UserError(f'{n:,} images are one too many to be shuffled: leave one out')
    position = tf.get_variable('position', shape=[], dtype=tf.int64, initializer=tf.zeros_initializer(),
                               trainable=False, use_resource=True)
    with tf.name_scope('shuffle'):
        advanced = tf.assign_add(position, whole)
        tf.add_to_collection('batches', (advanced.op, whole, n))  # for run.py, which counts epochs
        start = cluster.first_row(advanced - whole, batch_size)
        served = start + tf.range(batch_size, dtype=tf.int64)  # [B]
        epoch, offset = served // n, served % n
        # The shuffle keeps only the low bits of its key, 8 of each word for N <= 65,536: spread seed and epoch over them.
        key = ((tf.get_default_graph().seed or 0) & 0x7FFFFFFF) << 32 | zlib.crc32(stream.encode())
        keys = tf.stack([tf.random.stateless_uniform([3], [key, e], None, None, tf.int32, alg='philox')
                         for e in (epoch[0], epoch[0] + 1)])  # [2, 3]: B <= N, so a batch sees two epochs at most
        return tf.raw_ops.RandomIndexShuffle(  # fewer than 10 rounds leave orders correlated
            index=offset, seed=tf.gather(keys, epoch - epoch[0]), max_index=tf.constant(n - 1, tf.int64), rounds=12)


def _shuffles(n):
    return n <= 2**16 or not math.log(n - 1, 4).is_integer()  # RandomIndexShuffle: ceil(log2(n - 1)) bits are one too few


def _gathered(array, index, name):
    if array.ndim == 1:
        if array.dtype.kind not in 'iu':
            raise ValueError(f'labels are whole numbers, not {array.dtype}')
        labels = _store(np.asarray(array, np.int32), name.replace('images', 'labels'))
        with tf.name_scope('label'):
            return tf.gather(labels, index)
    images = _store(array, name) if array.nbytes <= IN_MEMORY else None
    with tf.name_scope('scale'):
        if images is not None:
            return _scaled(tf.gather(images, index))
        rows = tf.numpy_function(lambda index: array[index], [index], tf.uint8, name='read')
        rows.set_shape([*index.shape, *array.shape[1:]])
        return _scaled(rows)


def _store(array, name):
    read = tf.numpy_function(lambda: np.asarray(array), [], array.dtype, name=f'{name}/read')
    read.set_shape(array.shape)
    return tf.get_variable(name, initializer=read, trainable=False, use_resource=True,
                           collections=[tf.GraphKeys.LOCAL_VARIABLES])


def _scaled(pixels):
    return tf.cast(pixels, tf.float32) / 127.5 - 1.0
