"""The classifier that metrics.py looks through: a small convolutional network for MNIST and Fashion-MNIST.

Its 64 features are bounded (tanh), so that no input can lie far away and fool a nearest-neighbour measure, and they
must both classify the picture and rebuild it (a decoder that is thrown away after training). The second task keeps
thickness, slant and texture in the features: a classifier alone maps all pictures of a class to one point
(neural collapse, Papyan et al. 2020, arXiv:2008.08186) and would not see that a generator lacks variety.

    python evaluator.py --dataset mnist
"""
import functools
import hashlib
import os
import pathlib
import zipfile

import data
import files
import flags

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image

EVALUATORS = {      # data set: name of the classifier, sha256 over its arrays
    'mnist': ('evaluator-mnist-v1', '285d7559d22fdb9c594fddd31cf8d1178bb49480600f03d79cb706f14a62462f'),
    'fashion_mnist': ('evaluator-fashion_mnist-v1', 'af66b7897520bd85aa36f2d2992eb1a412b92f19c03c918a779d065571d89996'),
}
RANDOM = 'random-conv-v1 (untrained, seed 0)'   # for data sets without a classifier

STEPS = {'mnist': 7500, 'fashion_mnist': 12000}     # updates; 7500 are 16 passes over the 60,000 pictures
BATCH_SIZE = 128
LEARNING_RATE = 2e-3    # Adam; rises for WARMUP steps, then falls to zero on a half cosine
WARMUP = 200
LABEL_SMOOTHING = 0.05  # keeps the logits, and with them the features, from saturating
REBUILD = 10.0          # weight of the decoder's mean square error
AVERAGE = 0.998         # decay of the moving average of the weights, which is what gets saved
SHIFT = {'mnist': 2.0, 'fashion_mnist': 1.0}        # augmentation: pixels, up to so far in each direction
TURN = {'mnist': 0.15, 'fashion_mnist': 0.04}       # radians, and relative size; clothes are photographed upright
FLIP = {'mnist': False, 'fashion_mnist': True}    # a mirrored shirt is a shirt, a mirrored 2 is not a 2
SEED = 0

SHAPES = {              # name: shape of the weight; 96,730 numbers with the biases
    'conv1': (3, 3, 1, 24), 'conv2': (3, 3, 24, 48), 'conv3': (3, 3, 48, 48), 'conv4': (3, 3, 48, 64),
    'dense1': (3 * 3 * 64, 64), 'dense2': (64, 10)}


def evaluator(x, w):
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


# looking through it

def look_through(dataset, channels=1):
    """Returns `look(images)` for a data set: uint8 [N, H, W, C] -> (features float32 [N, 64], probabilities [N, 10]).

    `mnist` and `fashion_mnist` have a classifier, and `stacked_mnist` has MNIST's on each channel, [N, 192] and [N, 1000];
    for all else it is `random_features`, and the probabilities are None. Larger pictures than the classifiers take, and
    colour, are brought down to theirs by `fitted`.
    Built once for a process, in a graph and session of its own, whatever graph is the default; a call adds no
    operation, so a training loop may call it as often as it likes. `look.name` names the network and its version.
    Raises UserError if the weights are missing or altered, and `look` does for images of the wrong size.
    """
    if dataset == 'stacked_mnist':
        return _each_channel(_look('mnist', 1))
    return _look(dataset, 1) if dataset in EVALUATORS else _look(None, channels)


def fitted(images, dataset):
    """Pictures uint8 [N, H, H, C], H >= 28, as the set's classifier takes them, [N, 28, 28, 1]; unchanged for other sets.

    The mean of the channels, made smaller by the filter that data.load makes larger with.
    """
    shape = images.shape[1:]
    if dataset not in EVALUATORS or images.dtype != np.uint8 or images.ndim != 4 or shape == (28, 28, 1) \
            or shape[0] != shape[1] or shape[0] < 28 or shape[2] not in (1, 3):
        return images   # `look` says what is wrong
    small = np.empty([len(images), 28, 28, 1], np.uint8)
    for image, out in zip(images, small, strict=True):
        grey = Image.fromarray(np.rint(image.mean(2)).astype(np.uint8))
        out[:, :, 0] = grey.resize([28, 28], Image.Resampling.BICUBIC)
    return small


def _each_channel(look):
    """The look of one digit's classifier at stacked ones: features [N, 3 * 64], probabilities [N, 1000] of the three digits."""
    def look_thrice(images):
        if images.shape[-1] != 3:
            raise files.UserError(f'stacked_mnist has 3 channels, but the images are {size(images.shape[1:])}')
        found, p = zip(*(look(images[..., channel:channel + 1]) for channel in range(3)), strict=True)
        return np.concatenate(found, 1), np.einsum('na,nb,nc->nabc', *p).reshape(len(images), 1000)

    look_thrice.name, look_thrice.graph = f'{look.name} on each channel', look.graph
    return look_thrice


def features(images, dataset):
    """Pictures uint8 [N, H, W, C] -> (features float32 [N, 64] in (-1, 1), class probabilities float32 [N, 10])."""
    return look_through(dataset, images.shape[-1])(images)


def random_features(images):
    """Pictures uint8 [N, H, W, C] of any size -> features float32 [N, 64] in (-1, 1) of a network that nobody trained.

    Three random convolutions and a random projection of the picture at 32x32, the same for everybody (stateless, seed
    0). They see coarse shape, colour and contrast, not meaning: good for comparing models on one data set, no more.
    """
    return _look(None, images.shape[-1])(images)[0]


@functools.lru_cache
def _look(dataset, channels):
    graph = tf.Graph()
    with graph.as_default():
        shape = [28, 28, 1] if dataset else [None, None, channels]
        pictures = tf.placeholder(tf.uint8, [None, *shape])
        x = tf.cast(pictures, tf.float32) / 127.5 - 1
        if dataset:
            found, logits = evaluator(x, read_weights(dataset))
            outputs = [found, tf.nn.softmax(logits)]
        else:
            outputs = [_random_network(x), tf.zeros([tf.shape(x)[0], 0])]
        run = tf.Session(graph=graph).make_callable(outputs, [pictures])
    name = EVALUATORS[dataset][0] if dataset else RANDOM

    def look(images):
        images = fitted(images, dataset)
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
            raise files.UserError(f'images must be uint8 [N, H, W, C], not {images.dtype} {list(images.shape)}')
        if dataset and list(images.shape[1:]) != shape:
            raise files.UserError(f'images are {size(images.shape[1:])}, but {name} looks at {size(shape)}')
        chunks = [run(images[i:i + 500]) for i in range(0, len(images), 500)]
        found, probabilities = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return found, probabilities if dataset else None

    look.name, look.graph = name, graph
    return look


def size(shape):
    """[28, 28, 1] as '28x28x1'."""
    return 'x'.join(str(n) for n in shape)


def _random_network(x):
    h = tf.image.resize(x, [32, 32], method=tf.image.ResizeMethod.AREA)
    for layer, width in enumerate([32, 64, 64]):                                # 16x16, 8x8, 4x4
        h = tf.nn.leaky_relu(tf.nn.conv2d(h, _random_weight([3, 3, h.shape[-1], width], layer), 2, 'SAME'), 0.2)
    return tf.tanh(tf.matmul(tf.reshape(h, [-1, 4 * 4 * 64]), _random_weight([4 * 4 * 64, 64], 3)) / 2)


def _random_weight(shape, layer):
    return tf.random.stateless_normal(shape, [0, layer], stddev=float(np.prod(shape[:-1])) ** -0.5 * 2 ** 0.5)


def read_weights(dataset):
    """The committed weights {name: float32 array} of a data set's classifier; UserError if missing or altered."""
    name, expected = EVALUATORS[dataset]
    path = pathlib.Path(__file__).parent / 'weights' / f'{name}.npz'
    try:
        with np.load(path) as archive:
            weights = {key: archive[key] for key in archive}
    except FileNotFoundError:
        raise files.UserError(f'{path} is missing: restore it from the repository') from None
    except (ValueError, EOFError, zipfile.BadZipFile):
        weights = {}
    if weights_hash(weights) != expected:
        raise files.UserError(f'{path} is not the {name} that numbers are defined by: restore it from the repository')
    return {key: value.astype(np.float32) for key, value in weights.items()}


def weights_hash(weights):
    """sha256 over names, types, shapes and bytes of the arrays; the same however the file is compressed."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(f'{key} {weights[key].dtype} {weights[key].shape} '.encode())
        digest.update(np.ascontiguousarray(weights[key]).tobytes())
    return digest.hexdigest()


# training it

def decoder(features):
    """Features [N, 64] to pictures [N, 28, 28, 1] in [-1, 1]; needed in training only."""
    with tf.variable_scope('decoder'):
        w1, w2 = variable('w1', (64, 256)), variable('w2', (256, 784))
        return tf.reshape(tf.tanh(tf.matmul(tf.nn.leaky_relu(tf.matmul(features, w1), 0.1), w2)), [-1, 28, 28, 1])


def variable(name, shape):
    """A weight drawn after He et al. 2015 (arXiv:1502.01852); a vector is a bias and starts at zero."""
    if len(shape) == 1:
        return tf.get_variable(name, shape, initializer=tf.zeros_initializer())
    seed = [SEED, sum(name.encode())]
    start = tf.random.stateless_normal(shape, seed, stddev=(2 / np.prod(shape[:-1])) ** 0.5)
    return tf.get_variable(name, initializer=lambda: start)


def augmented(x, step, dataset):
    """Pictures [N, 28, 28, 1] in [-1, 1], each turned, resized, shifted and perhaps mirrored about its centre."""
    n = tf.shape(x)[0]
    turn, size, right, down, mirror = tf.unstack(tf.random.stateless_uniform([5, n], [SEED, step], -1, 1))
    sign = tf.sign(mirror) if FLIP[dataset] else tf.ones_like(mirror)
    size, turn = 1 + TURN[dataset] * size, TURN[dataset] * turn
    a, b = size * tf.cos(turn), size * tf.sin(turn)
    # output (column, row) comes from input (a c - b r + ..., b c + a r + ...); the centre 13.5 stays but for the shift
    a, b, c, d = sign * a, -b, sign * b, a
    right, down = 13.5 * (1 - a - b) + SHIFT[dataset] * right, 13.5 * (1 - c - d) + SHIFT[dataset] * down
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x, transforms=tf.stack([a, b, right, c, d, down, zero, zero], 1), output_shape=[28, 28],
        fill_value=-1.0, interpolation='BILINEAR', fill_mode='CONSTANT')


def main(dataset):
    steps = STEPS[dataset]
    images, labels = data.load(dataset, 'train')
    test_images, test_labels = data.load(dataset, 'test')
    with tf.Graph().as_default():
        step = tf.train.get_or_create_global_step()
        place = tf.range(BATCH_SIZE, dtype=tf.int64) + step * BATCH_SIZE
        seed = tf.stack([place // len(images), tf.fill([BATCH_SIZE], tf.cast(SEED, tf.int64)),
                         tf.zeros_like(place)], 1)
        index = tf.raw_ops.RandomIndexShuffle(index=place % len(images), seed=seed, max_index=len(images) - 1)
        batch = tf.placeholder(tf.uint8, [None, 28, 28, 1])
        held = [tf.get_local_variable(name, initializer=start, use_resource=True)
                for name, start in [('images', tf.constant(images)), ('labels', tf.constant(labels))]]
        x = augmented(tf.cast(tf.gather(held[0], index), tf.float32) / 127.5 - 1, step, dataset)
        y = tf.one_hot(tf.gather(held[1], index), 10) * (1 - LABEL_SMOOTHING) + LABEL_SMOOTHING / 10

        weights = {}
        for name, shape in SHAPES.items():
            weights[name + '/w'] = variable(name + '/w', shape)
            weights[name + '/b'] = variable(name + '/b', shape[-1:])
        features, logits = evaluator(x, weights)
        loss = (tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))
                + REBUILD * tf.reduce_mean(tf.square(decoder(features) - x)) / 4)

        now = tf.cast(step, tf.float32)
        rate = LEARNING_RATE * tf.minimum(1.0, now / WARMUP) * (1 + tf.cos(np.pi * now / steps)) / 2
        update = tf.train.AdamOptimizer(rate).minimize(loss, global_step=step)
        average = tf.train.ExponentialMovingAverage(AVERAGE, num_updates=step)
        with tf.control_dependencies([update]):
            train = average.apply(list(weights.values()))
        averaged = {name: average.average(weight) for name, weight in weights.items()}
        correct = tf.argmax(evaluator(tf.cast(batch, tf.float32) / 127.5 - 1, averaged)[1], 1)

        threads = tf.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=2)
        with tf.Session(config=threads) as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            tf.get_default_graph().finalize()
            advance = session.make_callable([train, loss])
            for n in range(1, steps + 1):
                _, value = advance()
                if n % 500 == 0:
                    answers = np.concatenate([session.run(correct, {batch: test_images[i:i + 1000]})
                                              for i in range(0, len(test_images), 1000)])
                    print(f'step {n}/{steps}  loss {value:.4f}  test accuracy {(answers == test_labels).mean():.4f}',
                          flush=True)
            saved = {name: value.astype(np.float16) for name, value in session.run(averaged).items()}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'weights', f'evaluator-{dataset}-v1.npz')
    with files.replacing(path) as temporary:
        np.savez_compressed(temporary, **saved)
    print(f'{path}: {sum(value.size for value in saved.values())} weights, {os.path.getsize(path)} bytes')


if __name__ == '__main__':
    parser = flags.Parser(__doc__)
    parser.add_argument('--dataset', choices=list(FLIP), default='mnist')
    with files.one_line_errors():
        main(parser.parse_args().dataset)
