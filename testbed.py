"""One testbed for all objectives and remedies: the same data, the same networks, the same measures.

The data are points in the plane (`ring`, `grid` and `spirals`, see plumbing/plane.py), or images: `mnist`, `fashion_mnist`,
`stacked_mnist`.

The networks for points are PacGAN's (Lin et al. 2018, arXiv:1712.04086) with about a third of its units, so that a step
takes a millisecond: G has 4 hidden layers with batch norm, D has 3 of maxout with 5 pieces. G's activation is a steep tanh
instead of ReLU: between narrow modes far apart G has to jump, and where it does not, it leaves a trail of samples. For images
the networks are a small DCGAN. D has no batch norm, so that every penalty can be put on it.
"""


import data
import ops
import run
import viz
from plumbing import networks, plane

import numpy as np
import tensorflow.compat.v1 as tf

G_HIDDEN = (128, 128, 128, 128)  # units of G's hidden layers for points; PacGAN: 400 in each
STEEPNESS = 4.0                  # slope at 0 of their activation, tanh
D_HIDDEN = (64, 64, 64)          # units of D's; PacGAN: 200 in each
PIECES = 5                       # linear pieces of a maxout unit
WIDTH = 32                       # channels of the layer nearest to the pixels; the next has twice as many
FEATURES = 256                   # units of D's last hidden layer for pictures
COUNT = 2500                     # samples that are measured, as in the published tables
MESH = 40                        # rows and columns of points where D is drawn
ARROWS = 20                      # rows and columns of arrows


def batches(dataset, batch_size):
    """x [batch_size, 2], or pictures [batch_size, 28, 28, C] in [-1, 1]: a new batch in every session call that reads it."""
    if dataset in plane.PLANES:
        return plane.points(dataset, ops.uniform([batch_size], 'place'), ops.noise([batch_size, 2], 'spread'))
    return data.batches(data.load(dataset)[0], batch_size)


def hidden(z, dataset, training):
    """z [B, n] from N(0, 1) -> the last hidden layer of the generator: [B, 128], or [B, 14, 14, WIDTH] for pictures."""
    with ops.network('generator'):
        if dataset in plane.PLANES:
            return ops.norm_stack(z, G_HIDDEN, training, lambda h: tf.tanh(STEEPNESS * h))
        h = tf.reshape(ops.norm_stack(z, [7 * 7 * 2 * WIDTH], training), [-1, 7, 7, 2 * WIDTH])
        h = ops.conv_transpose(h, WIDTH, 'deconv1', bias=False)              # [B, 14, 14, WIDTH]
        return ops.batch_norm(h, training, 'norm2', activation=tf.nn.relu)


def output(h, dataset, name=''):
    """The last layer of the generator: its last hidden layer -> points [B, 2], or pictures [B, 28, 28, C] in [-1, 1].

    name: of the layer, where several generators share the hidden ones.
    """
    with ops.network('generator'):
        if dataset in plane.PLANES:
            return ops.dense(h, 2, name or 'point')
        return ops.conv_transpose(h, 3 if dataset == 'stacked_mnist' else 1, name or 'deconv2', activation=tf.tanh)


def generator(z, dataset, training):
    """z [B, n] from N(0, 1) -> points [B, 2], or pictures [B, 28, 28, C] in [-1, 1]."""
    return output(hidden(z, dataset, training), dataset)


def features(x, network='discriminator'):
    """x [B, n] or [B, 28, 28, C] -> the last hidden layer of the discriminator [B, m], or of another network like it."""
    with ops.network(network):
        if x.shape.ndims == 2:
            h = x
            for number, units in enumerate(D_HIDDEN, 1):
                h = ops.maxout(h, units, PIECES, f'maxout{number}')
            return h
        h = ops.conv(x, WIDTH, 'conv1', activation=tf.nn.leaky_relu)         # [B, 14, 14, WIDTH]
        h = ops.conv(h, 2 * WIDTH, 'conv2', activation=tf.nn.leaky_relu)     # [B, 7, 7, 2 WIDTH]
        return ops.dense(h, FEATURES, 'dense1', activation=tf.nn.leaky_relu)


def logits(h, outputs=1, network='discriminator'):
    """The last layer of the discriminator: features [B, m], or what a remedy has made of them -> [B, outputs]."""
    with ops.network(network):
        return ops.dense(h, outputs, 'logits')


def discriminator(x, outputs=1, network='discriminator'):
    """x [B, n] or [B, 28, 28, C] -> logits [B, outputs]. A pack of samples is an x of more columns or channels."""
    return logits(features(x, network), outputs, network)


def drawn_as(dataset):
    """What a generator makes, as run.train takes it: 'images', or 'points' of the plane."""
    return 'points' if dataset in plane.PLANES else 'images'


def generator_network(dataset, z_dim):
    """The generator as run.train takes it: from z [N, z_dim] to images, or to points of the plane."""
    return run.network(lambda z, training: generator(z, dataset, training), drawn_as(dataset), z=run.normal(z_dim))


def drawings(dataset, network, score=None, g_loss=None):
    """What run.train draws and measures in the plane, as its arguments; of images it is nothing but the generator.

    COUNT samples, always of the same latents, are measured, and drawn over data; behind them D's surface
    `score(points [N, 2])` [N, 1] in colours and, as arrows, -d g_loss(scores) / d point: where G's loss pushes a sample.
    sample: function of latents [COUNT, z_dim] to points, if it is not the generator. groups [COUNT]: whole numbers, for which
    samples get colours.
    """
    if dataset not in plane.PLANES:
        return {}
    label = networks.label_of(network.inputs)
    groups = np.arange(COUNT) % network.inputs[label].classes if label else None

    def sampled():
        seed = tf.get_default_graph().seed or 0
        return network.apply([tf.constant(groups) if name == label else
                              tf.random.stateless_normal([COUNT, *found.shape], [seed, 0])
                              for name, found in network.inputs.items()])

    def pictures():
        u, e = tf.random.stateless_uniform([COUNT], [0, 1]), tf.random.stateless_normal([COUNT, 2], [0, 2])
        shown = [sampled(), plane.points(dataset, u, e)]
        if score:
            with tf.name_scope('surface'):
                shown.append(tf.reshape(score(tf.constant(viz.mesh(side, MESH))), [MESH, MESH]))
        if g_loss:
            with tf.name_scope('arrows'):
                feet = tf.constant(viz.mesh(side, ARROWS))
                shown.append(-tf.gradients(g_loss(score(feet)), feet)[0])
        return shown

    side = plane.PLANES[dataset][3]
    return {'pictures': pictures, 'draw': lambda *arrays: viz.plane(side, *arrays, groups=groups),
            'measures': lambda: plane.measures(sampled(), dataset)}


def train(script, updates, scalars, scores, score=None, g_loss=None, network=None):
    """run.train on the script's data set, drawn and measured as `drawings` says; metrics.json holds the plane's measures.

    network: the generator as run.train takes it, where it takes more than z; the samples of each class have a colour.
    """
    dataset = script['DATASET']
    network = network or generator_network(dataset, script['Z_DIM'])
    _, found = run.train(script, updates=updates, scalars=scalars, scores=scores, networks={'generator': network},
                         **drawings(dataset, network, score, g_loss))
    if found:  # the metrics of images are run.train's own
        print(f'{found["modes"]:.0f} modes, {found["quality"]:.1%} of high quality, reverse KL {found["reverse_kl"]:.3f}')
