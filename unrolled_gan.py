"""Unrolled GAN: Metz et al. 2016, "Unrolled Generative Adversarial Networks", arXiv:1611.02163.

G's loss is not computed with D as it is, but with D as it will be after UNROLL more updates, and its gradient flows through
these updates: a mode that D is about to reject no longer pays off, so that there is no point in moving all samples to one.

    python unrolled_gan.py --dataset ring
    python unrolled_gan.py --dataset ring --unroll 0

Page: docs/mode-collapse.md
"""
import contextlib

import ops
import run
import testbed

import tensorflow.compat.v1 as tf

# data
DATASET = 'ring'         # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'

# networks
Z_DIM = 2                # length of the latent vector z

# objective
UNROLL = 5               # K, updates of D that G looks ahead, from 0 to 20; 0 is the plain GAN
G_LOSS = 'saddle'        # 'saddle' or 'non-saturating': G maximizes the unrolled D's whole loss, or log D^K(G(z)) alone

# training
STEPS = 8000             # one step is an update of D, then one of G
BATCH_SIZE = 100         # samples in an update
D_LEARNING_RATE = 3e-4   # for Adam; at 1e-3 'saddle' finds no mode of the ring
G_LEARNING_RATE = 3e-4   # the same
DECAY = True             # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
BETA2 = 0.999            # Adam's beta2, in [0, 1)
WEIGHT_AVERAGE = 0.0     # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed
PRECISION = 'float32'    # small matrices, and gradients of gradients

# reports
SAMPLE_EVERY = 200       # steps between pictures
EVAL_EVERY = 1000        # steps between measurements
CHECKPOINT_EVERY = 2000  # steps between checkpoints


def losses(real_logits, fake_logits):
    """Logits [B, 1] of data and samples -> (d_loss, g_loss). 'saddle' is -f of equation 5, as in the authors' code.

    Its real term too depends on G, through D's updates.
    """
    d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits))  # -log D(x) - log(1 - D(G(z)))
    if G_LOSS == 'saddle':
        return d_loss, -d_loss
    return d_loss, tf.reduce_mean(tf.nn.softplus(-fake_logits))                          # -log D(G(z))


@contextlib.contextmanager
def substituted(values):
    """Inside, networks take `values` {name of a variable: tensor} for these variables of theirs, which are not touched."""
    def substitute(getter, name, *args, **options):
        variable = getter(name, *args, **options)
        return values.get(name, variable)

    with tf.variable_scope(tf.get_variable_scope(), custom_getter=substitute, auxiliary_name_scope=False):
        yield


def adam(gradient, m, v, power1, power2, learning_rate, epsilon=1e-8):
    """One update of Adam as tensors: (change of the weight, m, v); the powers are beta1^t and beta2^t (arXiv:1412.6980)."""
    m = BETA1 * m + (1 - BETA1) * gradient
    v = BETA2 * v + (1 - BETA2) * gradient ** 2
    rate = learning_rate * tf.sqrt(1 - power2) / (1 - power1)
    return -rate * m / (tf.sqrt(tf.maximum(v, 1e-30)) + epsilon), m, v     # no derivative of the root at 0


def unrolled(discriminator, x, fake, optimizer, learning_rate, updates):
    """D's weights after so many more updates on this batch by `optimizer`, an Adam of this rate: {name: tensor}.

    Equation 8 of the paper. They depend on `fake` through all the updates, and so does G's gradient.
    """
    variables = tf.trainable_variables('discriminator/')
    weights = {w.op.name: w.read_value() for w in variables}
    m, v = ({w.op.name: optimizer.get_slot(w, slot).read_value() for w in variables} for slot in 'mv')
    power1, power2 = (w.read_value() for name in ('beta1_power', 'beta2_power')
                      for w in optimizer.variables() if w.op.name.endswith(name))
    for _ in range(updates):
        with substituted(weights):
            d_loss, _ = losses(discriminator(x), discriminator(fake))
        for name, gradient in zip(weights, tf.gradients(d_loss, list(weights.values())), strict=True):
            change, m[name], v[name] = adam(gradient, m[name], v[name], power1, power2, learning_rate)
            weights[name] += change
        power1, power2 = power1 * BETA1, power2 * BETA2
    return weights


def main():
    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    with tf.name_scope('real'):
        real_logits = testbed.discriminator(x)
    with tf.name_scope('fake'):
        fake_logits = testbed.discriminator(fake)

    with tf.name_scope('losses'):
        d_loss = tf.identity(losses(real_logits, fake_logits)[0], 'd_loss')
        d_x = tf.reduce_mean(tf.sigmoid(real_logits), name='D_x')
        d_g_z = tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')
    rate = ops.linear_decay() if DECAY else 1.0
    with tf.variable_scope('optimizers'):
        d_optimizer = tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1, BETA2)
        d_step = ops.minimize(d_optimizer, d_loss, 'discriminator/', 'd_step')
    with tf.name_scope('losses/unrolled/'):
        ahead = unrolled(testbed.discriminator, x, fake, d_optimizer, D_LEARNING_RATE * rate, UNROLL)
        with substituted(ahead):
            g_loss = tf.identity(losses(testbed.discriminator(x), testbed.discriminator(fake))[1], 'g_loss')
    with tf.variable_scope('optimizers', auxiliary_name_scope=False), tf.name_scope('optimizers/'):
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1, BETA2), g_loss, 'generator/', 'g_step')

    testbed.train(globals(), [d_step, g_step], {'d_loss': d_loss, 'g_loss': g_loss, 'D(x)': d_x, 'D(G(z))': d_g_z},
                  {'real': real_logits, 'fake': fake_logits}, testbed.discriminator,
                  lambda logits: losses(tf.stop_gradient(logits), logits)[1])


if __name__ == '__main__':
    run.main(globals())
