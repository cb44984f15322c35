"""VAE-GAN: Larsen, Sønderby, Larochelle & Winther 2015, "Autoencoding beyond pixels using a learned similarity metric",
arXiv:1512.09300.

The decoder of a VAE is the generator of a GAN. How far a reconstruction is from its picture is measured in the features of a
layer of the discriminator, not in pixels: so a stroke that is a pixel off costs little, and a blurred one costs a lot.

    python vae_gan.py --dataset mnist

Page: docs/codes.md
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
Z_DIM = 20               # length of the code z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of D's fully connected layer

# loss
VARIANCE = 10.0          # of the Gaussian p(Dis_l(x)|z) in D's features, in (0, inf); the paper's is 1
GAMMA = 0.003            # weight of the reconstruction in the decoder's loss, against fooling D (section 3.3), in [0, inf)

# training
STEPS = 4000             # one step is one update of D, then one of the encoder, then one of the decoder
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # of encoder and decoder
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of the weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
COLUMNS = 16             # test pictures in the grid, from 1 to 1000


def encoder(x, training):
    """x [B, h, w, c] in [-1, 1] -> m, log_var [B, Z_DIM]: mean and log-variance of q(z|x)."""
    with ops.network('encoder', initializer=ops.normal(0.02)):
        h = ops.conv_stack(x, WIDTH, training, tf.nn.relu)
        return ops.dense(h, Z_DIM, 'm'), ops.dense(h, Z_DIM, 'log_var')


def decoder(z, training):
    """z [B, Z_DIM] -> images [B, h, w, c] in [-1, 1]; from N(0, 1) it is the generator."""
    with ops.network('decoder', initializer=ops.normal(0.02)):
        return ops.deconv_stack(z, IMAGE_SIZE, CHANNELS, WIDTH, training)


def discriminator(x, training):
    """x [B, h, w, c] in [-1, 1] -> logits [B, 1], sigmoid(logits) = D(x), and Dis_l(x) [B, n], what its convolutions make."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        features = ops.conv_stack(x, WIDTH, training)
        h = ops.norm_stack(features, [HIDDEN], training, tf.nn.leaky_relu)
        return ops.dense(h, 1, 'logits'), features


def codes(x, training):
    return encoder(x, training)[0]


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    test_images, _ = data.load(DATASET, 'test', IMAGE_SIZE, CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z_p, e = ops.noise([BATCH_SIZE, Z_DIM], 'z_p'), ops.noise([BATCH_SIZE, Z_DIM], 'e')
        with tf.variable_scope('test'):
            test = data.stored(test_images[:COLUMNS])

    m, log_var = encoder(x, training=True)
    with ops.network('encoder'):
        z = tf.concat([m + tf.exp(log_var / 2) * e, z_p], 0)                               # half from q(z|x), half from N(0, 1)
    fake = decoder(z, training=True)
    with tf.name_scope('real'):
        real_logits, real_features = discriminator(x, training=True)
    with tf.name_scope('fake'):
        fake_logits, fake_features = discriminator(fake, training=True)

    with tf.name_scope('losses'):
        prior = tf.reduce_sum(tf.exp(log_var) - (1 + log_var) + tf.square(m), 1) / 2            # KL(q(z|x) || N(0, 1))
        apart = tf.square(real_features - fake_features[:BATCH_SIZE])
        reconstruction = tf.reduce_sum(apart, 1) / (2 * VARIANCE)                               # -log p(Dis_l(x)|z) + const.
        prior, reconstruction = tf.reduce_mean(prior, name='prior'), tf.reduce_mean(reconstruction, name='reconstruction')
        # -L_GAN = -log D(x) - log(1 - D(G(z))), and G's part of it, -log D(G(z))
        d_loss = tf.add(tf.reduce_mean(tf.nn.softplus(-real_logits)), tf.reduce_mean(tf.nn.softplus(fake_logits)), name='d_loss')
        fooling = tf.reduce_mean(tf.nn.softplus(-fake_logits))
        e_loss = tf.add(prior, reconstruction, name='e_loss')
        g_loss = tf.add(fooling, GAMMA * reconstruction, name='g_loss')
        scalars = {'d_loss': d_loss, 'e_loss': e_loss, 'g_loss': g_loss, 'prior': prior, 'reconstruction': reconstruction,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        e_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), e_loss, 'encoder/', 'e_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'decoder/', 'g_step')

    def pictures():
        return {'x': test, 'reconstructed': decoder(codes(test, training=False), training=False)}

    run.train(globals(), updates=[d_step, e_step, g_step], scalars=scalars, pictures=pictures,
              scores={'real': real_logits, 'fake': fake_logits}, networks={
                  'generator': run.network(decoder, 'images', z=run.normal(Z_DIM)),
                  'encoder': run.network(codes, 'codes', images=run.images(IMAGE_SIZE, CHANNELS))})


if __name__ == '__main__':
    run.main(globals())
