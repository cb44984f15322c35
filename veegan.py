"""VEEGAN: Srivastava, Valkov, Russell, Gutmann & Sutton 2017, "VEEGAN: Reducing Mode Collapse in GANs using Implicit
Variational Learning", arXiv:1705.07761.

A reconstructor F maps data back to noise: to a mean and a deviation of each number of z. D judges pairs: (x, draw of F(x)) of
data, or (G(z), z) of noise? G has to make D's pairs alike *and* z likely under F(G(z)). Where G leaves out a mode, F sends its
data anywhere but to N(0, 1), which D sees.

    python veegan.py --dataset grid

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
PAIR = 64                # units of D's layer that joins x and z, from 1 to 10000
LEAST_SD = 0.3           # the least standard deviation of F(x), in (0, 1]; without one F grows certain, and its loss has no bound

# objective
RECONSTRUCTION = 0.2     # weight of -log p(z | F(G(z))) of a number of z, in [0, inf); the paper: 1, of all of them together

# training
STEPS = 8000             # one step is an update of D, then one of G and F
BATCH_SIZE = 100         # samples in an update; the authors' code: 500
D_LEARNING_RATE = 6e-4   # for Adam; twice G's: at five times G's fewer samples are good
G_LEARNING_RATE = 3e-4   # of G and F
DECAY = True             # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.0     # EMA decay of the weights of G and F, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
SAMPLE_EVERY = 250       # steps between pictures
EVAL_EVERY = 1000        # steps between measurements
CHECKPOINT_EVERY = 2000  # steps between checkpoints


def reconstructor(x):
    """F: x [B, n] or [B, h, w, c] -> mean and deviation [B, Z_DIM] of its noise, by the layers of a discriminator."""
    both = testbed.discriminator(x, 2 * Z_DIM, 'reconstructor')
    with ops.network('reconstructor'):
        mean, h = tf.split(both, 2, axis=1)
        with tf.name_scope(f'{both.op.name.rpartition("/")[0]}/'):                       # in the box of its layer
            return mean, LEAST_SD + tf.nn.softplus(h)


def discriminator(x, z):
    """Pairs of x [B, n] or [B, h, w, c] and z [B, Z_DIM] -> logits [B, 1], at the best D log p(x) p(z|x) / (p(z) p(x|z))."""
    h = testbed.features(x)
    with ops.network('discriminator'):
        h = ops.maxout(tf.concat([h, z], 1), PAIR, testbed.PIECES, 'pair')
    return testbed.logits(h)


def losses(real_logits, fake_logits, z, mean, sd):
    """Logits [B, 1] of pairs, z and F(G(z)) [B, Z_DIM] -> (d_loss, g_loss, reconstruction): algorithm 1 of the paper."""
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)                  # -log D(x, F(x)) - log(1 - D(G(z), z))
    g_loss = -fake_logits                                                                # log p(G(z), z) / p(x, F(x))
    reconstruction = tf.square((z - mean) / sd) / 2 + tf.math.log(sd)                     # -log N(z; F(G(z))) - log(2 pi) / 2
    return (tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss'),
            tf.reduce_mean(reconstruction, name='reconstruction'))


def score(points):
    """Points [N, 2] -> logits [N, 1] of the points with the mean of their noise."""
    return discriminator(points, tf.stop_gradient(reconstructor(points)[0]))


def main():
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z, e = ops.noise([BATCH_SIZE, Z_DIM]), ops.noise([BATCH_SIZE, Z_DIM], 'e')

    fake = testbed.generator(z, DATASET, training=True)
    with tf.name_scope('real'):
        mean, sd = reconstructor(x)
        with ops.network('reconstructor'):
            drawn = mean + sd * e
        real_logits = discriminator(x, drawn)
    with tf.name_scope('fake'):
        fake_logits, (mean, sd) = discriminator(fake, z), reconstructor(fake)

    with tf.name_scope('losses'):
        d_loss, g_loss, reconstruction = losses(real_logits, fake_logits, z, mean, sd)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'reconstruction': reconstruction,
                   'D(x, F(x))': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x_F_x'),
                   'D(G(z), z)': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z_z')}

    rate = ops.linear_decay() if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/', 'd_step')
        gf_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss + RECONSTRUCTION * reconstruction,
                               ('generator/', 'reconstructor/'), 'gf_step')  # g_loss does not depend on F: (G(z), z) has none

    testbed.train(globals(), [d_step, gf_step], scalars, {'real': real_logits, 'fake': fake_logits}, score,
                  lambda logits: -tf.reduce_sum(logits))


if __name__ == '__main__':
    run.main(globals())
