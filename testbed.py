"""One testbed for all objectives and remedies: the same data, the same networks, the same measures.

Points of the plane, as in the tables of VEEGAN (Srivastava et al. 2017, arXiv:1705.07761) and PacGAN (Lin et al. 2018,
arXiv:1712.04086): `ring`, 8 Gaussians of standard deviation 0.01 on the unit circle; `grid`, 5 x 5 Gaussians of 0.05, 2 apart.
`spirals` are two arms of our own. And pictures: `mnist`, `fashion_mnist`, `stacked_mnist`.

The networks for points are PacGAN's with about a third of its units, so that a step takes a millisecond: G has 4 hidden
layers with batch norm and ReLU, D has 3 of maxout with 5 pieces. For pictures they are a small DCGAN. D has no batch norm, so
that every penalty may be put on it.
"""
import json

import data
import files
import ops
import run
import viz

import numpy as np
import tensorflow.compat.v1 as tf

G_HIDDEN = (128, 128, 128, 128)  # units of G's hidden layers for points; PacGAN: 400 in each
D_HIDDEN = (64, 64, 64)          # units of D's; PacGAN: 200 in each
PIECES = 5                       # linear pieces of a maxout unit
WIDTH = 32                       # channels of the layer nearest to the pixels; the next has twice as many
FEATURES = 256                   # units of D's last hidden layer for pictures
COUNT = 2500                     # points that are measured, as in the published tables
MESH = 40                        # rows and columns at which D is drawn
ARROWS = 20                      # rows and columns of arrows

ANGLES = np.arange(8) * np.pi / 4
ARCS = 10                        # of equal length in an arm of the spirals: its modes
TURN = np.sqrt(np.linspace(0.25, 9, 401)[1::2]) * np.pi  # 200 places along an arm: its angle, from pi/2 to 3 pi
ARM = np.stack([TURN * np.cos(TURN), TURN * np.sin(TURN)], 1) / (3 * np.pi)
PLANES = {                       # data set: centres [K, 2], the mode of each, standard deviation, half a picture's side
    'ring': (np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1), np.arange(8), 0.01, 1.5),
    'grid': (np.array([[x, y] for x in range(-4, 5, 2) for y in range(-4, 5, 2)]), np.arange(25), 0.05, 5.5),
    'spirals': (np.concatenate([ARM, -ARM]), np.arange(400) // (200 // ARCS), 0.02, 1.5),
}


def points(dataset, u, e):
    """Draws of a plane's distribution [B, 2] by u [B] from U[0, 1) and e [B, 2] from N(0, 1)."""
    centres, _, sd, _ = PLANES[dataset]
    return tf.gather(tf.constant(centres, tf.float32), tf.cast(u * len(centres), tf.int32)) + sd * e


def batches(dataset, batch_size):
    """x [batch_size, 2], or pictures [batch_size, 28, 28, C] in [-1, 1]: a new batch in every session call that reads it."""
    if dataset in PLANES:
        return points(dataset, ops.uniform([batch_size], 'place'), ops.noise([batch_size, 2], 'spread'))
    return data.batches(data.load(dataset)[0], batch_size)


def generator(z, dataset, training):
    """z [B, n] from N(0, 1) -> points [B, 2], or pictures [B, 28, 28, C] in [-1, 1]."""
    with ops.network('generator'):
        if dataset in PLANES:
            h = z
            for number, units in enumerate(G_HIDDEN, 1):
                h = ops.dense(h, units, f'dense{number}', bias=False)
                h = tf.nn.relu(ops.batch_norm(h, training, f'norm{number}'))
            return ops.dense(h, 2, 'point')
        h = ops.dense(z, 7 * 7 * 2 * WIDTH, 'dense1', bias=False)
        h = tf.reshape(tf.nn.relu(ops.batch_norm(h, training, 'norm1')), [-1, 7, 7, 2 * WIDTH])
        h = ops.conv_transpose(h, WIDTH, 'deconv1', bias=False)              # [B, 14, 14, WIDTH]
        h = tf.nn.relu(ops.batch_norm(h, training, 'norm2'))
        return tf.tanh(ops.conv_transpose(h, 3 if dataset == 'stacked_mnist' else 1, 'deconv2'))


def features(x):
    """x [B, n] or [B, 28, 28, C] -> the last hidden layer of the discriminator [B, m]."""
    with ops.network('discriminator'):
        if x.shape.ndims == 2:
            h = x
            for number, units in enumerate(D_HIDDEN, 1):
                h = ops.maxout(h, units, PIECES, f'maxout{number}')
            return h
        h = tf.nn.leaky_relu(ops.conv(x, WIDTH, 'conv1'))                    # [B, 14, 14, WIDTH]
        h = tf.nn.leaky_relu(ops.conv(h, 2 * WIDTH, 'conv2'))                # [B, 7, 7, 2 WIDTH]
        return tf.nn.leaky_relu(ops.dense(tf.reshape(h, [-1, 7 * 7 * 2 * WIDTH]), FEATURES, 'dense1'))


def logits(h, outputs=1):
    """The last layer of the discriminator: features [B, m], or what a remedy has made of them -> [B, outputs]."""
    with ops.network('discriminator'):
        return ops.dense(h, outputs, 'logits')


def discriminator(x, outputs=1):
    """x [B, n] or [B, 28, 28, C] -> logits [B, outputs]. A packed x is one of more columns or channels: see ops.pack."""
    return logits(features(x), outputs)


def measures(samples, dataset):
    """Points [N, 2] -> {modes, quality, reverse_kl}, scalar tensors, by the protocol of the published tables.

    A sample is of high quality within 3 standard deviations of the nearest centre (Gaussian data: 1 - exp(-9 / 2) = 98.9 %);
    quality is their share. Modes are those with at least one such sample. reverse_kl is that of their histogram over the K
    modes from the uniform one, sum p log(p K), in nats; log K, the most there is, where no sample is of high quality.
    """
    centres, modes, sd, _ = PLANES[dataset]
    k = modes[-1] + 1
    apart = samples[:, None] - tf.constant(centres, tf.float32)              # [N, centres, 2]
    squares = tf.reduce_sum(tf.square(apart), 2)
    good = tf.cast(tf.reduce_min(squares, 1) < (3 * sd) ** 2, tf.float32)
    nearest = tf.gather(tf.constant(modes), tf.argmin(squares, 1))
    counts = tf.math.unsorted_segment_sum(good, nearest, k)
    p = counts / tf.maximum(tf.reduce_sum(counts), 1)
    reverse_kl = tf.reduce_sum(tf.math.xlogy(p, p * k)) + np.log(k) * (1 - tf.reduce_sum(p))
    return {'modes': tf.reduce_sum(tf.cast(counts > 0, tf.float32)), 'quality': tf.reduce_mean(good), 'reverse_kl': reverse_kl}


def watched(dataset, z_dim, score=None, g_loss=None):
    """What run.train is to draw and to measure, as its arguments. All of it uses the averaged weights.

    Points: COUNT samples of latents that stay the same are measured and drawn on top of data; behind them D's surface
    `score(points [N, 2])` [N, 1] in colours and, as arrows, -d g_loss(scores) / d point: where G's loss pushes a sample.
    Pictures: the generator.
    """
    def generate(z, training):
        return generator(z, dataset, training)

    if dataset not in PLANES:
        return {'generator': generate, 'z_dim': z_dim}

    def sampled():
        seed = tf.get_default_graph().seed or 0
        return generate(tf.random.stateless_normal([COUNT, z_dim], [seed, 0]), training=False)

    def pictures():
        u, e = tf.random.stateless_uniform([COUNT], [0, 1]), tf.random.stateless_normal([COUNT, 2], [0, 2])
        shown = [sampled(), points(dataset, u, e)]
        if score:
            shown.append(tf.reshape(score(tf.constant(viz.mesh(side, MESH))), [MESH, MESH]))
        if g_loss:
            feet = tf.constant(viz.mesh(side, ARROWS))
            shown.append(-tf.gradients(g_loss(score(feet)), feet)[0])
        return shown

    side = PLANES[dataset][3]
    return {'pictures': pictures, 'draw': lambda *arrays: viz.plane(side, *arrays),
            'measures': lambda: measures(sampled(), dataset)}


def train(script, updates, scalars, score=None, g_loss=None):
    """run.train on the script's data set, drawn and measured as `watched` says; points are reported in metrics.json too."""
    folder, found = run.train(script, updates=updates, scalars=scalars, steps=script['STEPS'],
                              weight_average=script['WEIGHT_AVERAGE'],
                              **watched(script['DATASET'], script['Z_DIM'], score, g_loss))
    if found:  # the measures of pictures are run.train's own
        found = {name: float(value) for name, value in found.items()}
        with files.replacing(folder / 'metrics.json') as temporary:
            temporary.write_text(json.dumps(found) + '\n')
        print(f'{found["modes"]:.0f} modes, {found["quality"]:.1%} of high quality, reverse KL {found["reverse_kl"]:.3f}')
