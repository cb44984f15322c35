"""BEGAN: Berthelot, Schumm & Metz 2017, "BEGAN: Boundary Equilibrium Generative Adversarial Networks", arXiv:1703.10717.

The discriminator is an auto-encoder with two goals: to reconstruct real pictures, and generated ones worse. How much the
second one counts, k, is steered: it rises while generated pictures are reconstructed too well, and falls while too badly, so
that the ratio of the errors stays at gamma. The error and how far off the ratio is make one number that tells how far it is.

    python began.py --dataset mnist

Page: docs/energy.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour

# networks
Z_DIM = 64               # length of the latent vector z; the paper's
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of G's first layer
CODE = 64                # length of D's code; the paper's

# balance
GAMMA = 1.0              # E L(G(z)) / E L(x) in balance, in (0, 1]; the paper: 0.3 to 0.7, for less variety (docs/energy.md)
K_LEARNING_RATE = 0.2    # lambda_k, how fast k moves, in [0, inf); the paper's 0.001 is for far longer runs

# training
STEPS = 4000             # one step is one update of D, then one of G and of k
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, training):
    """z [B, Z_DIM] from U[-1, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(z, [HIDDEN], training)
        return ops.deconv_stack(h, IMAGE_SIZE, CHANNELS, WIDTH, training)


def error(x, reconstruction):
    """L(x), the mean absolute error of a pixel (eq. 1 with eta = 1), of each picture of a batch [B, ...] -> [B]."""
    return tf.reduce_mean(tf.abs(x - reconstruction), [1, 2, 3])


def discriminator(x, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> L(x) [B]: how badly CODE numbers reconstruct it."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        code = ops.dense(ops.conv_stack(x, WIDTH, training), CODE, 'code')
        return error(x, ops.deconv_stack(code, IMAGE_SIZE, CHANNELS, WIDTH, training))


def losses(real_error, fake_error, k):
    """Mean errors [] of real and generated pictures, and k [] -> (d_loss, g_loss, k_loss, M) (section 3.4).

    The gradient of k_loss with respect to k is -(gamma L(x) - L(G(z))): descending it moves k as the paper does.
    """
    d_loss = tf.subtract(real_error, k * fake_error, name='d_loss')
    balance = tf.stop_gradient(GAMMA * real_error - fake_error)
    m = tf.add(real_error, tf.abs(balance), name='M')                                           # M_global, of convergence
    return d_loss, tf.identity(fake_error, name='g_loss'), tf.multiply(-k, balance, name='k_loss'), m


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.uniform([BATCH_SIZE, Z_DIM], 'z', -1, 1)

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        real_errors = discriminator(x, training=True)
    with tf.name_scope('fake'):
        fake_errors = discriminator(fake, training=True)

    with tf.variable_scope('balance'):
        k = tf.get_variable('k', [], initializer=tf.zeros_initializer(), constraint=lambda k: tf.clip_by_value(k, 0.0, 1.0))
    with tf.name_scope('losses'):
        real_error, fake_error = tf.reduce_mean(real_errors, name='L_x'), tf.reduce_mean(fake_errors, name='L_G_z')
        k_now = tf.identity(k, name='k')                                                        # before its update
        d_loss, g_loss, k_loss, m = losses(real_error, fake_error, k_now)
        scalars = {'L(x)': real_error, 'L(G(z))': fake_error, 'k': k_now, 'M': m}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')
        with tf.control_dependencies([g_step]):                                                 # of the batch of G's update
            k_step = ops.minimize(tf.train.GradientDescentOptimizer(K_LEARNING_RATE), k_loss, 'balance/', 'k_step')

    run.train(globals(), updates=[d_step, k_step], scalars=scalars, scores={'real': real_errors, 'fake': fake_errors},
              networks={'generator': run.network(generator, 'images', z=run.uniform(Z_DIM))})


if __name__ == '__main__':
    run.main(globals())
