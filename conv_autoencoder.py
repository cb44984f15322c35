"""Convolutional auto-encoder: Masci et al. 2011, "Stacked Convolutional Auto-Encoders for Hierarchical Feature
Extraction", with the unpooling of Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks",
arXiv:1311.2901.

The encoder convolves and pools, the decoder unpools and deconvolves. Unpooling either puts each number back to where
the maximum was and leaves the rest 0 (then those places, not only the code, tell the decoder what the picture was), or
repeats it.

    python conv_autoencoder.py --dataset mnist --unpool repeat

Page: docs/autoencoders.md
"""

import data
import ops
import run
from plumbing import files

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'         # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28           # pixels on a side, a multiple of 4, from 4 to 4096
CHANNELS = 1              # 1 is grey, 3 is colour

# networks
CODE_SIZE = 32            # numbers in a code; a picture of 28x28 has 784
WIDTH = 16                # channels of the layer nearest to the pixels; the next has twice as many
UNPOOL = 'switches'       # 'switches' or 'repeat': back to where the maximum was, or all over its square

# training
STEPS = 3000              # one step is one update of both networks
BATCH_SIZE = 64           # pictures in an update
LEARNING_RATE = 1e-3      # for Adam
WEIGHT_AVERAGE = 0.998    # EMA decay of the weights, used for measuring and export, in [0, 1); 0 uses the raw weights
SEED = 0                  # random seed

# reports
SAMPLE_EVERY = 200        # steps between pictures
EVAL_EVERY = 500          # steps between errors on the test set
COLUMNS = 16              # test pictures in the grid, from 1 to 1000


def encoder(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> codes [B, CODE_SIZE], and the switches of both poolings."""
    with ops.network('encoder'):
        # for 28 pixels:
        h = ops.conv(x, WIDTH, 'conv1', size=5, stride=1, activation=tf.nn.relu)      # [B, 28, 28, WIDTH]
        h, first = ops.max_pool(h)                                                    # [B, 14, 14, WIDTH]
        h = ops.conv(h, 2 * WIDTH, 'conv2', size=5, stride=1, activation=tf.nn.relu)  # [B, 14, 14, 2 WIDTH]
        h, second = ops.max_pool(h)                                                   # [B, 7, 7, 2 WIDTH]
        return ops.dense(h, CODE_SIZE, 'code'), (first, second)


def decoder(code, switches):
    """code [B, CODE_SIZE] and the encoder's switches -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    first, second = switches if UNPOOL == 'switches' else (None, None)
    with ops.network('decoder'):
        side = IMAGE_SIZE // 4
        h = ops.dense(code, side * side * 2 * WIDTH, 'dense1', activation=tf.nn.relu)
        h = tf.reshape(h, [-1, side, side, 2 * WIDTH])                                # [B, 7, 7, 2 WIDTH]
        h = ops.unpool(h, switches=second)                                            # [B, 14, 14, 2 WIDTH], then WIDTH
        h = ops.conv_transpose(h, WIDTH, 'deconv1', size=5, stride=1, activation=tf.nn.relu)
        h = ops.unpool(h, switches=first)                                             # [B, 28, 28, WIDTH], then CHANNELS
        return ops.conv_transpose(h, CHANNELS, 'deconv2', size=5, stride=1, activation=tf.tanh)


def codes(x):
    return encoder(x)[0]


def squared_error(x):
    """Squared error [B] of the reconstructions of x, the mean over the pixels in units of [0, 1]."""
    return tf.reduce_mean(tf.square(x - decoder(*encoder(x))), [1, 2, 3]) / 4


def main():
    if IMAGE_SIZE % 4:
        raise files.UserError('IMAGE_SIZE must be a multiple of 4: the networks halve it twice')
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    test_images, _ = data.load(DATASET, 'test', IMAGE_SIZE, CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        with tf.variable_scope('test'):
            test = data.stored(test_images)

    with tf.name_scope('losses'):
        loss = tf.reduce_mean(squared_error(x), name='loss')
    with tf.variable_scope('optimizers'):
        update = ops.minimize(tf.train.AdamOptimizer(LEARNING_RATE), loss, '', 'update')  # '': both networks

    def pictures():
        return {'original': test[:COLUMNS], 'reconstructed': decoder(*encoder(test[:COLUMNS]))}

    def measures():
        return {'test_error': tf.reduce_mean(ops.in_blocks(squared_error, test))}

    _, found = run.train(globals(), updates=[update], scalars={'loss': loss}, pictures=pictures, measures=measures,
                         networks={'encoder': run.network(codes, 'codes', images=run.images(IMAGE_SIZE, CHANNELS))})
    print(f'{CODE_SIZE} numbers a picture{" and the switches" if UNPOOL == "switches" else ""}, '
          f'mean squared error of a test pixel: {found["test_error"]:.5f}')


if __name__ == '__main__':
    run.main(globals())
