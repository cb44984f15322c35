"""A convolutional GAN held in balance: each network learns only while its loss says that it has to.

D has two optimizers, one for generated and one for real images, and G has one. Before each of the three updates its loss
on a fresh batch is compared with a threshold, and the update is skipped if the loss is already below it, so that neither
network can run away from the other. The rule and D are those of Bruner & Deshpande 2017, "Generative Adversarial
Networks for Beginners"; the smoothed labels are from Salimans et al. 2016, arXiv:1606.03498.

    python balanced_gan.py --dataset mnist

Page: docs/dcgan.md
"""
import data
import ops
import run
import viz
from plumbing import files

import numpy as np
import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, a multiple of 4, from 4 to 4096
CHANNELS = 1             # 1 is grey, 3 is colour

# networks
Z_DIM = 100              # length of the latent vector z
G_WIDTHS = (100, 50, 25) # channels in G at a quarter, a half and the whole of the side
D_WIDTHS = (32, 64)      # channels of D's two convolutions
HIDDEN = 1024            # units of D's fully connected layer

# balance
D_FAKE_THRESHOLD = 0.6   # in [0, inf): D learns on generated images while its loss on them is above this
G_THRESHOLD = 0.5        # in [0, inf): G learns while its loss is above this
D_REAL_THRESHOLD = 0.45  # in [0, inf): D learns on real images while its loss on them, never below 0.325, is above this
LABEL_SMOOTHING = 0.1    # in [0, 1]: the target of real images is 1 minus this

# training
STEPS = 2000             # one step is the three updates, those that are not skipped
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 1e-3   # for Adam; without the thresholds D runs away at this rate
G_LEARNING_RATE = 1e-3   # the same
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
SHOWN = 24               # generated and real images that are drawn, each with D's judgement, from 1 to 1000


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]: maps doubled, then convolved."""
    side, (wide, narrower, narrow) = IMAGE_SIZE // 4, G_WIDTHS
    with ops.network('generator'):
        h = tf.reshape(ops.dense(z, side * side * wide, 'dense1', bias=False), [-1, side, side, wide])
        h = ops.batch_norm(h, training, 'norm1', activation=tf.nn.relu)                           # [B, 7, 7, 100]
        h = ops.conv(ops.unpool(h), narrower, 'conv1', size=3, stride=1, bias=False)
        h = ops.batch_norm(h, training, 'norm2', activation=tf.nn.relu)                           # [B, 14, 14, 50]
        h = ops.conv(ops.unpool(h), narrow, 'conv2', size=3, stride=1, bias=False)
        h = ops.batch_norm(h, training, 'norm3', activation=tf.nn.relu)                           # [B, 28, 28, 25]
        return ops.conv(h, CHANNELS, 'conv3', size=3, stride=1, activation=tf.tanh)               # [B, 28, 28, CHANNELS]


def discriminator(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, 1]; sigmoid(logits) = D(x)."""
    with ops.network('discriminator'):
        h = (x + 1) / 2                                                           # from 0: black says nothing
        h = ops.conv(h, D_WIDTHS[0], 'conv1', size=5, stride=1, activation=tf.nn.relu)
        h = tf.nn.avg_pool2d(h, 2, 2, 'SAME')                                                     # [B, 14, 14, 32]
        h = ops.conv(h, D_WIDTHS[1], 'conv2', size=5, stride=1, activation=tf.nn.relu)
        h = tf.nn.avg_pool2d(h, 2, 2, 'SAME')                                                     # [B, 7, 7, 64]
        h = ops.dense(h, HIDDEN, 'dense1', activation=tf.nn.relu)
        return ops.dense(h, 1, 'dense2')


def losses(real_logits, fake_logits):
    """Logits [B, 1] of real and generated images -> (d_fake_loss, g_loss, d_real_loss)."""
    d_fake_loss = tf.reduce_mean(tf.nn.softplus(fake_logits), name='d_fake_loss')                 # -log(1 - D(G(z)))
    g_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits), name='g_loss')                          # -log D(G(z))
    d_real_loss = tf.nn.softplus(-real_logits) + LABEL_SMOOTHING * real_logits                    # -log D(x), smoothed
    return d_fake_loss, g_loss, tf.reduce_mean(d_real_loss, name='d_real_loss')


def learn_above(threshold, loss, rate, scope, name):
    """An update of `scope` that is skipped where loss <= threshold -> how many of these updates were made so far."""
    updates = f'{name}_updates'
    count = tf.get_variable(updates, [], tf.int64, initializer=tf.zeros_initializer(), trainable=False)

    def learn():
        with tf.control_dependencies([ops.minimize(tf.train.AdamOptimizer(rate, BETA1, name=f'{updates}_Adam'), loss, scope)]):
            return count.assign_add(1)

    with tf.name_scope(f'{name}_step'):
        return tf.identity(tf.cond(loss > threshold, learn, count.read_value), name=updates)


def draw(fake, fake_judgements, real, real_judgements):
    """Generated images on the left, real ones on the right; the bar below each is D's probability that it is real."""
    sides = [viz.captioned(viz.grid(viz.judged(viz.to_uint8(images), judgements), 4), caption)
             for caption, images, judgements in [('generated', fake, fake_judgements), ('real', real, real_judgements)]]
    return np.concatenate([sides[0], np.full_like(sides[0][:, :16], 255), sides[1]], axis=1)


def main():
    if IMAGE_SIZE % 4:
        raise files.UserError('IMAGE_SIZE must be a multiple of 4: G doubles its maps twice')
    if (len(G_WIDTHS), len(D_WIDTHS)) != (3, 2):
        raise files.UserError(f'G_WIDTHS takes three numbers and D_WIDTHS two, not {len(G_WIDTHS)} and {len(D_WIDTHS)}')
    tf.disable_control_flow_v2()  # so that tf.cond skips the gradients of a loss that is computed outside
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
        d_fake_loss, g_loss, d_real_loss = losses(real_logits, fake_logits)
        scalars = {'d_fake_loss': d_fake_loss, 'g_loss': g_loss, 'd_real_loss': d_real_loss,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}

    with tf.variable_scope('optimizers'):
        d_fake_updates = learn_above(D_FAKE_THRESHOLD, d_fake_loss, D_LEARNING_RATE, 'discriminator/', 'd_fake')
        g_updates = learn_above(G_THRESHOLD, g_loss, G_LEARNING_RATE, 'generator/', 'g')
        d_real_updates = learn_above(D_REAL_THRESHOLD, d_real_loss, D_LEARNING_RATE, 'discriminator/', 'd_real')
        scalars.update({'d_fake_updates': d_fake_updates, 'g_updates': g_updates, 'd_real_updates': d_real_updates})

    def judged():
        real = data.stored(images[:SHOWN])
        fake = generator(tf.random.stateless_normal([real.shape[0], Z_DIM], [SEED, 0]), training=False)
        with tf.name_scope('fake'):
            fake_judgements = tf.sigmoid(discriminator(fake))[:, 0]
        with tf.name_scope('real'):
            return [fake, fake_judgements, real, tf.sigmoid(discriminator(real))[:, 0]]

    run.train(globals(), updates=[d_fake_updates.op, g_updates.op, d_real_updates.op], scalars=scalars,
              scores={'real': real_logits, 'fake': fake_logits},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM))}, pictures=judged, draw=draw)


if __name__ == '__main__':
    run.main(globals())
