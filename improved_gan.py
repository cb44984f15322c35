"""Improved techniques: Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, "Improved Techniques for Training GANs",
arXiv:1606.03498.

Four remedies of section 3, each a constant: D sees how close the samples of a batch are to each other, so that it detects a
collapsed G; G matches the mean of D's features instead of fooling D; both players are held near the average of their past
weights, which stops them from circling; and the label of a real image is 0.9 instead of 1. Virtual batch normalization,
section 3.5, is left out.

    python improved_gan.py --dataset mnist
    python improved_gan.py --dataset ring --no-minibatch --feature-matching

Page: docs/mode-collapse.md
"""
import ops
import run
import testbed

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'            # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'

# networks
Z_DIM = 100                  # length of the latent vector z

# remedies
MINIBATCH = True             # minibatch discrimination, section 3.2: D sees all samples of a batch at once
KERNELS = 32                 # of it: B, the numbers that are added to D's features
DIMENSIONS = 8               # of it: C, the length of what is compared, from 1 to 100
FEATURE_MATCHING = False     # section 3.1: G's loss is the distance between mean features
HISTORICAL_AVERAGING = 0.0   # section 3.3: weight of the distance to the average of the past weights, in [0, inf)
REAL_LABEL = 0.9             # section 3.4, one-sided label smoothing, in [0, 1]; 1 is no smoothing

# training
STEPS = 8000                 # one step is an update of D, then one of G
BATCH_SIZE = 64              # samples that D compares
D_LEARNING_RATE = 4e-4       # for Adam
G_LEARNING_RATE = 1e-3       # more than D's, so that G keeps up
DECAY = False                # decay the learning rates linearly to 0
BETA1 = 0.5                  # Adam's beta1, in [0, 1); the paper's
WEIGHT_AVERAGE = 0.998       # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                     # random seed


def minibatch_discrimination(x, kernels, dimensions, name):
    """x [B, n] -> [B, n + kernels]: x, and how close each sample is to the others (Salimans et al. 2016, arXiv:1606.03498, 3.2).

    M = x T [B, kernels, dimensions]; what is added is o_i = sum over j of exp(-|M_i - M_j|_1), j = i included.
    """
    with tf.variable_scope(name):
        m = tf.reshape(tf.matmul(x, ops.weights([x.shape[1], kernels * dimensions])), [-1, kernels, dimensions])
        columns = tf.unstack(tf.transpose(m, [2, 1, 0]))                            # of each dimension: [kernels, B]
        apart = tf.add_n([tf.abs(column[:, :, None] - column[:, None]) for column in columns])  # [kernels, B, B]
        return tf.concat([x, tf.transpose(tf.reduce_sum(tf.exp(-apart), 2))], 1)


def discriminator(x):
    """x [B, n] or [B, 28, 28, C] -> (logits [B, 1], features [B, m] before the minibatch layer)."""
    features = h = testbed.features(x)
    if MINIBATCH:
        with ops.network('discriminator'):
            h = minibatch_discrimination(features, KERNELS, DIMENSIONS, 'minibatch')
    return testbed.logits(h), features


def losses(real_logits, fake_logits, real_features, fake_features):
    """Logits [B, 1] and features [B, m] of real and generated samples -> (d_loss, g_loss)."""
    d_loss = (REAL_LABEL * tf.nn.softplus(-real_logits) + (1 - REAL_LABEL) * tf.nn.softplus(real_logits)
              + tf.nn.softplus(fake_logits))  # -a log D(x) - (1 - a) log(1 - D(x)) - log(1 - D(G(z)))
    d_loss = tf.reduce_mean(d_loss, name='d_loss')
    if FEATURE_MATCHING:
        apart = tf.reduce_mean(real_features, 0) - tf.reduce_mean(fake_features, 0)
        return d_loss, tf.reduce_sum(apart ** 2, name='g_loss')
    return d_loss, tf.reduce_mean(tf.nn.softplus(-fake_logits), name='g_loss')            # -log D(G(z))


def historical_averaging(network):
    """|theta - mean of all theta so far|^2 of a network's weights; the mean is saved, and moves with each of its updates."""
    weights, total = tf.trainable_variables(f'{network}/'), 0.0
    with tf.name_scope('theta'), ops.network(network):
        t = tf.get_variable('history/t', [], initializer=tf.zeros_initializer(), trainable=False)
        now = t.read_value()
        ops.with_update(lambda: t.assign(now + 1, read_value=False))
        for w in weights:
            past = tf.get_variable(w.op.name.replace(f'{network}/', 'history/'), w.shape, trainable=False,
                                   initializer=tf.zeros_initializer())
            mean = past.read_value() + (w - past) / (now + 1)
            ops.with_update(lambda past=past, mean=mean: past.assign(mean, read_value=False))
            total += tf.reduce_sum((w - tf.stop_gradient(mean)) ** 2)
    return total


def main():
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    with tf.name_scope('real'):
        real_logits, real_features = discriminator(x)
    with tf.name_scope('fake'):
        fake_logits, fake_features = discriminator(fake)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits, real_features, fake_features)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}
    if HISTORICAL_AVERAGING:
        moved = [historical_averaging(network) for network in ('discriminator', 'generator')]
        with tf.name_scope('losses/'):
            d_loss, g_loss = d_loss + HISTORICAL_AVERAGING * moved[0], g_loss + HISTORICAL_AVERAGING * moved[1]

    rate = ops.linear_decay() if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')

    testbed.train(globals(), [d_step, g_step], scalars, {'real': real_logits, 'fake': fake_logits})


if __name__ == '__main__':
    run.main(globals())
