"""Few pictures: Zhao, Liu, Lin, Zhu & Han 2020, "Differentiable Augmentation for Data-Efficient GAN Training", arXiv:2006.10738,
and Karras, Aittala, Hellsten, Laine, Lehtinen & Aila 2020, "Training Generative Adversarial Networks with Limited Data",
arXiv:2006.06676.

Of a few hundred pictures D soon knows each, and G learns from it no more. So D is kept from seeing them as they are: real and
generated ones are made brighter, moved and cut at random, alike, and G learns through that. How often is decided by D itself: the
surer it is of real pictures, the more is changed.

    python ada_gan.py --dataset mnist --train-count 500

Page: docs/few.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour
TRAIN_COUNT = 0          # training pictures that are used, the first ones, from 0 to 1000000; 0 for all

# networks
Z_DIM = 100              # length of the latent vector z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many

# augmentation
CHANGES = ('colour', 'translation', 'cutout')  # 'colour', 'translation' or 'cutout': what can happen to a picture
P = 0.0                  # probability of each change, in [0, 1], at first; 1 with a TARGET of 0 is DiffAugment, 0 is none
TARGET = 0.6             # of E[sign(D(x))], in [0, 1): beyond it p rises, below it p falls; 0 lets p stay what it is
P_STEP = 1.28e-3         # by which each update of D moves p, in [0, 1]: a 50,000th for each picture; the paper: a 500,000th

# training
STEPS = 4000             # one step is one update of D, which moves p, then one of G
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 4e-4   # for Adam
G_LEARNING_RATE = 2e-3   # five times D's
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        return ops.deconv_stack(z, IMAGE_SIZE, CHANNELS, WIDTH, training)


def discriminator(x, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, 1]; positive where x seems real."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        return ops.dense(ops.conv_stack(x, WIDTH, training), 1, 'dense')


def augmented(x, u, p, changes):
    """Pictures x [B, s, s, c] in [-1, 1] -> others like them, through which gradients go: DiffAugment.

    Each of the `changes` happens to each picture with the probability p []. 'colour': three, -0.5 to 0.5 brighter, 0 to 2
    times as far from its grey, 0.5 to 1.5 times from its mean; 'translation': by up to s / 8 pixels across and down, with grey
    behind; 'cutout': a square of half the side is grey. u [B, 12]: which of the five happen, then how; numbers from U[0, 1).
    """
    with tf.name_scope('augmented'):
        side, u = x.shape[1], u[:, :, None, None, None]                                    # u[:, i]: a number for each picture
        brighter, coloured, contrasted, moved, cut = (u[:, i] < p for i in range(5))
        if 'colour' in changes:
            x += tf.where_v2(brighter, u[:, 5] - 0.5, 0.0)
            grey = tf.reduce_mean(x, 3, keepdims=True)
            x = grey + (x - grey) * tf.where_v2(coloured, 2 * u[:, 6], 1.0)
            mean = tf.reduce_mean(x, [1, 2, 3], keepdims=True)
            x = mean + (x - mean) * tf.where_v2(contrasted, u[:, 7] + 0.5, 1.0)
        if 'translation' in changes:
            most, one = (side + 4) // 8, tf.ones_like(u[:, 0, 0, 0, 0])
            right, below = (tf.where_v2(moved, tf.floor((2 * most + 1) * u[:, i]) - most, 0.0)[:, 0, 0, 0] for i in (8, 9))
            matrix = tf.stack([one, 0 * one, -right, 0 * one, one, -below, 0 * one, 0 * one], 1)
            x = tf.raw_ops.ImageProjectiveTransformV3(images=x, transforms=matrix, output_shape=[side, side], fill_value=0.0,
                                                      fill_mode='CONSTANT', interpolation='NEAREST')
        if 'cutout' in changes:
            middle = (tf.floor((side + 1) * u[:, i]) for i in (10, 11))
            pixel = tf.reshape(tf.range(side, dtype=tf.float32), [1, side, 1, 1])
            column, row = ((pixel >= m - side // 4) & (pixel < m - side // 4 + (side + 1) // 2) for m in middle)
            x = tf.where_v2(cut & row & tf.transpose(column, [0, 2, 1, 3]), 0.0, x)
        return x


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images[:TRAIN_COUNT or None], BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, training=True)
    with ops.network('discriminator'), tf.name_scope('augmentation'):
        p = tf.get_variable('p', [], initializer=tf.constant_initializer(P), trainable=False)
        p_now = tf.identity(p)                                                           # before its update
        changed = augmented(x, ops.uniform([BATCH_SIZE, 12], 'augment'), p_now, CHANGES)
        changed_fake = augmented(fake, ops.uniform([BATCH_SIZE, 12], 'augment_fake'), p_now, CHANGES)
    with tf.name_scope('real'):
        real_logits = discriminator(changed, training=True)
    with tf.name_scope('fake'):
        fake_logits = discriminator(changed_fake, training=True)

    with tf.name_scope('losses'):
        d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits), name='d_loss')
        g_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits), name='g_loss')
        r_t = ops.batch_mean(tf.sign(real_logits))                                       # eq. 1: 0 is no overfitting, 1 is all
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'r_t': tf.identity(r_t, 'r_t'), 'p': tf.identity(p_now, 'p')}

    if TARGET:
        with ops.network('discriminator'):
            ops.with_update(lambda: p.assign(tf.clip_by_value(p_now + P_STEP * tf.sign(r_t - TARGET), 0.0, 1.0)))

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[d_step, g_step], scalars=scalars,
              scores={'real': real_logits, 'fake': fake_logits},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM))})


if __name__ == '__main__':
    run.main(globals())
