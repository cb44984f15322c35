"""DCGAN: Radford, Metz & Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", arXiv:1511.06434.

Two convolutional networks play against each other: the discriminator D learns to tell real pictures from generated
ones, the generator G learns to make pictures that D takes for real. Strides instead of pooling, batch norm in both.

    python dcgan.py --dataset mnist
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

DATASET = 'mnist'       # mnist or fashion_mnist
STEPS = 4000            # one step is one update of D, then one of G
BATCH_SIZE = 64         # small batches: more updates a second, and good digits sooner
Z_DIM = 100             # length of the latent vector z
HIDDEN = 256            # units of the fully connected layer at the far end of each network
WIDTH = 64              # channels of the layer nearest to the pixels; the next has twice as many
D_LEARNING_RATE = 4e-4  # for Adam; twice the paper's
G_LEARNING_RATE = 2e-3  # five times D's: G keeps up with D, which matters more than anything else here
BETA1 = 0.5             # Adam's momentum; the paper found 0.9 to oscillate
WEIGHT_AVERAGE = 0.998  # decay of the averaged generator weights that are sampled; 0 samples the last weights
SEED = 0                # start of all randomness


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, 28, 28, 1] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.dense(z, HIDDEN, 'dense1', bias=False)
        h = tf.nn.relu(ops.batch_norm(h, training, 'norm1'))
        h = ops.dense(h, 7 * 7 * 2 * WIDTH, 'dense2', bias=False)
        h = tf.nn.relu(ops.batch_norm(h, training, 'norm2'))
        h = tf.reshape(h, [-1, 7, 7, 2 * WIDTH])
        h = ops.conv_transpose(h, WIDTH, 'deconv1', bias=False)               # [B, 14, 14, WIDTH]
        h = tf.nn.relu(ops.batch_norm(h, training, 'norm3'))
        return tf.tanh(ops.conv_transpose(h, 1, 'deconv2'))                   # [B, 28, 28, 1]


def discriminator(x, training):
    """x [B, 28, 28, 1] in [-1, 1] -> logits [B, 1]; sigmoid(logits) = D(x), the probability that x is real."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        h = tf.nn.leaky_relu(ops.conv(x, WIDTH, 'conv1'))                     # [B, 14, 14, WIDTH]
        h = ops.conv(h, 2 * WIDTH, 'conv2', bias=False)                       # [B, 7, 7, 2 WIDTH]
        h = tf.nn.leaky_relu(ops.batch_norm(h, training, 'norm1'))
        h = ops.dense(tf.reshape(h, [-1, 7 * 7 * 2 * WIDTH]), HIDDEN, 'dense1', bias=False)
        h = tf.nn.leaky_relu(ops.batch_norm(h, training, 'norm2'))
        return ops.dense(h, 1, 'dense2')


def losses(real_logits, fake_logits):
    """Logits [B, 1] of real and generated pictures -> (d_loss, g_loss), the game of arXiv:1406.2661."""
    d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits))  # -log D(x) - log(1 - D(G(z)))
    g_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits))                                # -log D(G(z))
    return d_loss, g_loss


def main():
    tf.set_random_seed(SEED)
    images, _ = data.load(DATASET)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    real_logits = discriminator(x, training=True)
    fake_logits = discriminator(generator(z, training=True), training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real_logits)), 'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits))}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/')

    run.train(globals(), updates=[d_step, g_step], scalars=scalars, steps=STEPS,
              generator=generator, z_dim=Z_DIM, weight_average=WEIGHT_AVERAGE)


if __name__ == '__main__':
    run.main(globals())
