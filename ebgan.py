"""EBGAN: Zhao, Mathieu & LeCun 2016, "Energy-based Generative Adversarial Network", arXiv:1609.03126.

The discriminator is an auto-encoder, and what it says of a picture is an energy: the error of its reconstruction. It learns
to reconstruct real pictures, and to reconstruct generated ones badly, but no worse than a margin; the generator learns to
make pictures of low energy. A pulling-away term drives the codes of a batch of them apart, so that they are not all one.

    python ebgan.py --dataset mnist

Page: docs/energy.md
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
HIDDEN = 256             # units of G's first layer
CODE = 32                # length of D's code

# loss
MARGIN = 10.0            # m: D lifts energies of generated pictures to this, in (0, inf); the paper's for MNIST, 20 for faces
PULL_AWAY = 0.1          # weight of the pulling-away term in G's loss, in [0, inf); the paper's

# training
STEPS = 8000             # one step is one update of D, then one of G
BATCH_SIZE = 64          # pictures in an update, from 2 to 1000000: the pulling-away term is of pairs
D_LEARNING_RATE = 1e-3   # for Adam; the paper's for MNIST
G_LEARNING_RATE = 1e-3   # the same
DECAY = True             # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.999   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(z, [HIDDEN], training)
        return ops.deconv_stack(h, IMAGE_SIZE, CHANNELS, WIDTH, training)


def energy(x, reconstruction):
    """D(x) = |Dec(Enc(x)) - x| (eq. 13) of each picture of a batch [B, ...] -> [B]."""
    return tf.sqrt(tf.reduce_sum(tf.square(reconstruction - x), [1, 2, 3]) + 1e-12)             # no sqrt at 0


def discriminator(x, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> energies D(x) [B], and codes Enc(x) [B, CODE]."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        code = ops.dense(ops.conv_stack(x, WIDTH, training), CODE, 'code')
        return energy(x, ops.deconv_stack(code, IMAGE_SIZE, CHANNELS, WIDTH, training)), code


def pulling_away(codes):
    """Codes [B, n] -> the mean squared cosine of all pairs of different ones (eq. 14), from 0 to 1."""
    s = tf.nn.l2_normalize(codes, 1)
    count = tf.cast(tf.shape(s)[0], tf.float32)
    cosines = tf.square(tf.matmul(s, s, transpose_b=True))                                      # [B, B], 1 on the diagonal
    return tf.divide(tf.reduce_sum(cosines - tf.linalg.diag(tf.linalg.diag_part(cosines))), count * (count - 1), name='pt')


def losses(real_energy, fake_energy):
    """Energies [B] of real and generated pictures -> (d_loss, g_loss without the pulling-away term), eq. 1 and 2."""
    d_loss = tf.reduce_mean(real_energy) + tf.reduce_mean(tf.nn.relu(MARGIN - fake_energy))     # D(x) + [m - D(G(z))]+
    return tf.identity(d_loss, name='d_loss'), tf.reduce_mean(fake_energy, name='g_loss')


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        real_energy, _ = discriminator(x, training=True)
    with tf.name_scope('fake'):
        fake_energy, codes = discriminator(fake, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_energy, fake_energy)
        pt = pulling_away(codes)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'real_energy': tf.reduce_mean(real_energy, name='real_energy'), 'pt': pt}
        g_loss += PULL_AWAY * pt

    with tf.variable_scope('optimizers'):
        rate = ops.linear_decay() if DECAY else 1.0
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[d_step, g_step], scalars=scalars, scores={'real': real_energy, 'fake': fake_energy},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM))})


if __name__ == '__main__':
    run.main(globals())
