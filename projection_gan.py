"""Projection discriminator: Miyato & Koyama 2018, "cGANs with Projection Discriminator", arXiv:1802.05637.

If the classes differ in the mean of some features phi(x), then log p(y|x) is linear in phi(x), and so is the best way to tell
the discriminator of them: D(x, y) = psi(phi(x)) + V[y] . phi(x), one vector for each class. Spectral norm bounds D, the hinge
is its loss, and the generator has a scale and an offset of its own for each class in every batch norm (Dumoulin, Shlens &
Kudlur 2016, arXiv:1610.07629).

    python projection_gan.py --dataset mnist

Page: docs/conditional.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist or a folder of pictures, whose subfolders are the classes
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour

# networks
Z_DIM = 100              # length of the latent vector z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer

# training
STEPS = 4000             # one step is one update of D, then one of G
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 2e-3   # for Adam
G_LEARNING_RATE = 1e-3   # half of it
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def hidden(h, y, training, name):
    """A layer of G without its weights: batch norm with scale[y] and offset[y], then ReLU. h [B, c] or [B, s, s, c]."""
    def activation(h):
        scale, offset = (tf.matmul(y, tf.get_variable(part, [y.shape[1], h.shape[-1]], initializer=start))
                         for part, start in [('scale', tf.ones_initializer()), ('offset', tf.zeros_initializer())])
        shape = [-1, *[1] * (h.shape.ndims - 2), h.shape[-1]]
        return tf.nn.relu(h * tf.reshape(scale, shape) + tf.reshape(offset, shape))

    return ops.batch_norm(h, training, name, affine=False, activation=activation)


def generator(z, y, training):
    """z [B, Z_DIM] from N(0, 1), classes y [B, K] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator'):
        depth = ops.depth(IMAGE_SIZE, CHANNELS)
        side, filters = IMAGE_SIZE >> depth, WIDTH << depth - 1                            # for 28 pixels:
        h = hidden(ops.dense(z, HIDDEN, 'dense1', bias=False), y, training, 'norm1')
        h = hidden(ops.dense(h, side * side * filters, 'dense2', bias=False), y, training, 'norm2')
        h = tf.reshape(h, [-1, side, side, filters])                                       # [B, 7, 7, 2 WIDTH]
        for number in range(1, depth):
            filters //= 2
            h = ops.conv_transpose(h, filters, f'deconv{number}', bias=False)              # [B, 14, 14, WIDTH]
            h = hidden(h, y, training, f'norm{number + 2}')
        return ops.conv_transpose(h, CHANNELS, f'deconv{depth}', activation=tf.tanh)       # [B, 28, 28, CHANNELS]


def discriminator(x, y, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1], classes y [B, K] -> scores [B, 1]."""
    depth = ops.depth(IMAGE_SIZE, CHANNELS)
    with ops.network('discriminator'), ops.spectral_norm(training):
        phi = x
        for number in range(1, depth + 1):                                                 # [B, 14, 14, WIDTH], then
            phi = ops.conv(phi, WIDTH << number - 1, f'conv{number}', activation=tf.nn.leaky_relu)   # [B, 7, 7, 2 WIDTH]
        phi = ops.dense(phi, HIDDEN, 'dense1', activation=tf.nn.leaky_relu)
        v = ops.dense(y, HIDDEN, 'v', bias=False)                                          # [B, HIDDEN]
        return ops.dense(phi, 1, 'psi') + tf.reduce_sum(v * phi, 1, keepdims=True)         # eq. 3


def losses(real_scores, fake_scores):
    """Scores [B, 1] of real and generated images -> (d_loss, g_loss), the hinge."""
    real_loss, fake_loss = tf.reduce_mean(tf.nn.relu(1 - real_scores)), tf.reduce_mean(tf.nn.relu(1 + fake_scores))
    return tf.add(real_loss, fake_loss, name='d_loss'), tf.negative(tf.reduce_mean(fake_scores), name='g_loss')


def main():
    classes = len(data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True))
    with tf.variable_scope('data'):
        x, label = data.batches(data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS), BATCH_SIZE)
        y = tf.one_hot(label, classes, name='y')
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, y, training=True)
    with tf.name_scope('real'):
        real_scores = discriminator(x, y, training=True)
    with tf.name_scope('fake'):
        fake_scores = discriminator(fake, y, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_scores, fake_scores)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'real_score': tf.reduce_mean(real_scores, name='real_score'),
                   'fake_score': tf.reduce_mean(fake_scores, name='fake_score')}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[d_step, g_step], scalars=scalars,
              scores={'real': real_scores, 'fake': fake_scores},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM), label=run.label(classes))})


if __name__ == '__main__':
    run.main(globals())
