"""Feature extractors for the metrics: a small classifier for MNIST and Fashion-MNIST, a fixed random network for the rest.

The classifier's 64 features are bounded (tanh), so that no input can lie far away and fool a nearest-neighbour measure,
and they must both classify the picture and reconstruct it (with a decoder that is thrown away after training). The second
task keeps thickness, slant and texture in the features: a classifier alone maps all pictures of a class to one point
(neural collapse, Papyan et al. 2020, arXiv:2008.08186) and would not see that a generator lacks variety.
`python -m benchmarks.train_evaluator` trained it.
"""
import functools
import hashlib
import math
import pathlib

from plumbing.files import UserError
from plumbing.measures import by_size

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

WEIGHTS = pathlib.Path(__file__).parents[1] / 'weights'
CLASSIFIERS = {     # data set: name of the classifier, sha256 over its arrays
    'mnist': ('evaluator-mnist-v1', '285d7559d22fdb9c594fddd31cf8d1178bb49480600f03d79cb706f14a62462f'),
    'fashion_mnist': ('evaluator-fashion_mnist-v1', 'af66b7897520bd85aa36f2d2992eb1a412b92f19c03c918a779d065571d89996'),
}
CHUNK = 2**26            # pixels that go through a network at once: 500 pictures, or fewer of more than 200x200x3
RANDOM = 'random-conv-v1 (untrained, seed 0)'   # for data sets without a classifier
SHAPES = {              # name: shape of the weight; 96,730 numbers with the biases
    'conv1': (3, 3, 1, 24), 'conv2': (3, 3, 24, 48), 'conv3': (3, 3, 48, 48), 'conv4': (3, 3, 48, 64),
    'dense1': (3 * 3 * 64, 64), 'dense2': (64, 10)}


def classifier(x, w):
    """Pictures x [N, 28, 28, 1] in [-1, 1], weights {name/w, name/b} -> (features [N, 64] in (-1, 1), logits [N, 10])."""
    def conv(h, name, stride):
        return tf.nn.leaky_relu(tf.nn.conv2d(h, w[name + '/w'], stride, 'SAME') + w[name + '/b'], 0.1)

    h = (x + 1) / 2                             # the background becomes 0, like the padding
    h = conv(h, 'conv1', 1)                     # [N, 28, 28, 24]
    h = conv(h, 'conv2', 2)                     # [N, 14, 14, 48]
    h = conv(h, 'conv3', 1)
    h = conv(h, 'conv4', 2)                     # [N, 7, 7, 64]
    h = tf.nn.avg_pool2d(h, 3, 2, 'VALID')      # [N, 3, 3, 64]
    h = tf.matmul(tf.reshape(h, [-1, 3 * 3 * 64]), w['dense1/w']) + w['dense1/b']
    features = tf.tanh(h)
    return features, tf.matmul(features, w['dense2/w']) + w['dense2/b']


def extractor(dataset, channels=1):
    """Returns `extract(images)` for a data set: uint8 [N, H, W, C] -> (features float32 [N, 64], probabilities [N, 10]).

    `mnist` and `fashion_mnist` have a classifier, and `stacked_mnist` has MNIST's on each channel, [N, 192] and [N, 1000];
    for everything else the network is an untrained one, with features [N, 64] in (-1, 1) of the pictures at 32x32, the same for
    everybody, and the probabilities are None: it sees coarse shape, colour and contrast, not meaning, and is good for comparing
    models on one data set, no more. Pictures of another size than the classifier's, and colour, are converted by `fitted`.
    Built once for a process, in a graph and session of its own, whatever graph is the default; a call adds no
    operation, so a training loop may call it as often as it likes. `extract.name` names the network and its version.
    Raises UserError if the weights are missing or altered, and `extract` does for images of the wrong size.
    """
    if dataset == 'stacked_mnist':
        return _on_each_channel(_extractor('mnist', 1))
    return _extractor(dataset, 1) if dataset in CLASSIFIERS else _extractor(None, channels)


def fitted(images, dataset):
    """Square pictures uint8 [N, H, H, C] as the set's classifier takes them, [N, 28, 28, 1]; unchanged for other sets.

    The mean of the channels, resized by the filter that data.load resizes with.
    """
    shape = images.shape[1:]
    if dataset not in CLASSIFIERS or images.dtype != np.uint8 or images.ndim != 4 or shape == (28, 28, 1) \
            or shape[0] != shape[1] or shape[2] not in (1, 3):
        return images   # `extract` says what is wrong
    resized = np.empty([len(images), 28, 28, 1], np.uint8)
    for image, out in zip(images, resized, strict=True):
        grey = Image.fromarray(np.rint(image.mean(2)).astype(np.uint8))
        out[:, :, 0] = grey.resize([28, 28], Image.Resampling.BICUBIC)
    return resized


def _on_each_channel(extract):
    """The extractor of one digit for stacked ones: features [N, 3 * 64], probabilities [N, 1000] of the three digits."""
    def extract_all(images):
        if images.shape[-1] != 3:
            raise UserError(f'stacked_mnist has 3 channels, but the images are {by_size(images.shape[1:])}')
        found, p = zip(*(extract(images[..., channel:channel + 1]) for channel in range(3)), strict=True)
        return np.concatenate(found, 1), np.einsum('na,nb,nc->nabc', *p).reshape(len(images), 1000)

    extract_all.name, extract_all.graph = f'{extract.name} on each channel', extract.graph
    return extract_all


def features(images, dataset):
    """Pictures uint8 [N, H, W, C] -> (features float32 [N, 64] in (-1, 1), class probabilities float32 [N, 10])."""
    return extractor(dataset, images.shape[-1])(images)


@functools.lru_cache
def _extractor(dataset, channels):
    graph = tf.Graph()
    with graph.as_default():
        shape = [28, 28, 1] if dataset else [None, None, channels]
        pictures = tf.placeholder(tf.uint8, [None, *shape])
        x = tf.cast(pictures, tf.float32) / 127.5 - 1
        if dataset:
            found, logits = classifier(x, read_weights(dataset))
            outputs = [found, tf.nn.softmax(logits)]
        else:
            outputs = [_random_network(x), tf.zeros([tf.shape(x)[0], 0])]
        run = tf.Session(graph=graph).make_callable(outputs, [pictures])
    name = CLASSIFIERS[dataset][0] if dataset else RANDOM

    def extract(images):
        images = fitted(images, dataset)
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
            raise UserError(f'images must be uint8 [N, H, W, C], not {images.dtype} {list(images.shape)}')
        if dataset and list(images.shape[1:]) != shape:
            raise UserError(f'images are {by_size(images.shape[1:])}, but {name} takes {by_size(shape)}')
        count = max(1, min(500, CHUNK // math.prod(images.shape[1:])))
        chunks = [run(images[i:i + count]) for i in range(0, len(images), count)]
        found, probabilities = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return found, probabilities if dataset else None

    extract.name, extract.graph = name, graph
    return extract


def _random_network(x):
    h = tf.image.resize(x, [32, 32], method=tf.image.ResizeMethod.AREA)
    for layer, width in enumerate([32, 64, 64]):                                # 16x16, 8x8, 4x4
        h = tf.nn.leaky_relu(tf.nn.conv2d(h, _random_weight([3, 3, h.shape[-1], width], layer), 2, 'SAME'), 0.2)
    return tf.tanh(tf.matmul(tf.reshape(h, [-1, 4 * 4 * 64]), _random_weight([4 * 4 * 64, 64], 3)) / 2)


def _random_weight(shape, layer):
    return tf.random.stateless_normal(shape, [0, layer], stddev=float(np.prod(shape[:-1])) ** -0.5 * 2 ** 0.5)


def read_weights(dataset):
    """The committed weights {name: float32 array} of a data set's classifier; UserError if missing or altered."""
    name, expected = CLASSIFIERS[dataset]
    path = WEIGHTS / f'{name}.npz'
    try:
        with np.load(path) as archive:
            weights = {key: archive[key] for key in archive}
    except FileNotFoundError:
        raise UserError(f'{path} is missing: restore it from the repository') from None
    except Exception:                       # damaged files make the parsers raise anything
        weights = {}
    if weights_hash(weights) != expected:
        raise UserError(f'{path} is not the {name} that the metrics are defined by: restore it from the repository')
    return {key: value.astype(np.float32) for key, value in weights.items()}


def weights_hash(weights):
    """sha256 over names, types, shapes and bytes of the arrays; the same however the file is compressed."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(f'{key} {weights[key].dtype} {weights[key].shape} '.encode())
        digest.update(np.ascontiguousarray(weights[key]).tobytes())
    return digest.hexdigest()
