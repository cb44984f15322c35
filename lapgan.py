"""LAPGAN: Denton, Chintala, Szlam & Fergus 2015, "Deep Generative Image Models using a Laplacian Pyramid of Adversarial
Networks", arXiv:1506.05751.

A picture is drawn from coarse to fine. A GAN draws it small; then, size by size, it is enlarged, which blurs it, and a
conditional GAN adds the detail h that a real picture would have there. The GANs of the sizes are trained apart, each on real
pictures.

    python lapgan.py --dataset mnist

Page: docs/players.md
"""
import data
import ops
import run
from plumbing import files

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 8 to 4096: 4 at least, times 2 LEVELS times
CHANNELS = 1             # 1 is grey, 3 is colour
LEVELS = 2               # how often the size doubles, from 1 to 10: 7, 14, 28

# networks
Z_DIM = 100              # length of the latent vector z of the smallest pictures; each size has a plane of noise besides
HIDDEN = 512             # units of the fully connected layers for the smallest pictures; the authors' code: 8000 in G, 1600 in D
WIDTH = 32               # channels of the convolutions of the other sizes; the authors' code: 128

# training
STEPS = 4000             # one step is an update of D, then one of G, for the pictures; twice as many for each smaller size
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of the weights of all G, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
COLUMNS = 16             # pyramids that are drawn, from 1 to 1000


def down(x):
    """x [B, s, s, C] -> [B, s / 2, s / 2, C]: blurred with (1, 4, 6, 4, 1) / 16, then every other pixel (Burt & Adelson 1983)."""
    for _ in range(2):  # along one axis, then along the other
        x = tf.pad(x, [[0, 0], [2, 2], [0, 0], [0, 0]], 'SYMMETRIC')
        even, odd = tf.unstack(tf.reshape(x, [-1, x.shape[1] // 2, 2, *x.shape[2:]]), axis=2)
        x = (even[:, :-2] + 4 * odd[:, :-2] + 6 * even[:, 1:-1] + 4 * odd[:, 1:-1] + even[:, 2:]) / 16
        x = tf.transpose(x, [0, 2, 1, 3])
    return x


def up(x):
    """x [B, s, s, C] -> [B, 2 s, 2 s, C]: zeros between the pixels, blurred with (1, 4, 6, 4, 1) / 8."""
    for _ in range(2):
        before, after = tf.concat([x[:, :1], x[:, :-1]], 1), tf.concat([x[:, 1:], x[:, -1:]], 1)
        both = tf.stack([(before + 6 * x + after) / 8, (x + after) / 2], 2)
        x = tf.transpose(tf.reshape(both, [-1, 2 * x.shape[1], *x.shape[2:]]), [0, 2, 1, 3])
    return x


def pyramid(x):
    """x [B, s, s, C] -> (the smallest picture, [(low, h) of each finer size, low + h the picture]), coarse to fine."""
    with tf.name_scope('pyramid'):
        levels = []
        for _ in range(LEVELS):
            smaller = down(x)
            low = up(smaller)
            levels.insert(0, (low, x - low))
            x = smaller
        return x, levels


def base_generator(z, side, training):
    """z [B, Z_DIM] -> pictures [B, side, side, CHANNELS] in [-1, 1], the smallest."""
    with ops.network(f'{side}x{side}_generator'):
        h = ops.norm_stack(z, [HIDDEN, HIDDEN], training)
        return tf.reshape(ops.dense(h, side * side * CHANNELS, 'dense3', activation=tf.tanh), [-1, side, side, CHANNELS])


def base_discriminator(x):
    """x [B, s, s, CHANNELS] -> logits [B, 1]."""
    side = x.shape[1]
    with ops.network(f'{side}x{side}_discriminator'):
        return ops.dense(ops.dense_stack(x, [HIDDEN, HIDDEN], tf.nn.leaky_relu), 1, 'logits')


def detail_generator(low, z, training):
    """Enlarged pictures low [B, s, s, CHANNELS], noise z [B, s^2] -> their detail h, of the shape of low."""
    side = low.shape[1]
    with ops.network(f'{side}x{side}_generator'):
        h = tf.concat([low, tf.reshape(z, [-1, side, side, 1])], 3)
        for number in 1, 2:
            h = ops.conv(h, WIDTH, f'conv{number}', size=5, stride=1, bias=False)
            h = ops.batch_norm(h, training, f'norm{number}', activation=tf.nn.relu)
        return ops.conv(h, CHANNELS, 'conv3', size=5, stride=1)


def detail_discriminator(low, h):
    """Enlarged pictures low and their detail h [B, s, s, CHANNELS] -> logits [B, 1]."""
    side = low.shape[1]
    with ops.network(f'{side}x{side}_discriminator'):
        h = ops.conv(tf.concat([low + h, low], 3), WIDTH, 'conv1', activation=tf.nn.leaky_relu)
        h = ops.conv(h, 2 * WIDTH, 'conv2', activation=tf.nn.leaky_relu)
        return ops.dense(h, 1, 'logits')


def drawn(z, *planes, training):
    """z [B, Z_DIM] and noise [B, s^2] for each finer size s -> [the smallest picture, h, x, h, x, ...], coarse to fine."""
    found = [base_generator(z, IMAGE_SIZE >> LEVELS, training)]
    for plane in planes:
        low = up(found[-1])
        h = detail_generator(low, plane, training)
        found += [h, tf.clip_by_value(low + h, -1, 1)]
    return found


def generator(z, *planes, training):
    """z [B, Z_DIM] and noise [B, s^2] for each finer size s -> pictures [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    return drawn(z, *planes, training=training)[-1]


def losses(real_logits, fake_logits, side):
    """Logits [B, 1] of real and generated pictures, or details, of a size -> (d_loss, g_loss), non-saturating for G."""
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)      # -log D(h, low) - log(1 - D(G(z, low), low))
    g_loss = tf.nn.softplus(-fake_logits)                                    # -log D(G(z, low), low)
    return tf.reduce_mean(d_loss, name=f'd{side}_loss'), tf.reduce_mean(g_loss, name=f'g{side}_loss')


def main():
    sides = [IMAGE_SIZE >> level for level in range(LEVELS, -1, -1)]
    if IMAGE_SIZE % 2 ** LEVELS or sides[0] < 4:
        raise files.UserError(f'IMAGE_SIZE must be a multiple of {2 ** LEVELS}, 2 to the power of LEVELS, at least 4 of them')
    noise = {f'z{side}': Z_DIM if side == sides[0] else side * side for side in sides}
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        base, levels = pyramid(data.batches(images, BATCH_SIZE))
        z, *planes = [ops.noise([BATCH_SIZE, size], name) for name, size in noise.items()]

    fakes = [(base_generator(z, sides[0], training=True),)]
    fakes += [(low, detail_generator(low, plane, training=True)) for (low, _), plane in zip(levels, planes, strict=True)]
    updates, scalars = [], {}
    for side, real, fake in zip(sides, [(base,), *levels], fakes, strict=True):
        discriminator = base_discriminator if side == sides[0] else detail_discriminator
        with tf.name_scope('real/'):                                         # the slash: one box, whichever size it is
            real_logits = discriminator(*real)
        with tf.name_scope('fake/'):
            fake_logits = discriminator(*fake)
        with tf.name_scope('losses/'):
            d_loss, g_loss = losses(real_logits, fake_logits, side)
        scalars |= {f'd{side}_loss': d_loss, f'g{side}_loss': g_loss}

    with tf.variable_scope('optimizers'):
        for side in sides:
            d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), scalars[f'd{side}_loss'],
                                  f'{side}x{side}_discriminator/', f'd{side}_step')
            g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), scalars[f'g{side}_loss'],
                                  f'{side}x{side}_generator/', f'g{side}_step')
            updates += [d_step, g_step] * (IMAGE_SIZE // side)               # a smaller size is cheaper

    def pictures():
        seeds = zip(noise.values(), range(LEVELS + 1), strict=True)
        shown = drawn(*[tf.random.stateless_normal([COLUMNS, size], [SEED, number]) for size, number in seeds], training=False)
        names = [f'{sides[0]}', *(name for side in sides[1:] for name in (f'h{side}', f'{side}'))]
        return {name: ops.unpool(x, IMAGE_SIZE // x.shape[1]) for name, x in zip(names, shown, strict=True)}

    run.train(globals(), updates=updates, scalars=scalars, scores={'real': real_logits, 'fake': fake_logits}, pictures=pictures,
              networks={'generator': run.network(generator, 'images', **{name: run.normal(n) for name, n in noise.items()})})


if __name__ == '__main__':
    run.main(globals())
