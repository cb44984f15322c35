"""Trains the classifiers that metrics.py measures with: a small convolutional network for MNIST and for Fashion-MNIST.

    python -m benchmarks.train_evaluator --dataset mnist

The weights in `weights/` are what the metrics are defined by (plumbing/features.py checks their hash), so that
everybody's numbers compare. Training again gives another classifier: it is written only where --output says.
"""
import pathlib

import data
from plumbing import files, flags
from plumbing.features import SHAPES, classifier

import numpy as np
import tensorflow.compat.v1 as tf

STEPS = {'mnist': 7500, 'fashion_mnist': 12000}     # updates; 7500 are 16 passes over the 60,000 pictures
BATCH_SIZE = 128
LEARNING_RATE = 2e-3    # Adam; rises for WARMUP steps, then falls to zero on a half cosine
WARMUP = 200
LABEL_SMOOTHING = 0.05  # keeps the logits, and with them the features, from saturating
RECONSTRUCTION = 10.0   # weight of the decoder's mean squared error
EMA_DECAY = 0.998       # of the weights, which is what gets saved
SHIFT = {'mnist': 2.0, 'fashion_mnist': 1.0}        # augmentation: pixels, up to so many in each direction
TURN = {'mnist': 0.15, 'fashion_mnist': 0.04}       # radians, and relative size; clothes are photographed upright
FLIP = {'mnist': False, 'fashion_mnist': True}      # a mirrored shirt is a shirt, a mirrored 2 is not a 2
SEED = 0


def decoder(features):
    """Features [N, 64] to pictures [N, 28, 28, 1] in [-1, 1]; only needed for training."""
    with tf.variable_scope('decoder'):
        w1, w2 = variable('w1', (64, 256)), variable('w2', (256, 784))
        return tf.reshape(tf.tanh(tf.matmul(tf.nn.leaky_relu(tf.matmul(features, w1), 0.1), w2)), [-1, 28, 28, 1])


def variable(name, shape):
    """A weight initialized after He et al. 2015 (arXiv:1502.01852); a vector is a bias and starts at zero."""
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


def main(dataset, output):
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
        features, logits = classifier(x, weights)
        loss = (tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))
                + RECONSTRUCTION * tf.reduce_mean(tf.square(decoder(features) - x)) / 4)

        now = tf.cast(step, tf.float32)
        rate = LEARNING_RATE * tf.minimum(1.0, now / WARMUP) * (1 + tf.cos(np.pi * now / steps)) / 2
        update = tf.train.AdamOptimizer(rate).minimize(loss, global_step=step)
        average = tf.train.ExponentialMovingAverage(EMA_DECAY, num_updates=step)
        with tf.control_dependencies([update]):
            train = average.apply(list(weights.values()))
        averaged = {name: average.average(weight) for name, weight in weights.items()}
        correct = tf.argmax(classifier(tf.cast(batch, tf.float32) / 127.5 - 1, averaged)[1], 1)

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
    with files.replacing(output) as temporary, open(temporary, 'wb') as file:    # to a path savez would add .npz
        np.savez_compressed(file, **saved)
    print(f'{output}: {sum(value.size for value in saved.values())} weights, {output.stat().st_size} bytes')


if __name__ == '__main__':
    parser = flags.Parser(__doc__)
    parser.add_argument('--dataset', choices=list(FLIP), default='mnist')
    parser.add_argument('--output', type=pathlib.Path, default=pathlib.Path('evaluator.npz'), help='file of the weights')
    args = parser.parse_args()
    with files.one_line_errors():
        main(args.dataset, args.output)
