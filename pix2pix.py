"""pix2pix: Isola, Zhu, Zhou & Efros 2016, "Image-to-Image Translation with Conditional Adversarial Networks", arXiv:1611.07004.

A U-Net turns a picture of one kind into the picture of another kind that belongs to it. It learns from pairs: to be near the true
one in every pixel, and to get past a discriminator that looks at input and output together, patch by patch. The pixels alone
would have it blur what it cannot know; the discriminator has it decide.

    python pix2pix.py --dataset fashion_mnist --task edges

Page: docs/translation.md
"""
import functools

import ops
import run
import translation

import tensorflow.compat.v1 as tf

# data
DATASET = 'fashion_mnist'  # what is made: mnist, fashion_mnist, stacked_mnist, a folder, or half of its pictures, FOLDER:right
SOURCE = ''                # a folder of what it is made from, with the same file names, or FOLDER:left; '' has TASK make it
TASK = 'edges'             # 'edges', 'colour', 'super', 'inpaint', 'negative' or 'slant': what it is made from, without a SOURCE
IMAGE_SIZE = 28            # pixels on a side, from 8 to 4096
CHANNELS = 1               # 1 is grey, 3 is colour

# networks
WIDTH = 32                 # channels of the layers nearest to the pixels; each further in has twice as many, 8 times at most
PATCH_LAYERS = 3           # of D, that halve the side, from 1 to 5: 3 sees patches of 70x70 pixels, the paper's; 1: 16, 2: 34
DROPOUT = 0.0              # share of numbers dropped in G's inner layers while it trains, in [0, 1); the paper's noise is 0.5

# loss
L1_WEIGHT = 10.0           # of the distance from the truth, in units of [-1, 1], in (0, inf); the paper's lambda is 100
ADVERSARIAL = 1.0          # weight of getting past D, in [0, inf); 0 leaves D out: plain L1

# training
STEPS = 4000               # one step is one update of D, then one of G
BATCH_SIZE = 32            # pairs in an update; the paper's is 1 to 10
D_LEARNING_RATE = 1e-3     # for Adam; the paper's is 2e-4 for both
G_LEARNING_RATE = 1e-3     # the same
BETA1 = 0.5                # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998     # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                   # random seed

# reports
COLUMNS = 16               # test pictures that are drawn, from 1 to 1000


def generator(x, training):
    """x [B, s, s, c] in [-1, 1] -> what becomes of it [B, s, s, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        return translation.unet(x, CHANNELS, WIDTH, training, DROPOUT)


def discriminator(x, y, training):
    """x [B, s, s, c] and y [B, s, s, CHANNELS], which may belong to it -> logits [B, h, w, 1], of patches."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        norm = functools.partial(ops.batch_norm, training=training)
        return translation.patchgan(tf.concat([x, y], 3), WIDTH, PATCH_LAYERS, norm)


def main():
    with tf.variable_scope('data'):
        pairs = translation.pairs(SOURCE, DATASET, TASK, IMAGE_SIZE, CHANNELS, BATCH_SIZE)
    x, y = pairs.x, pairs.y

    fake = generator(x, training=True)
    with tf.name_scope('losses'):
        l1 = tf.reduce_mean(tf.abs(y - fake), name='l1')
        g_loss, scalars, scores, updates = L1_WEIGHT * l1, {'l1': l1}, None, []
    if ADVERSARIAL:
        with tf.name_scope('real'):
            real_logits = discriminator(x, y, training=True)
        with tf.name_scope('fake'):
            fake_logits = discriminator(x, fake, training=True)
        with tf.name_scope('losses/'):
            d_loss = tf.add(tf.reduce_mean(tf.nn.softplus(-real_logits)),                    # -log D(x, y)
                            tf.reduce_mean(tf.nn.softplus(fake_logits)), name='d_loss')      # - log(1 - D(x, G(x)))
            fooling = tf.reduce_mean(tf.nn.softplus(-fake_logits))
            g_loss = tf.add(ADVERSARIAL * fooling, g_loss, name='g_loss')                    # -log D(x, G(x)) + lambda |y - G(x)|
            scalars |= {'d_loss': d_loss, 'g_loss': g_loss,
                        'D(x, y)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x_y'),
                        'D(x, G(x))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_x_G_x')}
        scores = {'real': real_logits, 'fake': fake_logits}

    with tf.variable_scope('optimizers'):
        if ADVERSARIAL:
            d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
            updates.append(d_step)
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')
        updates.append(g_step)

    def translate(x):
        return generator(x, training=False)

    def pictures():
        shown = pairs.test_x[:COLUMNS]
        return {'input': translation.shown(shown, CHANNELS), 'output': translate(shown), 'truth': pairs.test_y[:COLUMNS]}

    run.train(globals(), updates=updates, scalars=scalars, scores=scores, pictures=pictures, given=(pairs.test_x, pairs.labels),
              measures=lambda: translation.agreement(translate, pairs.test_x, pairs.test_y),
              networks={'generator': run.network(generator, 'images', images=run.images(IMAGE_SIZE, x.shape[3]))})


if __name__ == '__main__':
    run.main(globals())
