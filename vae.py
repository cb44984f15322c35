"""VAE: Kingma & Welling 2013, "Auto-Encoding Variational Bayes", arXiv:1312.6114.

An auto-encoder that can be sampled from. The encoder maps an image to a Gaussian q(z|x), not to a point, and the decoder
learns from samples of it; a penalty keeps q(z|x) near N(0, 1), so that samples of that decode to images too. The expected
log-likelihood minus the penalty is a lower bound of log p(x), the ELBO, in nats. Pixels are binarized at random, with the
grey value as the probability of white. A heavier penalty, --beta 4, makes it the beta-VAE of Higgins et al. 2017, "beta-VAE:
Learning Basic Visual Concepts with a Constrained Variational Framework".

    python vae.py --dataset mnist

Page: docs/autoencoders.md
"""
import data
import ops
import run
import viz
from plumbing import bounds, latents, savedmodel

import numpy as np
import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'         # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28           # pixels on a side, from 1 to 4096
CHANNELS = 1              # 1 is grey, 3 is colour

# networks
Z_DIM = 20                # length of the code z, from 2 to 1000000; with 2 the run ends with a picture of the whole manifold
HIDDEN = (512, 512)       # units of the encoder's hidden layers; the decoder has the same ones backwards

# training
STEPS = 20000             # one step is one update of both networks
BATCH_SIZE = 128          # pictures in an update
LEARNING_RATE = 1e-3      # for Adam
BETA = 1.0                # weight of the penalty in the loss, in [0, inf); 1 is the VAE
WEIGHT_AVERAGE = 0.9995   # EMA decay of the weights, used for measuring and sampling, in [0, 1); 0 uses the raw weights
SEED = 0                  # random seed

# reports
SAMPLE_EVERY = 1000       # steps between pictures of the same latents
EVAL_EVERY = 5000         # steps between ELBOs of the test set and Frechet distances
CHECKPOINT_EVERY = 5000   # steps between checkpoints
BOUND_DRAWS = 5000        # samples of a code in the closer bound, once at the end, from 0 to 100000; 0 leaves it out
BOUND_PICTURES = 1000     # test pictures, the first ones, that it is measured on; 10,000 take a quarter of an hour


def encoder(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [0, 1] -> m, log_var [B, Z_DIM]: mean and log-variance of q(z|x)."""
    with ops.network('encoder'):
        h = ops.dense_stack(x, HIDDEN)
        return ops.dense(h, Z_DIM, 'm'), ops.dense(h, Z_DIM, 'log_var')


def decoder(z):
    """z [B, Z_DIM] -> logits [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS]; sigmoid(logits) = the probability that a pixel is white."""
    with ops.network('decoder'):
        return ops.dense_images(ops.dense_stack(z, reversed(HIDDEN)), IMAGE_SIZE, CHANNELS)


def generator(z):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1], 2 sigmoid(l) - 1."""
    return tf.tanh(decoder(z) / 2)


def codes(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> the means of q(z|x) [B, Z_DIM]."""
    return encoder((x + 1) / 2)[0]


def kl(m, log_var):
    """KL(N(m, exp(log_var)) || N(0, 1)) [B, Z_DIM], of each number of the code (appendix B of the paper)."""
    return (tf.exp(log_var) - (1 + log_var) + tf.square(m)) / 2


def log_likelihood(x, logits):
    """log p(x|z) [B] of pixels x, each Bernoulli with probability sigmoid(logits), summed over the picture."""
    return -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), [1, 2, 3])


def terms(x, e):
    """(log p(x|z), KL) [B] of images x, 0 or 1; of each code a sample z = m + exp(log_var / 2) e, e [B, Z_DIM] from N(0, 1)."""
    m, log_var = encoder(x)
    return log_likelihood(x, decoder(m + tf.exp(log_var / 2) * e)), tf.reduce_sum(kl(m, log_var), 1)


def finals(x, number):
    """Measures of one image x [1, ...], 0 or 1, and its number [], with which its samples are drawn: {name: tensor}."""
    m, log_var = encoder(x)
    found = {'kl': kl(m, log_var)[0]}
    if BOUND_DRAWS and EVAL_EVERY:
        e = tf.random.stateless_normal([BOUND_DRAWS, Z_DIM], [SEED, 2 + number])
        found['test_bound'], found['bound_gap'] = bounds.importance_weighted(x, m, log_var, decoder, e)
    return found


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    test_images, _ = data.load(DATASET, 'test', IMAGE_SIZE, CHANNELS)
    with tf.variable_scope('data'):
        x = ops.binary(data.batches(images, BATCH_SIZE), ops.uniform([BATCH_SIZE, *images.shape[1:]], 'threshold'))
        with tf.variable_scope('test'):
            test = ops.binary(data.stored(test_images), tf.random.stateless_uniform(test_images.shape, [SEED, 0]))
            e, first = tf.random.stateless_normal([len(test_images), Z_DIM], [SEED, 1]), test[:BOUND_PICTURES]
    with tf.name_scope('losses'):
        likelihood, penalty = terms(x, ops.noise([BATCH_SIZE, Z_DIM], 'e'))
        elbo = tf.reduce_mean(likelihood - penalty, name='elbo')                          # eq. 10
        loss = tf.reduce_mean(BETA * penalty - likelihood, name='loss')                   # eq. 4 of Higgins et al., negative
    with tf.variable_scope('optimizers'):
        update = ops.minimize(tf.train.AdamOptimizer(LEARNING_RATE), loss, '', 'update')  # '': both networks
    reported = {'elbo': elbo} if BETA == 1 else {'elbo': elbo, 'loss': loss}
    folder, found = run.train(globals(), updates=[update], scalars=reported, networks={
        'generator': run.network(generator, 'images', z=run.normal(Z_DIM)),
        'encoder': run.network(codes, 'codes', images=run.images(IMAGE_SIZE, CHANNELS))},
                              measures=lambda: {'test_elbo': tf.reduce_mean(tf.subtract(*terms(test, e)))},
                              finals=(first, finals))
    print(f'test ELBO {found["test_elbo"]:.2f} nats a picture, {len(test_images):,} pictures drawn black and white')
    if 'test_bound' in found:
        print(f'the first {first.shape[0]:,} of them: bound of {BOUND_DRAWS:,} samples {found["test_bound"]:.2f}, '
              f'{found["bound_gap"]:.2f} above their ELBO')
    draw(folder, test_images, np.array(found['kl']))


def draw(folder, images, nats):
    """Into a run's folder: walk.png (from one test picture to another), traversal.png (of the first one, number by number of
    its code, those with the most `nats` [Z_DIM] of KL) and, if Z_DIM is 2, manifold.png.
    """
    count, generator = min(8, len(images) // 2), savedmodel.Loaded(folder, 'generator')
    means = savedmodel.Loaded(folder, 'encoder')(images=viz.to_float(images[:2 * count or 1]))
    walks = np.linspace(means[:count], means[count:2 * count], 10, axis=1).reshape(-1, Z_DIM)
    if count:
        viz.save(folder / 'walk.png', viz.grid(generator.draw({'z': walks}), 10))
    most, values = np.argsort(-nats, kind='stable')[:10], np.linspace(-3, 3, 11)
    viz.save(folder / 'traversal.png', viz.grid(generator.draw({'z': latents.traversals(means[0], most, values)}), len(values),
                                                labels=[f'{number}: {nats[number]:.2f} nats' for number in most]))
    if Z_DIM == 2:
        viz.save(folder / 'manifold.png', viz.grid(generator.draw({'z': latents.plane(20)}), 20, gap=0, zoom=1))


if __name__ == '__main__':
    run.main(globals())
