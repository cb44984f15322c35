"""Does a picture show the class it was asked for? Classifiers that are trained here, and the numbers per class."""
import contextlib
import hashlib
import zipfile
import zlib

from plumbing import cache, features, files, hardware, measures

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

EPOCHS = 10          # passes over the pictures
UPDATES = 300        # at least, where there are few
BATCH = 128          # of them in an update, or all where there are fewer
RATE = 4e-3          # of Adam: rises for a fifth of the updates, then falls to 0, both in a straight line
SMOOTHING = 0.05     # of the labels
SHIFT = 1.0          # pixels that a picture is shifted by, at most, in both directions, each time that it is trained with
TURN = 0.05          # radians that it is turned by, and the share that it is resized by, at most
SIDE = 28            # pixels on a side of what it looks at; see `small`
KEPT = 1000          # pictures: what is learned of fewer is learned so fast that it is not kept
LARGEST = 2**26      # bytes of what is read from the cache, at most: 2**16 classes take 17 MB
VERSION = 1          # of the rest of it: a change makes what is kept in the cache useless


class Judge:
    """A classifier of the kind that the metrics are defined by (`features.classifier`), for C channels and K classes."""

    def __init__(self, channels, classes, weights=None):
        """weights: {name: array} of a trained one; those that random numbers of seed 0 give if None."""
        shapes = {name: (*shape[:-1], classes) if name == 'dense2' else shape for name, shape in features.SHAPES.items()}
        shapes['conv1'] = (*shapes['conv1'][:2], channels, shapes['conv1'][3])
        self.shapes = {f'{name}/{part}': shape[-1:] if part == 'b' else shape for name, shape in shapes.items() for part in 'wb'}
        with tf.Graph().as_default() as graph:
            self._images, self._labels = tf.placeholder(tf.uint8, [None, SIDE, SIDE, channels]), tf.placeholder(tf.int32, [None])
            self._rate = tf.placeholder(tf.float32, [])
            x = tf.cast(self._images, tf.float32) / 127.5 - 1
            step = tf.get_variable('step', [], tf.int64, initializer=tf.zeros_initializer(), trainable=False, use_resource=True)
            self._weights = {name: tf.get_variable(name, initializer=_start(name, shape) if weights is None else weights[name],
                                                   use_resource=True) for name, shape in self.shapes.items()}
            self._answers = tf.argmax(features.classifier(x, self._weights)[1], 1, output_type=tf.int32)
            _, logits = features.classifier(_moved(x, step), self._weights)
            targets = tf.one_hot(self._labels, classes) * (1 - SMOOTHING) + SMOOTHING / classes
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=targets, logits=logits))
            self._update = tf.train.AdamOptimizer(self._rate).minimize(loss, global_step=step)
            self._session = tf.Session(graph=graph, config=hardware.session_config(hardware.resolve('auto')))
            self._session.run(tf.global_variables_initializer())

    def train(self, images, labels):
        """Trains on images uint8 [N, H, W, C] and labels [N], in an order that is always the same."""
        images, random, batch = small(images), np.random.RandomState(0), min(BATCH, len(images))
        epochs = max(EPOCHS, -(-UPDATES * batch // len(images)))
        order = np.concatenate([random.permutation(len(images)) for _ in range(epochs)])
        update = self._session.make_callable(self._update, [self._images, self._labels, self._rate])
        steps = len(order) // batch
        for step in range(1, steps + 1):
            chosen = order[(step - 1) * batch:step * batch]
            update(images[chosen], labels[chosen], RATE * min(step / (0.2 * steps), (steps - step + 1) / (0.8 * steps), 1))

    def weights(self):
        return self._session.run(self._weights)

    def __call__(self, images):
        """uint8 [N, H, W, C] -> classes int32 [N]."""
        images = small(images)
        blocks = [images[i:i + 500] for i in range(0, len(images), 500)]
        return np.concatenate([self._session.run(self._answers, {self._images: block}) for block in blocks])


def small(images, chosen=None):
    """Pictures uint8 [N, H, W, C] as a judge looks at them, uint8 [N, SIDE, SIDE, C]: means of the pixels that fall together.

    chosen: indices of those to take, which need not fit into memory as they are.
    """
    if chosen is None and images.shape[1:3] == (SIDE, SIDE):
        return images
    chosen = np.arange(len(images)) if chosen is None else chosen
    found = np.empty([len(chosen), SIDE, SIDE, images.shape[3]], np.uint8)
    for index, out in zip(chosen, found, strict=True):
        picture = Image.fromarray(np.asarray(images[index]).squeeze())
        out[:] = np.asarray(picture.resize([SIDE, SIDE], Image.Resampling.BOX)).reshape(out.shape)
    return found


def _moved(x, step):
    """Pictures [N, SIDE, SIDE, C] in [-1, 1], each turned, resized and shifted a little, at random, about its centre."""
    turn, size, right, down = tf.unstack(tf.random.stateless_uniform([4, tf.shape(x)[0]], [0, step], -1, 1))
    a, b = (1 + TURN * size) * tf.cos(TURN * turn), (1 + TURN * size) * tf.sin(TURN * turn)
    # what is shown in column c and row r comes from column a c - b r + ... and row b c + a r + ...; the centre stays
    centre, zero = (SIDE - 1) / 2, tf.zeros_like(a)
    right, down = centre * (1 - a + b) + SHIFT * right, centre * (1 - a - b) + SHIFT * down
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x, transforms=tf.stack([a, -b, right, b, a, down, zero, zero], 1), output_shape=[SIDE, SIDE], fill_value=-1.0,
        interpolation='BILINEAR', fill_mode='NEAREST')


def _start(name, shape):
    """He et al. 2015, arXiv:1502.01852; biases start at 0."""
    deviation = (2 / np.prod(shape[:-1])) ** 0.5 if len(shape) > 1 else 0.0
    return lambda: tf.random.stateless_normal(shape, [0, zlib.crc32(name.encode())], stddev=deviation)


def trained(images, labels, classes):
    """A Judge trained on images uint8 [N, H, W, C] and their labels [N] from 0 to classes - 1."""
    judge = Judge(images.shape[3], classes)
    judge.train(images, labels)
    return judge


def trained_once(images, labels, classes):
    """`trained`, for real pictures: what was learned of them is kept in the user's cache, if they are many."""
    if len(images) < KEPT:
        return trained(images, labels, classes)
    recipe = VERSION, EPOCHS, UPDATES, BATCH, RATE, SMOOTHING, SHIFT, TURN, images.shape, classes
    digest = hashlib.sha256(repr(recipe).encode())
    for array in images, labels:
        digest.update(np.ascontiguousarray(array))
    path = cache.path('judges') / f'{digest.hexdigest()[:16]}.npz'
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LARGEST:
                raise ValueError('more than any judge has')
        with np.load(path) as archive:
            return Judge(images.shape[3], classes, {name: archive[name] for name in archive})
    except Exception:  # there is none, or it is damaged, which makes the parsers raise anything
        judge = trained(images, labels, classes)
    with contextlib.suppress(OSError):  # without a cache it is trained each time
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary, open(temporary, 'wb') as file:
            np.savez(file, **judge.weights())
    return judge


def row(reference, reference_labels, found, asked, answers, classes, accuracy=None, most=None):
    """What is to be known of pictures that were each asked to show a class, as a dict ready for JSON.

    reference [N, F] and its labels [N]: features of real pictures; found [M, F]: those of the pictures; asked, answers [M]: the
    class each was asked for, and the one that a classifier takes it for; accuracy: of a classifier trained on them, if it was;
    most [K]: how many pictures of each class may be compared, for distances of equal counts, which they depend on.
    gan_test: the share that is right, and gan_test_worst: that of the worst class; gan_train: `accuracy` (Shmelkov et al. 2018,
    arXiv:1807.09499); class_frechet: the mean of the Frechet distances within the classes, and class_frechet_worst: the largest
    (left out where no class has enough pictures); by_class: the numbers of each class, [K], None where there are none.
    """
    asked = np.asarray(asked, np.int64)
    total = np.bincount(asked, minlength=classes)
    right = np.bincount(asked[asked == answers], minlength=classes)
    shares = [float(r / t) if t else None for r, t in zip(right, total, strict=True)]
    counts = np.minimum(total, np.bincount(reference_labels, minlength=classes))
    counts = counts if most is None else np.minimum(counts, most)
    within = [measures.frechet_distance(reference[reference_labels == c][:count], found[asked == c][:count])
              if count > found.shape[1] else None for c, count in enumerate(counts)]
    numbers = {'gan_test': float(right.sum() / total.sum()), 'gan_test_worst': min(s for s in shares if s is not None)}
    if accuracy is not None:
        numbers['gan_train'] = float(accuracy)
    if known := [distance for distance in within if distance is not None]:
        numbers |= {'class_frechet': sum(known) / len(known), 'class_frechet_worst': max(known)}
    return {**numbers, 'by_class': {'gan_test': shares, 'class_frechet': within}}


def confusions(asked, answers, classes):
    """[K, K]: in row i and column j the number of pictures that were asked to show class i and were taken for j."""
    pairs = np.asarray(asked, np.int64) * classes + answers
    return np.bincount(pairs, minlength=classes ** 2).reshape(classes, classes)
