"""Adversarial auto-encoder with a category in its code: Makhzani et al. 2015, "Adversarial Autoencoders", arXiv:1511.05644,
sections 5 and 6.

The code is a category y and a style z, and each has a discriminator: y shall look like a one-hot vector, z like N(0, 1). So
pictures fall into clusters, and what a cluster has in common need not be said by z. Without labels the clusters are the
network's own; with a few labels, on which the encoder also learns to classify, they are the classes.

    python cluster_aae.py --dataset mnist
    python cluster_aae.py --dataset mnist --labels 100

Page: docs/codes.md
"""
import augment
import data
import ops
import run
from plumbing import measures

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'         # mnist, fashion_mnist or a folder of pictures
IMAGE_SIZE = 28           # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1              # 1 is grey, 3 is colour
LABELS = 0                # labelled training pictures, from 0 to 1000000, as many of each class; 0 finds clusters
LABEL_SEED = 0            # which of them, from 0 to 1000000

# networks
CATEGORIES = 16           # clusters, from 2 to 1000; with labels there is one for each class
Z_DIM = 5                 # length of the style z
ENCODER = 'conv'          # 'conv' or 'dense': DCGAN's convolutions, or the paper's layers, HIDDEN
WIDTH = 64                # channels of the first convolution; the next has twice as many
E_HIDDEN = 250            # units of the fully connected layer behind them
HIDDEN = (1000, 1000)     # units of the hidden layers of the other networks

# loss
INVARIANCE = 16.0         # weight of a category that stays when a picture is turned a little, in [0, inf); the paper: 0
TURN = 0.44               # radians that it is turned by, at most, in (0, 1]
WAIT = 0.75               # share of the run without the prior of categories, so that clusters can part, in [0, 1]; the paper: 0

# training
STEPS = 4000              # one step is an update of the auto-encoder, one of the discriminators and one or two of the encoder
BATCH_SIZE = 64           # pictures in an update
LEARNING_RATE = 1e-3      # of encoder and decoder, for Adam
D_LEARNING_RATE = 2e-4    # of the discriminators
DECAY = True              # decay the learning rates linearly to 0
BETA1 = 0.5               # Adam's beta1 of the discriminators, and of the encoder that fools them, in [0, 1)
WEIGHT_AVERAGE = 0.999    # EMA decay of the weights, used for sampling and measuring, in [0, 1); 0 uses the raw weights
SEED = 0                  # random seed

# reports
SAMPLE_EVERY = 200        # steps between pictures
EVAL_EVERY = 500          # steps between errors on the test set
CHECKPOINT_EVERY = 1000   # steps between checkpoints


def encoder(x, categories, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, categories], y, their softmax, and z [B, Z_DIM]."""
    with ops.network('encoder'):
        if ENCODER == 'conv':
            h = ops.norm_stack(ops.conv_stack(x, WIDTH, training), [E_HIDDEN], training, tf.nn.leaky_relu)
        else:
            h = ops.dense_stack(x, HIDDEN)
        logits = ops.dense(h, categories, 'category')
        return logits, tf.nn.softmax(logits, name='y'), ops.dense(h, Z_DIM, 'style')


def decoder(z, y):
    """z [B, Z_DIM], y [B, categories] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('decoder'):
        return ops.dense_images(ops.dense_stack(tf.concat([z, y], 1), reversed(HIDDEN)), IMAGE_SIZE, CHANNELS, tf.tanh)


def code_discriminators(y, z):
    """Categories y [B, K] and styles z [B, Z_DIM] -> logits [B, 1] of each: is it drawn, or an encoder's?"""
    logits = []
    for code, name in (y, 'category_discriminator'), (z, 'style_discriminator'):
        with ops.network(name):
            logits.append(ops.dense(ops.dense_stack(code, HIDDEN), 1, 'logits'))
    return logits


def main():
    classes = data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=LABELS > 0)
    categories = len(classes) if LABELS else CATEGORIES
    images, labels = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS, unlabelled=True)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        y = ops.category(BATCH_SIZE, categories, 'category')
        z = ops.noise([BATCH_SIZE, Z_DIM])
        if LABELS:
            labelled, label = data.labelled(images, labels, LABELS, LABEL_SEED, BATCH_SIZE)

    logits_x, y_x, z_x = encoder(x, categories, training=True)
    with tf.name_scope('losses'):
        loss = tf.reduce_mean(tf.square(x - decoder(z_x, y_x)), name='loss')
    with tf.name_scope('real'):
        real = code_discriminators(y, z)                     # what is real here are the priors
    with tf.name_scope('fake'):
        fake = code_discriminators(y_x, z_x)
    with tf.name_scope('losses/'):
        real_logits, fake_logits = tf.stack(real), tf.stack(fake)
        d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits), name='d_loss')
        fooled = tf.reduce_mean(tf.nn.softplus(-fake_logits), [1, 2])          # -log D(E(x)) of the category and of the style
        scalars = {'loss': loss, 'd_loss': d_loss, 'e_loss': tf.reduce_mean(fooled, name='e_loss')}
        left = ops.linear_decay()
        e_total = tf.reduce_mean(fooled * tf.stack([tf.cast(left <= 1 - WAIT, tf.float32), 1.0]))
    if INVARIANCE:
        scalars['I_turned'] = augment.information_kept(x, logits_x, lambda x: encoder(x, categories, training=True)[0], TURN)
        with tf.name_scope('losses/'):
            e_total -= INVARIANCE * scalars['I_turned']
    if LABELS:
        with tf.name_scope('labelled'):
            logits, _, _ = encoder(labelled, categories, training=True)
        with tf.name_scope('losses/'):
            scalars['class_loss'] = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=label, logits=logits), name='class_loss')

    with tf.variable_scope('optimizers'):
        decay = left if DECAY else 1.0
        rate, d_rate = LEARNING_RATE * decay, D_LEARNING_RATE * decay
        ae_step = ops.minimize(tf.train.AdamOptimizer(rate), loss, ('encoder/', 'decoder/'), 'ae_step')
        d_step = ops.minimize(tf.train.AdamOptimizer(d_rate, BETA1), d_loss,
                              ('category_discriminator/', 'style_discriminator/'), 'd_step')
        e_step = ops.minimize(tf.train.AdamOptimizer(rate, BETA1), e_total, 'encoder/', 'e_step')
        updates = [ae_step, d_step, e_step]
        if LABELS:
            updates.append(ops.minimize(tf.train.AdamOptimizer(rate), scalars['class_loss'], 'encoder/', 'c_step'))

    def codes(x):
        return tf.concat(encoder(x, categories, training=False)[1:], 1)

    asked = {'label' if LABELS else 'category': run.label(categories)}
    run.train(globals(), updates=updates, scalars=scalars, scores={'real': real_logits, 'fake': fake_logits},
              measures=run.on_test_set(globals(), 'test_error' if LABELS else 'cluster_error',
                                       lambda x: encoder(x, categories, training=False)[1],
                                       measures.class_error if LABELS else measures.cluster_error),
              networks={'generator': run.network(decoder, 'images', z=run.normal(Z_DIM), **asked),
                        'encoder': run.network(codes, 'codes', images=run.images(IMAGE_SIZE, CHANNELS))})


if __name__ == '__main__':
    run.main(globals())
