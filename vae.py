"""VAE: Kingma & Welling 2013, "Auto-Encoding Variational Bayes", arXiv:1312.6114.

An auto-encoder to sample from. The encoder answers with a Gaussian q(z|x), not a point; the decoder learns from draws of
it; a penalty keeps q(z|x) near N(0, 1), so that draws of that decode to pictures too. Likelihood less penalty is a lower
bound of log p(x), the ELBO, in nats. Pixels are drawn black or white, their grey being the probability.

    python vae.py --dataset mnist
"""
import statistics

import data
import files
import ops
import run
import runfolder
import viz

import numpy as np
import tensorflow.compat.v1 as tf

DATASET = 'mnist'         # mnist, fashion_mnist or a folder of pictures
IMAGE_SIZE = 28           # pixels on a side
CHANNELS = 1              # 1 is grey, 3 is colour
STEPS = 20000             # one step is one update of both networks
BATCH_SIZE = 128          # pictures in an update
Z_DIM = 20                # length of the code z; with 2 the run ends with a picture of the whole manifold
HIDDEN = (512, 512)       # units of the encoder's hidden layers; the decoder has the same ones backwards
LEARNING_RATE = 1e-3      # for Adam
WEIGHT_AVERAGE = 0.9995   # decay of the averaged weights that are measured and sampled; 0 takes the last weights
SEED = 0                  # start of all randomness
SAMPLE_EVERY = 1000       # steps between pictures of the same latents
EVAL_EVERY = 5000         # steps between ELBOs of the test set and Frechet distances
CHECKPOINT_EVERY = 5000   # steps between checkpoints


def encoder(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [0, 1] -> m, sigma [B, Z_DIM]: mean and log-variance of q(z|x)."""
    with ops.network('encoder'):
        h = tf.reshape(x, [-1, IMAGE_SIZE * IMAGE_SIZE * CHANNELS])
        for number, units in enumerate(HIDDEN, 1):
            h = tf.nn.relu(ops.dense(h, units, f'dense{number}'))
        return ops.dense(h, Z_DIM, 'm'), ops.dense(h, Z_DIM, 'sigma')


def decoder(z):
    """z [B, Z_DIM] -> logits [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS]; sigmoid(logits) = how likely a pixel is white."""
    with ops.network('decoder'):
        h = z
        for number, units in enumerate(reversed(HIDDEN), 1):
            h = tf.nn.relu(ops.dense(h, units, f'dense{number}'))
        return tf.reshape(ops.dense(h, IMAGE_SIZE * IMAGE_SIZE * CHANNELS, 'pixels'), [-1, IMAGE_SIZE, IMAGE_SIZE, CHANNELS])


def generator(z, training=False):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1], 2 sigmoid(l) - 1."""
    return tf.tanh(decoder(z) / 2)


def codes(x, training=False):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> the means of q(z|x) [B, Z_DIM]."""
    return encoder((x + 1) / 2)[0]


def kl(m, sigma):
    """KL of N(m, exp(sigma)) from N(0, 1) [B], summed over the code (appendix B of the paper)."""
    return tf.reduce_sum(tf.exp(sigma) - (1 + sigma) + tf.square(m), 1) / 2


def log_likelihood(x, logits):
    """log p(x|z) [B] of pixels x, each Bernoulli with probability sigmoid(logits), summed over the picture."""
    return -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), [1, 2, 3])


def elbo(x, e):
    """The bound [B] for pictures x, 0 or 1, by one draw m + exp(sigma / 2) e of each code, e [B, Z_DIM] from N(0, 1)."""
    m, sigma = encoder(x)
    return log_likelihood(x, decoder(m + tf.exp(sigma / 2) * e)) - kl(m, sigma)


def binary(x, u):
    """x in [-1, 1] -> 0 or 1, with the grey as the probability of 1, by u of the same shape from U[0, 1)."""
    return tf.cast(u < (x + 1) / 2, tf.float32)


def main():
    if Z_DIM < 2:
        raise files.UserError('Z_DIM must be at least 2')
    tf.set_random_seed(SEED)
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    test_images, test_labels = data.load(DATASET, 'test', IMAGE_SIZE, CHANNELS)
    with tf.variable_scope('data'):
        x = binary(data.batches(images, BATCH_SIZE), ops.uniform([BATCH_SIZE, *images.shape[1:]], 'threshold'))
        with tf.variable_scope('test'):
            test = binary(data.stored(test_images), tf.random.stateless_uniform(test_images.shape, [SEED, 0]))
            e = tf.random.stateless_normal([len(test_images), Z_DIM], [SEED, 1])
    with tf.name_scope('losses'):
        bound = tf.reduce_mean(elbo(x, ops.noise([BATCH_SIZE, Z_DIM], 'e')))
    with tf.variable_scope('optimizers'):
        step = ops.minimize(tf.train.AdamOptimizer(LEARNING_RATE), -bound, '')  # '': both networks
    folder, found = run.train(globals(), updates=[step], scalars={'elbo': bound}, steps=STEPS, weight_average=WEIGHT_AVERAGE,
                              generator=generator, z_dim=Z_DIM, encoder=codes,
                              measures=lambda: {'test_elbo': tf.reduce_mean(elbo(test, e))})
    print(f'test ELBO {found["test_elbo"]:.2f} nats a picture, {len(test_images):,} pictures drawn black and white')
    draw(folder, test_images, test_labels)


def draw(folder, images, labels):
    """Into a run's folder: codes.png, walk.png (from one test picture to another) and, if Z_DIM is 2, manifold.png."""
    encode, decode = (runfolder.network(folder, name)[0] for name in ('encoder', 'generator'))
    means = encode(images / np.float32(127.5) - 1)
    count = min(8, len(means) // 2)
    axes = np.eye(2) if Z_DIM == 2 else np.linalg.svd(means - means.mean(0), full_matrices=False)[2].T[:, :2]
    viz.scatter(folder / 'codes.png', means @ axes, labels)
    walks = np.linspace(means[:count], means[count:2 * count], 10, axis=1).reshape(-1, Z_DIM)
    if count:
        viz.save(folder / 'walk.png', viz.grid(viz.to_uint8(decode(walks)), 10))
    if Z_DIM == 2:  # cells of equal probability under N(0, 1)
        places = [statistics.NormalDist().inv_cdf((k + 0.5) / 20) for k in range(20)]
        plane = np.array([[across, up] for up in reversed(places) for across in places])
        viz.save(folder / 'manifold.png', viz.grid(viz.to_uint8(decode(plane)), 20, gap=0, zoom=1))


if __name__ == '__main__':
    run.main(globals())
