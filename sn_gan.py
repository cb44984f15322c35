"""SN-GAN: Miyato, Kataoka, Koyama & Yoshida 2018, "Spectral Normalization for Generative Adversarial Networks",
arXiv:1802.05957.

A discriminator that may be arbitrarily steep leaves the generator without a gradient, or sends it away. A layer stretches no
difference by more than the largest singular value of its matrix W, so W / sigma(W) in every layer keeps the slope of the
whole at 1 or less: no penalty, no second gradient, one product with a vector per layer and update. (The matrix of a convolution
is that of its kernel; where windows of 4x4 overlap, the layer may stretch up to twice as much.)

    python sn_gan.py --dataset mnist
"""
import ops
import run
import testbed

import tensorflow.compat.v1 as tf

DATASET = 'mnist'        # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'
SPECTRAL_NORM = True     # False leaves the weights as they are
STEPS = 8000             # one step is D_STEPS updates of D, then one of G
D_STEPS = 1              # the paper has 1 and 5
BATCH_SIZE = 64          # the paper's
Z_DIM = 100              # length of the latent vector z
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
DECAY = False            # whether the rates fall to 0, along a line to the last step
BETA1 = 0.5              # Adam's momentum, 0 is none; the paper's settings A to C
WEIGHT_AVERAGE = 0.998   # decay of the averaged weights that are drawn and measured; 0 takes the last ones
SEED = 0                 # start of all randomness


def discriminator(x, training):
    """x [B, n] or [B, 28, 28, C] -> scores [B, 1]. Sampling, that is training False, does not turn the singular vectors."""
    if not SPECTRAL_NORM:
        return testbed.discriminator(x)
    with ops.spectral_norm(training):
        return testbed.discriminator(x)


def losses(real_scores, fake_scores):
    """Scores [B, 1] of real and generated samples -> (d_loss, g_loss), the hinge (eq. 16 and 17)."""
    d_loss = tf.reduce_mean(tf.nn.relu(1 - real_scores)) + tf.reduce_mean(tf.nn.relu(1 + fake_scores))
    return d_loss, -tf.reduce_mean(fake_scores)


def main():
    tf.set_random_seed(SEED)
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    real_scores, fake_scores = discriminator(x, training=True), discriminator(fake, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_scores, fake_scores)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss,
                   'real_score': tf.reduce_mean(real_scores), 'fake_score': tf.reduce_mean(fake_scores)}

    rate = ops.share_left('discriminator', STEPS * D_STEPS) if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/')

    testbed.train(globals(), [d_step] * D_STEPS + [g_step], scalars, lambda points: discriminator(points, training=False))


if __name__ == '__main__':
    run.main(globals())
