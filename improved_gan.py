"""Improved techniques: Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, "Improved Techniques for Training GANs",
arXiv:1606.03498.

Four remedies of section 3, each a constant: D sees how close the samples of a batch are to each other, so that a collapsed G
is found out; G matches the mean of D's features instead of fooling D; both players are held near the average of where they
have been, which stops them from circling; and D is told that a real picture is real with 0.9 only.

    python improved_gan.py --dataset mnist
    python improved_gan.py --dataset ring --no-minibatch --feature-matching
"""
import ops
import run
import testbed

import tensorflow.compat.v1 as tf

DATASET = 'mnist'            # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'
MINIBATCH = True             # minibatch discrimination, section 3.2: D sees all samples of a batch at once
KERNELS = 32                 # of it: B, the numbers that are added to D's features
DIMENSIONS = 8               # of it: C, the length of what is compared
FEATURE_MATCHING = False     # section 3.1: G's loss is the distance between mean features
HISTORICAL_AVERAGING = 0.0   # section 3.3: weight of the distance to the average of the past weights; 0 leaves it out
REAL_LABEL = 0.9             # section 3.4, one-sided label smoothing; 1 is no smoothing
STEPS = 8000                 # one step is an update of D, then one of G
BATCH_SIZE = 64              # samples that D compares
Z_DIM = 100                  # length of the latent vector z
D_LEARNING_RATE = 4e-4       # for Adam
G_LEARNING_RATE = 1e-3       # more than D's, so that G keeps up
DECAY = False                # whether the rates fall to 0, along a line to the last step
BETA1 = 0.5                  # Adam's momentum, 0 is none; the paper's
WEIGHT_AVERAGE = 0.998       # decay of the averaged weights that are drawn and measured; 0 takes the last ones
SEED = 0                     # start of all randomness


def discriminator(x):
    """x [B, n] or [B, 28, 28, C] -> (logits [B, 1], features [B, m] before the minibatch layer)."""
    features = h = testbed.features(x)
    if MINIBATCH:
        with ops.network('discriminator'):
            h = ops.minibatch_discrimination(features, KERNELS, DIMENSIONS, 'minibatch')
    return testbed.logits(h), features


def losses(real_logits, fake_logits, real_features, fake_features):
    """Logits [B, 1] and features [B, m] of real and generated samples -> (d_loss, g_loss)."""
    d_loss = tf.reduce_mean(REAL_LABEL * tf.nn.softplus(-real_logits) + (1 - REAL_LABEL) * tf.nn.softplus(real_logits)
                            + tf.nn.softplus(fake_logits))  # -a log D(x) - (1 - a) log(1 - D(x)) - log(1 - D(G(z)))
    if FEATURE_MATCHING:
        return d_loss, tf.reduce_sum((tf.reduce_mean(real_features, 0) - tf.reduce_mean(fake_features, 0)) ** 2)
    return d_loss, tf.reduce_mean(tf.nn.softplus(-fake_logits))                           # -log D(G(z))


def historical_averaging(network):
    """|theta - mean of all theta so far|^2 of a network's weights; the mean, saved, goes on with each of its updates."""
    weights, total = tf.trainable_variables(f'{network}/'), 0.0
    with ops.network(network):
        t = tf.get_variable('history/t', [], initializer=tf.zeros_initializer(), trainable=False)
        now = t.read_value()
        updates = [t.assign(now + 1, read_value=False)]
        for w in weights:
            past = tf.get_variable(w.op.name.replace(f'{network}/', 'history/'), w.shape, trainable=False,
                                   initializer=tf.zeros_initializer())
            mean = past.read_value() + (w - past) / (now + 1)
            updates.append(past.assign(mean, read_value=False))
            total += tf.reduce_sum((w - tf.stop_gradient(mean)) ** 2)
        for update in updates:
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
    return total


def main():
    tf.set_random_seed(SEED)
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    (real_logits, real_features), (fake_logits, fake_features) = discriminator(x), discriminator(fake)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits, real_features, fake_features)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real_logits)), 'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits))}
    if HISTORICAL_AVERAGING:
        moved = [historical_averaging(network) for network in ('discriminator', 'generator')]
        with tf.name_scope('losses/'):
            d_loss, g_loss = d_loss + HISTORICAL_AVERAGING * moved[0], g_loss + HISTORICAL_AVERAGING * moved[1]

    rate = ops.share_left('discriminator', STEPS) if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/')

    testbed.train(globals(), [d_step, g_step], scalars)


if __name__ == '__main__':
    run.main(globals())
