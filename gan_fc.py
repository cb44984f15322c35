"""GAN: Goodfellow et al. 2014, "Generative Adversarial Networks", arXiv:1406.2661.

A generator G turns noise into images, a discriminator D estimates the probability that an image is real. D learns to be
right, G learns to make it wrong. Both are fully connected networks, as in the paper.

    python gan_fc.py --dataset mnist

Page: docs/gan.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'          # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28            # pixels on a side, from 1 to 4096
CHANNELS = 1               # 1 is grey, 3 is colour

# networks
Z_DIM = 64                 # length of the latent vector z
G_HIDDEN = (256, 512)      # units of G's hidden layers
D_HIDDEN = (512, 256)      # units of D's hidden layers
ACTIVATION = 'leaky_relu'  # 'leaky_relu' or 'relu': of the hidden layers
BATCH_NORM = True          # in G's hidden layers
DROPOUT = 0.1              # rate of dropout in D's hidden layers, in [0, 1); the paper uses it too

# loss
LOSS = 'non-saturating'    # 'non-saturating' or 'minimax': G maximizes log D(G(z)), or minimizes log(1 - D(G(z)))

# training
STEPS = 16000              # one step is D_STEPS updates of D, then G_STEPS of G
D_STEPS = 1                # updates of D in a step, from 1 to 1000
G_STEPS = 1                # updates of G in a step, from 1 to 1000
BATCH_SIZE = 64            # pictures in an update
D_LEARNING_RATE = 4e-4     # for Adam
G_LEARNING_RATE = 2e-3     # five times D's, so that G keeps up
BETA1 = 0.5                # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.999     # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                   # random seed

# reports
SAMPLE_EVERY = 500         # steps between pictures: they are fast
EVAL_EVERY = 2000          # steps between Frechet distances
CHECKPOINT_EVERY = 2000    # steps between checkpoints


def activation(h):
    return tf.nn.relu(h) if ACTIVATION == 'relu' else tf.nn.leaky_relu(h)


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator'):
        h = z
        for number, units in enumerate(G_HIDDEN, 1):
            h = ops.dense(h, units, f'dense{number}', activation=None if BATCH_NORM else activation)
            h = ops.batch_norm(h, training, f'norm{number}', activation=activation) if BATCH_NORM else h
        return ops.dense_images(h, IMAGE_SIZE, CHANNELS, tf.tanh)


def discriminator(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, 1]; sigmoid(logits) = D(x), that x is real."""
    with ops.network('discriminator'):
        h = x
        for number, units in enumerate(D_HIDDEN, 1):
            h = ops.dense(h, units, f'dense{number}', activation=activation)
            h = ops.dropout(h, DROPOUT, f'dropout{number}')
        return ops.dense(h, 1, 'logits')


def losses(real_logits, fake_logits):
    """Logits [B, 1] of real and generated images -> (d_loss, g_loss) (equation 1; the last paragraph of section 3)."""
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)                  # -log D(x) - log(1 - D(G(z)))
    g_loss = tf.nn.softplus(-fake_logits)                                                # -log D(G(z))
    if LOSS == 'minimax':
        g_loss = -tf.nn.softplus(fake_logits)                                            # log(1 - D(G(z)))
    return tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss')


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        real_logits = discriminator(x)
    with tf.name_scope('fake'):
        fake_logits = discriminator(fake)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[d_step] * D_STEPS + [g_step] * G_STEPS, scalars=scalars,
              scores={'real': real_logits, 'fake': fake_logits},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM))})


if __name__ == '__main__':
    run.main(globals())
