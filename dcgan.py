"""DCGAN: Radford, Metz & Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", arXiv:1511.06434.

Two convolutional networks compete: the discriminator D learns to tell real images from generated ones, the generator G
learns to make images that D takes for real. Strided convolutions instead of pooling, batch norm in both networks.

    python dcgan.py --dataset mnist

Page: docs/dcgan.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour

# networks
Z_DIM = 100              # length of the latent vector z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer, where two convolutions are all there are (28 pixels)
ACTIVATION = 'relu'      # 'relu' or 'tanh': of G's hidden layers
UPSAMPLE = 'transpose'   # 'transpose' or 'resize': the paper's transposed convolution, or repeated pixels, then a convolution

# loss
LABEL_SMOOTHING = 0.0    # in [0, 1]: the target of real images is 1 minus this; 0.1 in Salimans et al. (arXiv:1606.03498)

# training
STEPS = 4000             # one step is one update of D, then one of G
BATCH_SIZE = 64          # small batches: more updates a second, and good digits sooner
D_LEARNING_RATE = 4e-4   # for Adam; twice the paper's
G_LEARNING_RATE = 2e-3   # good digits in few steps take a fast G; D's rate hardly matters here (docs/failures.md)
BETA1 = 0.5              # Adam's beta1, in [0, 1); the paper found 0.9 to oscillate
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def tanh(h):
    """tanh, as an odd function: TensorFlow fuses a plain one with a convolution and batch norm, and then cannot run it."""
    return -tf.tanh(-h)


def double(h, filters, name, **options):
    """h [B, s, s, c] -> [B, 2 s, 2 s, filters]; resizing first leaves no checkerboard (Odena et al. 2016)."""
    if UPSAMPLE == 'resize':
        return ops.conv(ops.unpool(h), filters, name, size=3, stride=1, **options)
    return ops.conv_transpose(h, filters, name, **options)


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        depth = ops.depth(IMAGE_SIZE, CHANNELS)
        side, filters = IMAGE_SIZE >> depth, WIDTH << depth - 1                      # for 28 pixels:
        activation, h = {'relu': tf.nn.relu, 'tanh': tanh}[ACTIVATION], z
        if depth == 2:
            h = ops.dense(h, HIDDEN, 'dense1', bias=False)
            h = ops.batch_norm(h, training, 'norm1', activation=activation)
        h = ops.dense(h, side * side * filters, 'dense2', bias=False)
        h = ops.batch_norm(h, training, 'norm2', activation=activation)
        h = tf.reshape(h, [-1, side, side, filters])                                 # [B, 7, 7, 2 WIDTH]
        for number in range(1, depth):
            filters //= 2
            h = double(h, filters, f'deconv{number}', bias=False)                    # [B, 14, 14, WIDTH]
            h = ops.batch_norm(h, training, f'norm{number + 2}', activation=activation)
        return double(h, CHANNELS, f'deconv{depth}', activation=tf.tanh)             # [B, 28, 28, CHANNELS]


def discriminator(x, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, 1]; sigmoid(logits) = D(x), that x is real."""
    depth = ops.depth(IMAGE_SIZE, CHANNELS)
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        h = ops.conv(x, WIDTH, 'conv1', activation=tf.nn.leaky_relu)                 # [B, 14, 14, WIDTH]
        for number in range(2, depth + 1):
            h = ops.conv(h, WIDTH << number - 1, f'conv{number}', bias=False)        # [B, 7, 7, 2 WIDTH]
            h = ops.batch_norm(h, training, f'norm{number - 1}', activation=tf.nn.leaky_relu)
        if depth == 2:
            h = ops.dense(h, HIDDEN, 'dense1', bias=False)
            h = ops.batch_norm(h, training, 'norm2', activation=tf.nn.leaky_relu)
        return ops.dense(h, 1, 'dense2')


def losses(real_logits, fake_logits):
    """Logits [B, 1] of real and generated images -> (d_loss, g_loss), the game of arXiv:1406.2661.

    With labels smoothed by s, D's loss on real pictures is -(1 - s) log D(x) - s log(1 - D(x)).
    """
    real_loss = tf.nn.softplus(-real_logits) + LABEL_SMOOTHING * real_logits             # -log D(x), smoothed
    d_loss = tf.reduce_mean(real_loss + tf.nn.softplus(fake_logits), name='d_loss')      # - log(1 - D(G(z)))
    return d_loss, tf.reduce_mean(tf.nn.softplus(-fake_logits), name='g_loss')           # -log D(G(z))


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        real_logits = discriminator(x, training=True)
    with tf.name_scope('fake'):
        fake_logits = discriminator(fake, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[d_step, g_step], scalars=scalars,
              scores={'real': real_logits, 'fake': fake_logits},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM))})


if __name__ == '__main__':
    run.main(globals())
