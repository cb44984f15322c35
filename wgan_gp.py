"""WGAN-GP: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", arXiv:1704.00028.

The critic of WGAN, kept Lipschitz continuous by something better than clipping its weights: a penalty pulls the norm of
its gradient towards 1 on the lines between real and generated images. The critic has layer norm instead of batch norm,
because the penalty applies to the gradient at each image alone.

    python wgan_gp.py --dataset mnist

Page: docs/wasserstein.md
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
Z_DIM = 100              # length of the latent vector z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer

# penalty
PENALTY = 10.0           # lambda, the weight of the gradient penalty, in [0, inf)

# training
STEPS = 2000             # one step is N_CRITIC updates of the critic, then one of the generator
N_CRITIC = 5             # from 1 to 1000; the paper's
BATCH_SIZE = 64          # the paper's
LEARNING_RATE = 1e-3     # for Adam; ten times the paper's: as stable here, and sooner there
DECAY = True             # decay it linearly to 0
BETA1 = 0.0              # Adam's beta1, in [0, 1); the paper's
BETA2 = 0.9              # Adam's beta2, in [0, 1); the paper's
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(z, [HIDDEN], training)
        return ops.deconv_stack(h, IMAGE_SIZE, CHANNELS, WIDTH, training)


def critic(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> scores [B, 1], any real numbers."""
    with ops.network('critic'):
        h = ops.conv(x, WIDTH, 'conv1', activation=tf.nn.leaky_relu)           # for 28 pixels: [B, 14, 14, WIDTH]
        for number in range(2, ops.depth(IMAGE_SIZE, CHANNELS) + 1):
            h = ops.conv(h, WIDTH << number - 1, f'conv{number}')              # [B, 7, 7, 2 WIDTH]
            h = ops.layer_norm(h, f'conv{number}_norm', activation=tf.nn.leaky_relu)
        h = ops.dense(h, HIDDEN, 'dense1')
        h = ops.layer_norm(h, 'dense1_norm', activation=tf.nn.leaky_relu)
        return ops.dense(h, 1, 'score')


def gradient_penalty(critic, x, fake, alpha):
    """E (|grad critic(x_hat)| - 1)^2 with x_hat = x + alpha (fake - x), alpha [B, 1, 1, 1] from U[0, 1) (section 4)."""
    x_hat = x + alpha * (fake - x)
    with tf.name_scope('interpolated/'):                                       # the slash: in the critic, not in losses
        scores = critic(x_hat)
    gradient, = tf.gradients(scores, x_hat)
    length = tf.sqrt(tf.reduce_sum(gradient ** 2, axis=[1, 2, 3]) + 1e-12)     # over all pixels; no sqrt at 0
    return tf.reduce_mean((length - 1) ** 2, name='gp')


def losses(real_scores, fake_scores):
    """Scores [B, 1] of real and generated images -> (c_loss, g_loss, wd); wd estimates the Wasserstein distance."""
    wd = tf.subtract(tf.reduce_mean(real_scores), tf.reduce_mean(fake_scores), name='wd')
    return tf.negative(wd, name='c_loss'), tf.negative(tf.reduce_mean(fake_scores), name='g_loss'), wd


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])
        alpha = ops.uniform([BATCH_SIZE, 1, 1, 1], 'alpha')

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        real_scores = critic(x)
    with tf.name_scope('fake'):
        fake_scores = critic(fake)

    with tf.name_scope('losses'):
        c_loss, g_loss, wd = losses(real_scores, fake_scores)
        gp = gradient_penalty(critic, x, fake, alpha)
        c_loss += PENALTY * gp

    with tf.variable_scope('optimizers'):
        rate = LEARNING_RATE * (ops.linear_decay() if DECAY else 1.0)
        c_step = ops.minimize(tf.train.AdamOptimizer(rate, BETA1, BETA2), c_loss, 'critic/', 'c_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(rate, BETA1, BETA2), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[c_step] * N_CRITIC + [g_step], scalars={'wd': wd, 'gp': gp, 'g_loss': g_loss},
              scores={'real': real_scores, 'fake': fake_scores},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM))})


if __name__ == '__main__':
    run.main(globals())
