"""InfoGAN: Chen, Duan, Houthooft, Schulman, Sutskever & Abbeel 2016, "InfoGAN: Interpretable Representation Learning by
Information Maximizing Generative Adversarial Nets", arXiv:1606.03657.

Besides noise z the generator gets a code c: one of ten categories and two continuous numbers. A recognition network Q has to
tell c from the picture, and G helps it: so c must say something that can be seen. Nobody says what; on digits the category
becomes the digit, and the numbers become slant and width, without one label.

    python infogan.py --dataset mnist

Page: docs/codes.md
"""
import math

import augment
import data
import ops
import run
import viz
from plumbing import latents, measures, savedmodel

import numpy as np
import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour

# codes
Z_DIM = 62               # length of the noise z
CATEGORIES = 10          # of the categorical code, from 2 to 100
CONTINUOUS = 2           # numbers of the continuous code, from 1 to 10
LAMBDA = 1.0             # weight of L_I, in (0, inf)
INVARIANCE = 1.0         # weight of real pictures' categories that stay when they are turned a little, in [0, inf); the paper: 0
TURN = 0.44              # radians that they are turned by, at most, in (0, 1]

# networks
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer
Q_HIDDEN = 128           # units of the layer of Q, behind D's

# training
STEPS = 5000             # one step is one update of D and Q, then one of G
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of the weights, used for sampling and measuring, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, category, code, training):
    """z [B, Z_DIM] and code [B, CONTINUOUS] in [-1, 1), category [B, CATEGORIES], one-hot -> images [B, h, w, c] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(tf.concat([z, category, code], 1), [HIDDEN], training)
        return ops.deconv_stack(h, IMAGE_SIZE, CHANNELS, WIDTH, training)


def discriminator(x, training):
    """x [B, h, w, c] in [-1, 1] -> logits [B, 1], sigmoid(logits) = D(x), and the features [B, HIDDEN] that Q shares with D."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(ops.conv_stack(x, WIDTH, training), [HIDDEN], training, tf.nn.leaky_relu)
        return ops.dense(h, 1, 'logits'), h


def recognition(features, training):
    """D's features [B, HIDDEN] -> Q(c|x): logits [B, CATEGORIES], and the means [B, CONTINUOUS] of Gaussians of variance 1."""
    with ops.network('recognition', initializer=ops.normal(0.02)):
        h = ops.norm_stack(features, [Q_HIDDEN], training, tf.nn.leaky_relu)
        return ops.dense(h, CATEGORIES, 'category'), ops.dense(h, CONTINUOUS, 'code')


def codes(x):
    """x [B, h, w, c] in [-1, 1] -> [B, CATEGORIES + CONTINUOUS]: probabilities of the categories, and the numbers."""
    logits, mean = recognition(discriminator(x, training=False)[1], training=False)
    return tf.concat([tf.nn.softmax(logits), mean], 1)


def information(category, code, logits, mean):
    """L_I = H(c) + E log Q(c|x) in nats, a lower bound of the mutual information of c and the picture (eq. 5)."""
    seen = tf.nn.softmax_cross_entropy_with_logits_v2(labels=category, logits=logits)      # -log Q(category|x)
    apart = (tf.square(code - mean) + math.log(2 * math.pi)) / 2                           # -log N(code; mean, 1)
    h = math.log(CATEGORIES) + CONTINUOUS * math.log(2)                                    # H(c): uniform, both
    return tf.subtract(h, tf.reduce_mean(seen + tf.reduce_sum(apart, 1)), name='L_I')


def accuracy(codes, labels):
    """Share of the codes [N, CATEGORIES + CONTINUOUS] whose category is the class of labels [N], under the best matching."""
    return measures.matched_accuracy(codes[:, :CATEGORIES].argmax(1), labels)


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.uniform([BATCH_SIZE, Z_DIM], 'z', -1, 1)
        category = ops.category(BATCH_SIZE, CATEGORIES, 'category')
        code = ops.uniform([BATCH_SIZE, CONTINUOUS], 'code', -1, 1)

    fake = generator(z, category, code, training=True)
    with tf.name_scope('real'):
        real_logits, real_features = discriminator(x, training=True)
    with tf.name_scope('fake'):
        fake_logits, features = discriminator(fake, training=True)
        logits, mean = recognition(features, training=True)

    with tf.name_scope('losses'):
        # -log D(x) - log(1 - D(G)) and -log D(G)
        d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits), name='d_loss')
        g_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits), name='g_loss')
        l_i = information(category, code, logits, mean)
        d_total = d_loss - LAMBDA * l_i
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'L_I': l_i,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}
    if INVARIANCE:
        with tf.name_scope('real'):
            real_category, _ = recognition(real_features, training=True)
        scalars['I_turned'] = augment.information_kept(
            x, real_category, lambda x: recognition(discriminator(x, training=True)[1], training=True)[0], TURN)
        with tf.name_scope('losses/'):
            d_total -= INVARIANCE * scalars['I_turned']

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_total,
                              ('discriminator/', 'recognition/'), 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss - LAMBDA * l_i, 'generator/', 'g_step')

    made = run.network(generator, 'images', z=run.uniform(Z_DIM), category=run.label(CATEGORIES), code=run.uniform(CONTINUOUS))
    recognized = run.network(codes, 'codes', images=run.images(IMAGE_SIZE, CHANNELS))
    folder, _ = run.train(globals(), updates=[d_step, g_step], scalars=scalars,
                          scores={'real': real_logits, 'fake': fake_logits},
                          measures=run.on_test_set(globals(), 'accuracy', codes, accuracy),
                          networks={'generator': made, 'recognition': recognized})
    # a row for each category, in it each number of the code from -2 to 2, the others at 0
    moved = latents.traversals(np.zeros(CONTINUOUS), np.arange(CONTINUOUS), np.linspace(-2, 2, 9))
    pictures = savedmodel.Loaded(folder, 'generator').draw({
        'z': np.tile(np.random.default_rng(SEED).uniform(-1, 1, Z_DIM), [CATEGORIES * len(moved), 1]),
        'category': np.arange(CATEGORIES).repeat(len(moved)), 'code': np.tile(moved, [CATEGORIES, 1])})
    viz.save(folder / 'traversal.png', viz.grid(pictures, len(moved)))


if __name__ == '__main__':
    run.main(globals())
