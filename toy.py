"""Mode collapse in the plane, seen and cured: the GAN of Goodfellow et al. 2014 (arXiv:1406.2661), and packing, Lin et al.
2018, "PacGAN: The power of two samples in generative adversarial networks", arXiv:1712.04086.

A generator that makes the same good sample over and over fools a discriminator that judges samples one by one. If D judges
PACKING samples at once, the lack of variety gives them away.

    python toy.py
    python toy.py --packing 2

Page: docs/mode-collapse.md
"""
import ops
import run
import testbed

import tensorflow.compat.v1 as tf

# data
DATASET = 'grid'         # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'

# networks
Z_DIM = 2                # length of the latent vector z; PacGAN's

# packing
PACKING = 1              # samples that D sees at once, from 1 to 1000; 1 is the plain GAN

# training
STEPS = 8000             # one step is an update of D, then one of G
BATCH_SIZE = 100         # packs in an update; PacGAN's
D_LEARNING_RATE = 3e-4   # for Adam
G_LEARNING_RATE = 3e-4   # the same
DECAY = True             # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.0     # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed
PRECISION = 'float32'    # matrices so small gain nothing from 16 bits

# reports
SAMPLE_EVERY = 250       # steps between pictures
EVAL_EVERY = 1000        # steps between measurements
CHECKPOINT_EVERY = 2000  # steps between checkpoints
OTHERS = 8               # packs over which a packed D is averaged to be drawn, from 1 to 100


def pack(x, packing):
    """x [B, n] -> [B / packing, packing n], [B, h, w, c] -> [B / packing, h, w, packing c]: so many in a row become one.

    A discriminator of packs sees whether samples differ as much as data do (section 2 of the PacGAN paper).
    """
    if x.shape.ndims == 2:
        return tf.reshape(x, [-1, packing * x.shape[1]])
    _, h, w, c = x.shape
    return tf.reshape(tf.transpose(tf.reshape(x, [-1, packing, h, w, c]), [0, 2, 3, 1, 4]), [-1, h, w, packing * c])


def discriminator(x):
    """x [B PACKING, n] or [B PACKING, h, w, c] -> logits [B, 1], one for each pack."""
    with ops.network('discriminator'):
        packs = pack(x, PACKING)
    return testbed.discriminator(packs)


def losses(real_logits, fake_logits):
    """Logits [B, 1] of packs of data and of samples -> (d_loss, g_loss)."""
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)                  # -log D(x) - log(1 - D(G(z)))
    g_loss = tf.nn.softplus(-fake_logits)                                                # -log D(G(z))
    return tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss')


def score(points):
    """Points [N, 2] -> logits [N, 1]: means over packs of the point and samples of G, OTHERS times, the same for every point."""
    z = tf.random.stateless_normal([OTHERS * (PACKING - 1), Z_DIM], [0, 0])
    others = tf.reshape(testbed.generator(z, DATASET, training=False), [OTHERS, 2 * (PACKING - 1)])
    packs = tf.concat([tf.repeat(points, OTHERS, axis=0), tf.tile(others, [points.shape[0], 1])], axis=1)
    return tf.reduce_mean(tf.reshape(testbed.discriminator(packs), [-1, OTHERS, 1]), axis=1)


def main():
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE * PACKING)
        z = ops.noise([BATCH_SIZE * PACKING, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    with tf.name_scope('real'):
        real_logits = discriminator(x)
    with tf.name_scope('fake'):
        fake_logits = discriminator(fake)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}

    rate = ops.linear_decay() if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')

    testbed.train(globals(), [d_step, g_step], scalars, {'real': real_logits, 'fake': fake_logits}, score,
                  lambda logits: losses(logits, logits)[1])


if __name__ == '__main__':
    run.main(globals())
