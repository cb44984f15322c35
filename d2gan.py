"""D2GAN: Nguyen, Le, Vu & Phung 2017, "Dual Discriminator Generative Adversarial Nets", arXiv:1709.03831.

Two discriminators of opposite tastes: D1 gives high scores to data, D2 to samples, and G plays against both. At their best
they make G minimize ALPHA KL(data || samples) + BETA KL(samples || data): the first punishes a mode that is left out, the second
a sample where there are no data.

    python d2gan.py --dataset grid

Page: docs/players.md
"""
import ops
import run
import testbed

import tensorflow.compat.v1 as tf

# data
DATASET = 'grid'         # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'

# networks
Z_DIM = 2                # length of the latent vector z

# objective
ALPHA = 1.0              # weight of KL(data || samples), in (0, inf); the authors' code for points in the plane: 1
BETA = 1.0               # of KL(samples || data), in (0, inf); the same

# training
STEPS = 8000             # one step is an update of D1 and D2, then one of G
BATCH_SIZE = 100         # samples in an update
D_LEARNING_RATE = 1.5e-3  # for Adam; more than G's, so that D keeps up
G_LEARNING_RATE = 3e-4   # a fifth of D's
DECAY = True             # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.0     # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
SAMPLE_EVERY = 250       # steps between pictures
EVAL_EVERY = 1000        # steps between measurements
CHECKPOINT_EVERY = 2000  # steps between checkpoints


def discriminators(x):
    """x [B, n] or [B, h, w, c] -> logits [B, 1] of D1 and of D2; D = softplus(logits) in (0, inf)."""
    return [testbed.discriminator(x, network=f'{name}_discriminator') for name in ('data', 'sample')]


def log_softplus(s):
    """log(softplus(s)), which is s where softplus(s) = e^s is too small for the logarithm."""
    small = s < -15
    return tf.where(small, s, tf.math.log(tf.nn.softplus(tf.where(small, tf.zeros_like(s), s))))


def losses(real1, real2, fake1, fake2):
    """Logits [B, 1] of D1 and D2, of data and of samples -> (d_loss, g_loss): eq. 1, which G minimizes and D1 and D2 maximize."""
    d1_loss = -ALPHA * log_softplus(real1) + tf.nn.softplus(fake1)           # -alpha log D1(x) + D1(G(z))
    d2_loss = tf.nn.softplus(real2) - BETA * log_softplus(fake2)             # D2(x) - beta log D2(G(z))
    g_loss = -tf.nn.softplus(fake1) + BETA * log_softplus(fake2)             # -D1(G(z)) + beta log D2(G(z))
    return tf.reduce_mean(d1_loss + d2_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss')


def score(points):
    """Points [N, 2] -> what G looks for, D1 - beta log D2: [N, 1]."""
    s1, s2 = discriminators(points)
    return tf.nn.softplus(s1) - BETA * log_softplus(s2)


def main():
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    with tf.name_scope('real'):
        real1, real2 = discriminators(x)
    with tf.name_scope('fake'):
        fake1, fake2 = discriminators(fake)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real1, real2, fake1, fake2)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss}
        for name, logits in {'D1(x)': real1, 'D1(G(z))': fake1, 'D2(x)': real2, 'D2(G(z))': fake2}.items():
            scalars[name] = tf.reduce_mean(tf.nn.softplus(logits), name=name.replace('(', '_').replace(')', ''))

    rate = ops.linear_decay() if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss,
                              ('data_discriminator/', 'sample_discriminator/'), 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')

    testbed.train(globals(), [d_step, g_step], scalars, {'real': real1, 'fake': fake1}, score, lambda s: -tf.reduce_sum(s))


if __name__ == '__main__':
    run.main(globals())
