"""CVAE: Sohn, Lee & Yan 2015, "Learning Structured Output Representation using Deep Conditional Generative Models", and
model M2 of Kingma, Rezende, Mohamed & Welling 2014, "Semi-supervised Learning with Deep Generative Models", arXiv:1406.5298.

A VAE that is told the class y: the encoder q(z|x, y) and the decoder p(x|z, y) both know it, so that the code z need not say
it, and is left with the rest: slant, stroke, width. The ELBO is a lower bound of log p(x|y).

    python cvae.py --dataset mnist

Page: docs/conditional.md
"""
import data
import ops
import run
import viz
from plumbing import savedmodel

import numpy as np
import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'         # mnist, fashion_mnist or a folder of pictures, whose subfolders are the classes
IMAGE_SIZE = 28           # pixels on a side, from 1 to 4096
CHANNELS = 1              # 1 is grey, 3 is colour

# networks
Z_DIM = 20                # length of the code z
HIDDEN = (512, 512)       # units of the encoder's hidden layers; the decoder has the same ones backwards

# training
STEPS = 15000             # one step is one update of both networks
BATCH_SIZE = 128          # pictures in an update
LEARNING_RATE = 1e-3      # for Adam
WEIGHT_AVERAGE = 0.9995   # EMA decay of the weights, used for measuring and sampling, in [0, 1); 0 uses the raw weights
SEED = 0                  # random seed

# reports
SAMPLE_EVERY = 1000       # steps between pictures of the same latents
EVAL_EVERY = 500          # steps between ELBOs of the test set and other measures
CHECKPOINT_EVERY = 5000   # steps between checkpoints


def encoder(x, y):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [0, 1], classes y [B, K] -> m, log_var [B, Z_DIM] of q(z|x, y)."""
    with ops.network('encoder'):
        h = ops.dense_stack(tf.concat([ops.flat(x), y], 1), HIDDEN)
        return ops.dense(h, Z_DIM, 'm'), ops.dense(h, Z_DIM, 'log_var')


def decoder(z, y):
    """z [B, Z_DIM], classes y [B, K] -> logits [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS]; sigmoid(logits): P(pixel is white)."""
    with ops.network('decoder'):
        return ops.dense_images(ops.dense_stack(tf.concat([z, y], 1), reversed(HIDDEN)), IMAGE_SIZE, CHANNELS)


def generator(z, y):
    """z [B, Z_DIM] from N(0, 1), classes y [B, K] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    return tf.tanh(decoder(z, y) / 2)


def codes(x, y):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1], classes y [B, K] -> the means of q(z|x, y) [B, Z_DIM]."""
    return encoder((x + 1) / 2, y)[0]


def elbo(x, y, e):
    """The bound [B] of log p(x|y), in nats, for images x, 0 or 1, with one sample m + exp(log_var / 2) e of each code.

    e [B, Z_DIM] from N(0, 1). Eq. 4 of Sohn et al. with the prior N(0, 1) for all classes.
    """
    m, log_var = encoder(x, y)
    logits = decoder(m + tf.exp(log_var / 2) * e, y)
    log_likelihood = -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), [1, 2, 3])
    return log_likelihood - tf.reduce_sum(tf.exp(log_var) - (1 + log_var) + tf.square(m), 1) / 2     # - KL(q || N(0, 1))


def main():
    classes = len(data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True))
    images, labels = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    test_images, test_labels = data.load(DATASET, 'test', IMAGE_SIZE, CHANNELS)
    with tf.variable_scope('data'):
        x, label = data.batches((images, labels), BATCH_SIZE)
        x, y = ops.binary(x, ops.uniform([BATCH_SIZE, *images.shape[1:]], 'threshold')), tf.one_hot(label, classes, name='y')
        with tf.variable_scope('test'):
            test_x = ops.binary(data.stored(test_images), tf.random.stateless_uniform(test_images.shape, [SEED, 0]))
            test_y = tf.one_hot(test_labels, classes)
            test_e = tf.random.stateless_normal([len(test_images), Z_DIM], [SEED, 1])
    with tf.name_scope('losses'):
        bound = tf.reduce_mean(elbo(x, y, ops.noise([BATCH_SIZE, Z_DIM], 'e')), name='elbo')
        loss = tf.negative(bound, name='loss')
    with tf.variable_scope('optimizers'):
        update = ops.minimize(tf.train.AdamOptimizer(LEARNING_RATE), loss, '', 'update')  # '': both networks
    folder, found = run.train(globals(), updates=[update], scalars={'elbo': bound}, networks={
        'generator': run.network(generator, 'images', z=run.normal(Z_DIM), label=run.label(classes)),
        'encoder': run.network(codes, 'codes', images=run.images(IMAGE_SIZE, CHANNELS), label=run.label(classes))},
                              measures=lambda: {'test_elbo': tf.reduce_mean(elbo(test_x, test_y, test_e))})
    print(f'test ELBO {found["test_elbo"]:.2f} nats a picture, {len(test_images):,} pictures drawn black and white')
    draw(folder, test_images[:10], test_labels[:10], classes)


def draw(folder, images, labels, classes):
    """Into a run's folder: analogies.png, of each picture its code, decoded as every class (figure 1 of Kingma et al.)."""
    encoder, generator = savedmodel.Loaded(folder, 'encoder'), savedmodel.Loaded(folder, 'generator')
    shown = min(classes, 20)
    z = encoder(images=viz.to_float(images), label=labels).repeat(shown, axis=0)
    analogies = generator.draw({'z': z, 'label': np.tile(np.arange(shown), len(images))})
    rows = analogies.reshape(len(images), shown, *images.shape[1:])
    viz.save(folder / 'analogies.png', viz.grid(np.concatenate([images[:, None], rows], 1).reshape(-1, *images.shape[1:]),
                                                shown + 1))


if __name__ == '__main__':
    run.main(globals())
