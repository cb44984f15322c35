"""SN-GAN: Miyato, Kataoka, Koyama & Yoshida 2018, "Spectral Normalization for Generative Adversarial Networks",
arXiv:1802.05957.

A discriminator that may be arbitrarily steep leaves the generator without a gradient, or with one that is far too large. A
layer stretches no difference by more than the largest singular value of its matrix W, so W / sigma(W) in every layer bounds
the slope of the whole: no penalty, no second gradient, one product with a vector per layer and update. The bound is near 1,
not exactly 1: sigma is an estimate from one power iteration per update, which may be too small, and the matrix of a
convolution is that of its kernel, so that a layer whose windows of 4x4 overlap may stretch up to twice as much.

    python sn_gan.py --dataset mnist

Page: docs/mode-collapse.md
"""
import ops
import run
import testbed

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'

# networks
Z_DIM = 100              # length of the latent vector z

# normalization
SPECTRAL_NORM = True     # False leaves the weights as they are

# training
STEPS = 8000             # one step is D_STEPS updates of D, then one of G
D_STEPS = 1              # from 1 to 1000; the paper has 1 and 5
BATCH_SIZE = 64          # the paper's
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
DECAY = False            # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def discriminator(x, training):
    """x [B, n] or [B, 28, 28, C] -> scores [B, 1]. training False leaves the singular vectors as they are."""
    if not SPECTRAL_NORM:
        return testbed.discriminator(x)
    with ops.spectral_norm(training):
        return testbed.discriminator(x)


def losses(real_scores, fake_scores):
    """Scores [B, 1] of real and generated samples -> (d_loss, g_loss), the hinge (eq. 16 and 17)."""
    real_loss, fake_loss = tf.reduce_mean(tf.nn.relu(1 - real_scores)), tf.reduce_mean(tf.nn.relu(1 + fake_scores))
    return tf.add(real_loss, fake_loss, name='d_loss'), tf.negative(tf.reduce_mean(fake_scores), name='g_loss')


def main():
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    with tf.name_scope('real'):
        real_scores = discriminator(x, training=True)
    with tf.name_scope('fake'):
        fake_scores = discriminator(fake, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_scores, fake_scores)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'real_score': tf.reduce_mean(real_scores, name='real_score'),
                   'fake_score': tf.reduce_mean(fake_scores, name='fake_score')}

    rate = ops.linear_decay() if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')

    testbed.train(globals(), [d_step] * D_STEPS + [g_step], scalars, {'real': real_scores, 'fake': fake_scores},
                  lambda points: discriminator(points, training=False))


if __name__ == '__main__':
    run.main(globals())
