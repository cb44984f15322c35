"""CGAN: Mirza & Osindero 2014, "Conditional Generative Adversarial Nets", arXiv:1411.1784.

Both networks are told the class y: the generator draws G(z|y), and the discriminator judges whether x is real *and* of that
class, D(x|y). A real seven that is called a one is never shown to it, so what it learns of the classes it learns from the real
pairs alone. The networks are those of dcgan.py, with y at the input and at the fully connected layers of
each.

    python cgan.py --dataset mnist

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
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, y, training):
    """z [B, Z_DIM] from N(0, 1), classes y [B, K] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(tf.concat([z, y], 1), [HIDDEN], training)
        return ops.deconv_stack(tf.concat([h, y], 1), IMAGE_SIZE, CHANNELS, WIDTH, training)


def discriminator(x, y, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1], classes y [B, K] -> logits [B, 1]; sigmoid(logits) = D(x|y)."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        plane = tf.reshape(ops.dense(y, IMAGE_SIZE ** 2, 'plane'), [-1, IMAGE_SIZE, IMAGE_SIZE, 1])
        h = ops.conv_stack(tf.concat([x, plane], 3), WIDTH, training)
        h = ops.norm_stack(tf.concat([h, y], 1), [HIDDEN], training, tf.nn.leaky_relu)
        return ops.dense(tf.concat([h, y], 1), 1, 'dense2')


def losses(real_logits, fake_logits):
    """Logits [B, 1] of real and generated images, each with its class -> (d_loss, g_loss): eq. 2, non-saturating for G."""
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)                    # -log D(x|y) - log(1 - D(G(z|y)|y))
    g_loss = tf.nn.softplus(-fake_logits)                                                  # -log D(G(z|y)|y)
    return tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss')


def main():
    classes = len(data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True))
    with tf.variable_scope('data'):
        x, label = data.batches(data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS), BATCH_SIZE)
        y = tf.one_hot(label, classes, name='y')
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, y, training=True)
    with tf.name_scope('real'):
        real_logits = discriminator(x, y, training=True)
    with tf.name_scope('fake'):
        fake_logits = discriminator(fake, y, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[d_step, g_step], scalars=scalars,
              scores={'real': real_logits, 'fake': fake_logits},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM), label=run.label(classes))})


if __name__ == '__main__':
    run.main(globals())
