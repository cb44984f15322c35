"""MAD-GAN: Ghosh, Kulharia, Namboodiri, Torr & Dokania 2017, "Multi-Agent Diverse Generative Adversarial Networks",
arXiv:1704.02906.

Several generators share all layers but one. D has to tell real samples from generated ones *and* to name the generator of
these. To be able to, it pushes the generators apart, each to modes of its own; together they have to cover the data.

    python mad_gan.py --dataset grid

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
GENERATORS = 8           # K, from 1 to 100; 1 is the plain GAN
OWN = 'last'             # 'last' or 'first': the layer that each has of its own; the first in Hoang et al. (arXiv:1708.02556)

# training
STEPS = 16000            # one step is an update of D, then one of all generators
BATCH_SIZE = 100         # samples in an update, each of a generator that is drawn
D_LEARNING_RATE = 1.5e-3  # for Adam; more than G's, so that D keeps up
G_LEARNING_RATE = 3e-4   # a fifth of D's
DECAY = True             # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.999   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
SAMPLE_EVERY = 250       # steps between pictures
EVAL_EVERY = 1000        # steps between measurements
CHECKPOINT_EVERY = 2000  # steps between checkpoints


def generator(z, index, training):
    """z [B, Z_DIM] from N(0, 1), which generator of K, one-hot [B, K] -> its samples [B, 2] or [B, 28, 28, C]."""
    if OWN == 'first':
        with ops.network('generator'):                                                   # weights and offsets of each one's own
            apart = tf.reshape(index[:, :, None] * z[:, None], [-1, GENERATORS * Z_DIM])
            z = tf.concat([apart, index], 1)
        return testbed.generator(z, DATASET, training)
    h = testbed.hidden(z, DATASET, training)
    every = [testbed.output(h, DATASET, f'generator{number}') for number in range(1, GENERATORS + 1)]
    with ops.network('generator'):
        chosen = tf.reshape(index, [-1, GENERATORS] + [1] * (h.shape.ndims - 1))         # a 1, all others are 0
        return tf.reduce_sum(chosen * tf.stack(every, 1), 1)


def discriminator(x):
    """x [B, n] or [B, h, w, c] -> logits [B, K + 1] of a softmax: of each generator, and that x is real."""
    return testbed.discriminator(x, GENERATORS + 1)


def losses(real_logits, fake_logits, index):
    """Logits [B, K + 1] of data and of samples, whose they are [B, K] -> (d_loss, g_loss): section 4 of the paper."""
    real, fake = tf.nn.log_softmax(real_logits), tf.nn.log_softmax(fake_logits)
    d_loss = -real[:, -1] - tf.reduce_sum(index * fake[:, :-1], 1)                       # -log D_real(x) - log D_k(G_k(z))
    g_loss = -fake[:, -1]                                                                # -log D_real(G_k(z))
    return tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss')


def score(logits):
    """Logits [N, K + 1] -> log odds that a sample is real [N, 1]."""
    return logits[:, -1:] - tf.reduce_logsumexp(logits[:, :-1], 1, keepdims=True)


def main():
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z, index = ops.noise([BATCH_SIZE, Z_DIM]), ops.category(BATCH_SIZE, GENERATORS, 'index')

    fake = generator(z, index, training=True)
    with tf.name_scope('real'):
        real_logits = discriminator(x)
    with tf.name_scope('fake'):
        fake_logits = discriminator(fake)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits, index)
        real_scores, fake_scores = score(real_logits), score(fake_logits)
        right = tf.equal(tf.argmax(fake_logits[:, :-1], 1), tf.argmax(index, 1))
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'real_score': tf.reduce_mean(real_scores, name='real_score'),
                   'fake_score': tf.reduce_mean(fake_scores, name='fake_score'),
                   'named': tf.reduce_mean(tf.cast(right, tf.float32), name='named')}    # the share whose generator D names

    rate = ops.linear_decay() if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')

    network = run.network(generator, testbed.drawn_as(DATASET), z=run.normal(Z_DIM), index=run.label(GENERATORS))
    testbed.train(globals(), [d_step, g_step], scalars, {'real': real_scores, 'fake': fake_scores},
                  lambda points: score(discriminator(points)), lambda scores: tf.reduce_sum(tf.nn.softplus(-scores)), network)


if __name__ == '__main__':
    run.main(globals())
