"""Auto-encoder: Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks", Science 313;
with NOISE the denoising one: Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising Autoencoders".

An encoder compresses an image into a short code, a decoder reconstructs the image from the code, and both learn together
from the squared error alone. If both were linear, the best they could do is PCA; they are deep, and PCA is what they must
beat.

    python autoencoder.py --dataset mnist

Page: docs/autoencoders.md
"""
import math

import data
import ops
import run
import viz
from plumbing import files

import numpy as np
import tensorflow.compat.v1 as tf
from sklearn.decomposition import PCA

# data
DATASET = 'mnist'         # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28           # pixels on a side, from 1 to 4096
CHANNELS = 1              # 1 is grey, 3 is colour

# networks
CODE_SIZE = 32            # numbers in a code; a picture of 28x28 has 784
HIDDEN = (512, 256)       # units of the encoder's hidden layers; the decoder has the same ones backwards

# denoising, and PCA to compare with
NOISE = 0.0               # share of the pixels that training turns black or white, in [0, 1]; above 0 the network denoises
TEST_NOISE = 0.25         # the same share in the noisy test images, in [0, 1]; both kinds are measured on them
PCA_BYTES = 2**28         # of training pictures as floats, from which the principal components are computed

# training
STEPS = 5000              # one step is one update of both networks
BATCH_SIZE = 128          # pictures in an update
LEARNING_RATE = 1e-3      # for Adam
WEIGHT_AVERAGE = 0.999    # EMA decay of the weights, used for measuring and export, in [0, 1); 0 uses the raw weights
SEED = 0                  # random seed

# reports
SAMPLE_EVERY = 500        # steps between pictures
EVAL_EVERY = 500          # steps between errors on the test set
CHECKPOINT_EVERY = 2000   # steps between checkpoints
COLUMNS = 16              # test pictures in the grid, from 1 to 1000


def encoder(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> codes [B, CODE_SIZE], any real numbers."""
    with ops.network('encoder'):
        h = ops.dense_stack(x, HIDDEN)
        return ops.dense(h, CODE_SIZE, 'code')


def decoder(code):
    """code [B, CODE_SIZE] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('decoder'):
        return ops.dense_images(ops.dense_stack(code, reversed(HIDDEN)), IMAGE_SIZE, CHANNELS, tf.tanh)


def corrupt(x, share, u):
    """x [B, h, w, c] in [-1, 1], a `share` of its pixels turned black or white by u [B, h, w, 1] from U[0, 1)."""
    with tf.name_scope('corrupt'):
        return tf.where_v2(u < share / 2, -1.0, tf.where_v2(u < share, 1.0, x))


def error(x, y):
    """Mean squared error of a pixel, for x and y in [-1, 1] and the error in units of [0, 1]."""
    return tf.reduce_mean(tf.square(x - y)) / 4


def pca(train, test, size):
    """Pictures uint8 [N, H, W, C] -> those of `test` from the `size` principal components of `train`, float in [-1, 1].

    Of large sets every k-th picture is taken, PCA_BYTES as floats, but two at least; above 2,048 numbers a picture the components
    are those of a randomized decomposition (Halko et al. 2011, arXiv:0909.4061).
    """
    shape, numbers = test.shape, math.prod(test.shape[1:])
    train = np.asarray(train[::max(1, min(-(-len(train) * 4 * numbers // PCA_BYTES), len(train) - 1))])
    train, test = (viz.to_float(images.reshape(len(images), -1)) for images in (train, test))
    solver = 'covariance_eigh' if numbers <= 2048 else 'randomized'
    model = PCA(min(size, len(train)), svd_solver=solver, random_state=SEED).fit(train)
    return model.inverse_transform(model.transform(test)).reshape(shape)


def main():
    if CODE_SIZE > IMAGE_SIZE * IMAGE_SIZE * CHANNELS:
        raise files.UserError(f'CODE_SIZE must be at most {IMAGE_SIZE * IMAGE_SIZE * CHANNELS}, the numbers in a picture')
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    test_images, _ = data.load(DATASET, 'test', IMAGE_SIZE, CHANNELS)
    linear = pca(images, test_images, CODE_SIZE)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        noisy = corrupt(x, NOISE, ops.uniform([*x.shape[:3], 1], 'noise')) if NOISE else x
        with tf.variable_scope('test'):
            test = data.stored(test_images)
            noisy_test = corrupt(test, TEST_NOISE, tf.random.stateless_uniform([*test.shape[:3], 1], [SEED, 0]))

    with tf.name_scope('losses'):
        loss = tf.identity(error(x, decoder(encoder(noisy))), 'loss')  # the target is clean
    with tf.variable_scope('optimizers'):
        update = ops.minimize(tf.train.AdamOptimizer(LEARNING_RATE), loss, '', 'update')  # '': both networks

    def reconstructed(x, name):
        with tf.name_scope(name):
            return decoder(encoder(x))

    def pictures():
        first, noisy_first = test[:COLUMNS], noisy_test[:COLUMNS]
        return {'original': first, 'reconstructed': reconstructed(first, 'clean'), 'by PCA': tf.constant(linear[:COLUMNS]),
                'noisy': noisy_first, 'denoised': reconstructed(noisy_first, 'noisy')}

    def measures():
        return {'test_error': error(test, reconstructed(test, 'clean')),
                'noisy_test_error': error(test, reconstructed(noisy_test, 'noisy')),
                'pca_error': tf.constant(np.square(linear - viz.to_float(test_images)).mean() / 4)}

    _, found = run.train(globals(), updates=[update], scalars={'loss': loss}, pictures=pictures, measures=measures,
                         networks={'encoder': run.network(encoder, 'codes', images=run.images(IMAGE_SIZE, CHANNELS))})
    print('{CODE_SIZE} numbers a picture, mean squared error of a test pixel: {test_error:.5f}, of PCA {pca_error:.5f}, '
          '{factor:.2f} times as much; from noisy pictures {noisy_test_error:.5f}'.format(
              CODE_SIZE=CODE_SIZE, factor=found['pca_error'] / found['test_error'], **found))


if __name__ == '__main__':
    run.main(globals())
