"""What the translations from picture to picture share: the kinds of pictures, the networks, and how near to the truth they get.

Read by cogan.py, pix2pix.py and cyclegan.py. Pictures are [B, s, s, C] in [-1, 1], and so is what is made of them.

The U-Net and the discriminator of patches are those of Isola et al. 2016 (arXiv:1611.07004, section 6.1), the generator of
residual blocks is that of Zhu et al. 2017 (arXiv:1703.10593, section 7.2), after Johnson et al. 2016 (arXiv:1603.08155). All
are smaller, and take pictures of 28 pixels as well as of 64.
"""
import contextlib
import io
import math
import typing

import data
import ops
from plumbing import cluster, features, files, measures

import numpy as np
import tensorflow.compat.v1 as tf

LINE = 0.25              # of white: edges above it are lines
SHRUNK = 4               # times smaller are the pictures that `small` leaves: 7 pixels of 28
COUNT = 2000             # test pictures that are compared with the truth, at most
SLANT = 0.5              # pixels that a row is moved by, more than the row below it


# Kinds of pictures

def edges(x):
    """The outer edges of what is bright: the maximum of each 3x3 neighbourhood less the pixel itself, in units of [0, 1].

    Dilation minus picture, the external morphological gradient (Rivest, Soille & Beucher 1993); a pair of digits and edges as
    in Liu & Tuzel 2016, arXiv:1606.07536, section 4.
    """
    with tf.name_scope('edges'):
        return tf.nn.max_pool2d(x, 3, 1, 'SAME') - x - 1          # 2 (dilated - x) / 2 - 1


def negative(x):
    """White for black: -x."""
    with tf.name_scope('negative'):
        return -x


def lines(x):
    """A drawing [B, s, s, 1] in black and white: where the `edges` of the grey picture are above LINE of white."""
    with tf.name_scope('lines'):
        return 2 * tf.cast(edges(grey(x)) > 2 * LINE - 1, tf.float32) - 1


def grey(x):
    """x [B, s, s, 3] -> its luma [B, s, s, 1], 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); grey pictures stay as they are."""
    with tf.name_scope('grey'):
        return x if x.shape[3] == 1 else tf.reduce_sum(x * tf.constant([0.299, 0.587, 0.114]), 3, keepdims=True)


def small(x):
    """Squares of SHRUNK x SHRUNK pixels, each of the mean of its pixels: all that SHRUNK times smaller pictures know."""
    with tf.name_scope('small'):
        return ops.unpool(tf.nn.avg_pool2d(x, SHRUNK, SHRUNK, 'VALID'), SHRUNK)


def holed(x):
    """x with a hole in the middle, half as wide and as high, that is grey."""
    with tf.name_scope('holed'):
        side = x.shape[1]
        inside = np.zeros([side, side, 1], bool)
        inside[side // 4:side - side // 4, side // 4:side - side // 4] = True
        return tf.where_v2(inside, tf.zeros([]), x)


def slanted(x, by=SLANT):
    """x leaning to the right: each row is moved by `by` pixels more than the one below it, the middle stays; black comes in."""
    with tf.name_scope('slanted'):
        row = np.float32([1, by, -by * (x.shape[1] - 1) / 2, 0, 1, 0, 0, 0])        # from column c + by (r - middle)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=x, transforms=row[None], output_shape=x.shape[1:3].as_list(), fill_value=-1.0, interpolation='BILINEAR',
            fill_mode='CONSTANT')


TASKS = {'edges': lines, 'colour': grey, 'super': small, 'inpaint': holed, 'negative': negative, 'slant': slanted}


def task(name, dataset, size, channels):
    """The function of TASKS from a picture to what it is to be made from again.

    Raises files.UserError, in one line, where such pictures cannot be made of the data set's.
    """
    if name == 'colour' and (channels != 3 or data.full_name(dataset) in ('mnist', 'fashion_mnist')):
        raise files.UserError('the task colour takes colour pictures: a folder, or stacked_mnist, with --channels 3')
    if name == 'super' and size % SHRUNK:
        raise files.UserError(f'the task super makes pictures {SHRUNK} times smaller: IMAGE_SIZE must be a multiple of {SHRUNK}')
    return TASKS[name]


class Pairs(typing.NamedTuple):
    """A batch of pairs, x [B, s, s, c] and y [B, s, s, C], and all test pairs, with the classes [N] of their y, or None."""
    x: tf.Tensor
    y: tf.Tensor
    test_x: tf.Tensor
    test_y: tf.Tensor
    labels: np.ndarray | None


def pairs(source, dataset, name, size, channels, batch_size):
    """The Pairs of a data set: what the task `name` makes of its pictures and they, or pictures of `source` and theirs.

    source: '' or a folder; see `data.load_pairs`. In each epoch every pair comes once. Raises files.UserError as `task`,
    data.load and data.load_pairs do.
    """
    make = None if source else task(name, dataset, size, channels)
    parts = []
    for split in 'train', 'test':
        if make:
            images, labels = data.load(dataset, split, size, channels)
            parts.append(((images,), labels))
        else:
            *images, labels = data.load_pairs(source, dataset, split, size, channels)
            parts.append((tuple(images), labels))
    (train, _), (test, labels) = parts
    *x, y = data.batches(train, batch_size)
    with tf.variable_scope('test'):
        *test_x, test_y = [data.stored(np.asarray(images), name) for images, name in zip(test, ('images', 'truth'), strict=False)]
        test_x = make(test_y) if make else test_x[0]
    return Pairs(make(y) if make else x[0], y, test_x, test_y, None if data.full_name(dataset) == 'stacked_mnist' else labels)


class Unpaired(typing.NamedTuple):
    """Batches of two kinds, x and y [B, s, s, C], which do not belong together; all test pictures of both, in pairs if `paired`,
    and the classes [N] that those of x show, or None."""
    x: tf.Tensor
    y: tf.Tensor
    test_x: tf.Tensor
    test_y: tf.Tensor
    labels: np.ndarray | None
    paired: bool


def unpaired(source, dataset, name, size, channels, batch_size):
    """The Unpaired of two sets, `source` and `dataset`; or of half of one as `reversible` makes it, and of its other half.

    Each set is shuffled on its own. Raises files.UserError as data.load does.
    """
    make = None if source else reversible(name)[0]
    train_y, _ = data.load(dataset, 'train', size, channels)
    test_y, labels = data.load(dataset, 'test', size, channels)
    if make:
        train_x, train_y = train_y[1::2], train_y[::2]          # no picture is in both kinds
    else:
        if data.full_name(source) == data.full_name(dataset):
            raise files.UserError(f'{source} is given twice: --source and --dataset are two kinds of pictures')
        train_x, _ = data.load(source, 'train', size, channels)
        test_x, labels = data.load(source, 'test', size, channels)[0], None
    x, y = data.batches(train_x, batch_size, 'source'), data.batches(train_y, batch_size)
    with tf.variable_scope('test'):
        test_y = data.stored(np.asarray(test_y), 'truth')
        test_x = make(test_y) if make else data.stored(np.asarray(test_x))
    labels = None if data.full_name(dataset) == 'stacked_mnist' else labels
    return Unpaired(make(x) if make else x, y, test_x, test_y, labels, bool(make))


def reversible(name):
    """(the function from pictures to those of the kind `name`, the function back, or None where there is none)."""
    return {'negative': (negative, negative), 'slant': (slanted, lambda x: slanted(x, -SLANT)), 'edges': (edges, None)}[name]


def shown(x, channels):
    """Pictures x [B, s, s, c] beside others of `channels`: grey ones get three equal ones."""
    return tf.tile(x, [1, 1, 1, channels // x.shape[3]])


# Networks

def unet(x, channels, width, training, dropout):
    """x [B, s, s, c] -> [B, s, s, channels]: down to one pixel and up again, each size also by a short cut past the smaller ones.

    Isola et al. 2016, section 6.1.1. Each layer halves or doubles the side; an odd side is rounded up on the way down and cropped
    on the way up, so that any size will do. The last but one has `width` channels, each further in twice as many, 8 `width` at
    most. The noise is `dropout`, the share of the numbers that are 0, in the three innermost layers of the way up.
    """
    depth = math.ceil(math.log2(x.shape[1]))
    filters = [width * min(2 ** level, 8) for level in range(depth)]
    h, kept = x, []
    for level, count in enumerate(filters):                                          # 28 -> 14, 7, 4, 2, 1
        kept.append(h)
        last = level in (0, depth - 1)                                               # batch norm of one pixel knows no variance
        h = ops.conv(h, count, f'down{level + 1}', bias=last, activation=tf.nn.leaky_relu if last else None)
        if not last:
            h = ops.batch_norm(h, training, f'down{level + 1}_norm', activation=tf.nn.leaky_relu)
    for level in range(depth - 1, 0, -1):
        h = ops.conv_transpose(h, filters[level - 1], f'up{level + 1}', bias=False)
        h = ops.batch_norm(h, training, f'up{level + 1}_norm', activation=tf.nn.relu)
        h = h[:, :kept[level].shape[1], :kept[level].shape[2]]
        if training and level >= depth - 3:
            h = ops.dropout(h, dropout, f'up{level + 1}_dropout')
        h = tf.concat([h, kept[level]], 3)
    return ops.conv_transpose(h, channels, 'up1', activation=tf.tanh)[:, :x.shape[1], :x.shape[2]]


def resnet(x, channels, width, blocks):
    """x [B, s, s, c], s a multiple of 4 -> [B, s, s, channels], by `blocks` residual blocks at a quarter of s.

    Zhu et al. 2017, section 7.2, but for the borders: zeros around the pictures instead of their reflections. The first and the
    last layer but one have `width` channels, the blocks 4 `width`.
    Raises files.UserError for other sizes.
    """
    if x.shape[1] % 4 or x.shape[1] < 8:
        raise files.UserError(f'IMAGE_SIZE must be a multiple of 4, and at least 8, not {x.shape[1]}')
    def layer(h, filters, name, activation=tf.nn.relu, convolve=ops.conv, **how):
        return ops.instance_norm(convolve(h, filters, name, bias=False, **how), f'{name}_norm', activation)

    h = layer(x, width, 'first', size=7, stride=1)                                   # [B, s, s, width]
    h = layer(h, 2 * width, 'down1', size=3)                                         # [B, s / 2, s / 2, 2 width]
    h = layer(h, 4 * width, 'down2', size=3)                                         # [B, s / 4, s / 4, 4 width]
    for number in range(1, blocks + 1):
        y = layer(h, 4 * width, f'block{number}a', size=3, stride=1)
        h += layer(y, 4 * width, f'block{number}b', None, size=3, stride=1)
    h = layer(h, 2 * width, 'up1', convolve=ops.conv_transpose, size=3)
    h = layer(h, width, 'up2', convolve=ops.conv_transpose, size=3)
    return ops.conv(h, channels, 'last', size=7, stride=1, activation=tf.tanh)


def patchgan(x, width, layers, norm):
    """x [B, s, s, c] -> logits [B, h, w, 1], one for each patch of the pictures. Isola et al. 2016, section 6.1.2.

    The first `layers` layers halve the side, two more do not; a logit sees a patch of 16, 34, 70 pixels a side with 1, 2, 3
    layers; the paper has 3. norm: function (h, name=, activation=) of a layer; the first and the last have none.
    """
    h = ops.conv(x, width, 'conv1', activation=tf.nn.leaky_relu)
    for number in range(2, layers + 2):
        h = ops.conv(h, width * min(2 ** (number - 1), 8), f'conv{number}', stride=2 if number <= layers else 1, bias=False)
        h = norm(h, name=f'conv{number}_norm', activation=tf.nn.leaky_relu)
    return ops.conv(h, 1, 'logits', stride=1)


def pooled(fake, name, size):
    """Pictures made [B, s, s, c], half of them exchanged for earlier ones, to be shown to the discriminator `name`.

    The pool of Shrivastava et al. 2016, arXiv:1612.07828, as Zhu et al. 2017 have it (section 4): as soon as it holds `size`
    pictures, each new one takes the place of a random one with a chance of 1 / 2, and that one is shown instead. It changes with
    each update of the discriminator. Pool and count are variables, so that a resumed run has them. A size of 0: no pool.
    Raises UserError for a smaller pool than B, and where there are several workers.
    """
    if not size:
        return fake
    count = fake.shape[0]
    if count > size:
        raise files.UserError(f'BATCH_SIZE is {count}, more than the POOL of {size}')
    if cluster.size() > 1:
        raise files.UserError('several workers would have to share the pool of pictures: train with one, or with --pool 0')
    with ops.network(name), tf.variable_scope('pool'):
        pool = tf.get_variable('pictures', [size, *fake.shape[1:]], initializer=tf.zeros_initializer(), trainable=False)
        filled = tf.get_variable('filled', [], tf.int32, initializer=tf.zeros_initializer(), trainable=False)
        before = filled.read_value()
        full = before >= size
        drawn = tf.math.top_k(ops.uniform([size], 'places'), count).indices           # all different
        places = tf.where_v2(full, drawn, (before + tf.range(count)) % size)          # [B]
        kept = tf.gather(pool, places)
        swapped = (ops.uniform([count], 'swapped') < 0.5)[:, None, None, None]
        shown = tf.where_v2(full & swapped, kept, fake)
        new = tf.where_v2(~full | swapped, fake, kept)

        def update():
            with tf.control_dependencies([shown]):                                    # what was kept has been read
                advance = filled.assign(tf.minimum(before + count, size), read_value=False)
                return tf.group(pool.scatter_update(tf.IndexedSlices(new, places)), advance)
        ops.with_update(update)
        return shown


# Measures

def some(x):
    """COUNT of x [N, ...], or all: the pictures that `measures.subset` draws, and so those that run.train measures."""
    return tf.gather(x, measures.subset(np.arange(x.shape[0]), min(COUNT, x.shape[0])))


def agreement(translate, given, truth, name='test'):
    """How near translate(given) is to the truth, both [N, s, s, C], the means over the pictures: {name_measure: scalar tensor}.

    l1: mean distance of a pixel, in units of [0, 1]; psnr: 10 log10(1 / mean squared error) in decibels; ssim: Wang et al. 2004,
    of windows of 11 pixels, so that pictures of fewer have none.
    """
    given, truth, channels = some(given), some(truth), given.shape[3]

    def block(both):
        found, y = (translate(both[..., :channels]) + 1) / 2, (both[..., channels:] + 1) / 2
        columns = [tf.reduce_mean(tf.abs(found - y), [1, 2, 3]), tf.image.psnr(found, y, 1.0)]
        if truth.shape[1] >= 11:
            columns.append(tf.image.ssim(found, y, 1.0))
        return tf.stack(columns, 1)

    means = tf.reduce_mean(ops.in_blocks(block, tf.concat([given, truth], 3)), 0)
    return {f'{name}_{measure}': mean for measure, mean in zip(('l1', 'psnr', 'ssim'), tf.unstack(means), strict=False)}


def both_ways(g, f, found, dataset, name):
    """How good two translators are that should invert each other, g from x to y and f back: {name: scalar tensor}.

    The distance from x, and from y, of the way there and back; of `paired` pictures also `agreement` of both ways. What f makes
    is no picture of the data set, but what undoes the kind `name` makes it one again: so the set's classifier tells its share of
    right classes and its Frechet distance, as run.train tells those of g.
    """
    cycles = agreement(lambda x: f(g(x)), found.test_x, found.test_x, 'test_cycle') | agreement(
        lambda y: g(f(y)), found.test_y, found.test_y, 'test_back_cycle')
    numbers = {key: scalar for key, scalar in cycles.items() if key.endswith('l1')}
    if found.paired:
        numbers |= agreement(g, found.test_x, found.test_y, 'test') | agreement(f, found.test_y, found.test_x, 'test_back')
        undo = reversible(name)[1]
        if undo and data.full_name(dataset) in features.CLASSIFIERS and found.y.shape[1:] == [28, 28, 1]:
            numbers |= read_by_classifier(lambda y: undo(f(y)), found.test_y, found.labels, data.full_name(dataset), 'test_back')
    return numbers


def read_by_classifier(translate, given, labels, dataset, name):
    """Of translate(given [N, 28, 28, 1]): the share in which the set's classifier sees the classes `labels` [N], and the Frechet
    distance from as many training pictures: {name_accuracy, name_frechet: scalar tensor}."""
    given = some(given)
    count, labels = given.shape[0], measures.subset(labels, given.shape[0])
    with contextlib.redirect_stdout(io.StringIO()):                     # where the data are has been printed already
        reference = features.features(measures.subset(data.load(dataset)[0], count), dataset)[0]
    weights = features.read_weights(dataset)

    def read(x):
        images = tf.round((tf.clip_by_value(translate(x), -1, 1) + 1) * 127.5) / 127.5 - 1        # as bytes would be
        return tf.concat(features.classifier(images, weights), 1)                                 # [B, 64 + 10]

    found, size = ops.in_blocks(read, given), reference.shape[1]
    return {f'{name}_accuracy': ops.outside(lambda found: (found[:, size:].argmax(1) == labels).mean(), found),
            f'{name}_frechet': ops.outside(lambda found: measures.frechet_distance(reference, found[:, :size]), found)}
