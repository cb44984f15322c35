"""CoGAN: Liu & Tuzel 2016, "Coupled Generative Adversarial Networks", arXiv:1606.07536.

Two GANs, one for each of two kinds of pictures, draw from the same latents, and share layers. What a picture is of is decided
once, for both, and how it looks is decided apart: so they draw pairs, a digit and its edges, though no pair was ever shown to
them. One half of the digits is known as digits alone, the other half as edges alone. In the paper each G has the last layer for
itself; here each has two small ones behind a picture that is common to both, or that picture is what the first one draws.

    python cogan.py --dataset mnist --task edges

Page: docs/cogan.md
"""
import data
import ops
import run
import translation

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour
TASK = 'edges'           # 'edges' or 'negative': what the pictures of domain 2 are, of those of domain 1

# networks
Z_DIM = 100              # length of the latent vector z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer
OWN = 1                  # domains with two layers of G for themselves, from 1 to 2: the second, or both, which negatives take
DETAIL = 32              # channels of the first of these layers
KERNEL = 3               # pixels on a side of their kernels, from 1 to 15
NOISE = 0.3              # standard deviation of the noise on what they take, while training, in [0, inf)
SHARED = True            # share all of G but these layers, and all of D but its first; False shares z alone

# training
STEPS = 2500             # one step is one update of both D, then one of both G
BATCH_SIZE = 64          # pictures of each domain in an update
D_LEARNING_RATE = 4e-4   # for Adam
G_LEARNING_RATE = 2e-3   # five times D's
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
PAIRS = 10000            # drawn pairs whose agreement is measured, from 1 to 1000000
COLUMNS = 16             # pairs in a picture, from 1 to 1000


def transformed(x):
    """Pictures of domain 1 -> those of domain 2 that belong to them, both in [-1, 1]."""
    return {'edges': translation.edges, 'negative': translation.negative}[TASK](x)


def sketch(z, training):
    """z [B, Z_DIM] from N(0, 1) -> a picture in [-1, 1] [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS]."""
    return ops.deconv_stack(ops.norm_stack(z, [HIDDEN], training), IMAGE_SIZE, CHANNELS, WIDTH, training)


def drawn(x, training):
    """A sketch x -> a domain's picture, of the same shape. The noise drowns what could be hidden in shades, a second digit."""
    h = ops.conv(ops.noisy(x, NOISE, training), DETAIL, 'detail', size=KERNEL, stride=1, activation=tf.nn.relu)
    return ops.conv(h, CHANNELS, 'pixels', size=KERNEL, stride=1, activation=tf.tanh)


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images of domain 1 and of domain 2 [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        x, images = sketch(z, training) if SHARED else None, []
        for domain in 1, 2:
            with tf.variable_scope(f'domain{domain}', initializer=ops.glorot):
                own = x if SHARED else sketch(z, training)
                images.append(drawn(own, training) if domain > 2 - OWN else own)
        return images


def judged(h, training):
    """First features h [B, s, s, WIDTH] of images -> logits [B, 1]."""
    depth = ops.depth(IMAGE_SIZE, CHANNELS)
    for number in range(2, depth + 1):
        h = ops.conv(h, WIDTH << number - 1, f'conv{number}', bias=False)                  # [B, 7, 7, 2 WIDTH]
        h = ops.batch_norm(h, training, f'norm{number - 1}', activation=tf.nn.leaky_relu)
    h = ops.dense(h, HIDDEN, 'dense1', bias=False)
    h = ops.batch_norm(h, training, f'norm{depth}', activation=tf.nn.leaky_relu)
    return ops.dense(h, 1, 'dense2')


def discriminator(images, training):
    """Images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1], of each domain -> logits [2 B, 1], those of domain 1 first."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        found = []
        for domain, x in enumerate(images, 1):
            with tf.variable_scope(f'domain{domain}'):
                h = ops.conv(x, WIDTH, 'conv1', activation=tf.nn.leaky_relu)               # [B, 14, 14, WIDTH]
                found.append(h if SHARED else judged(h, training))
        return judged(tf.concat(found, 0), training) if SHARED else tf.concat(found, 0)


def losses(real_logits, fake_logits):
    """Logits [2 B, 1] of real and generated images of both domains -> (d_loss, g_loss), the game of arXiv:1406.2661 for both."""
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)                  # -log D_i(x_i) - log(1 - D_i(G_i(z)))
    return tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(tf.nn.softplus(-fake_logits), name='g_loss')


def agreement(x1, x2):
    """Pairs of images [B, h, w, c] -> the share [B] of pixels that are bright in both x2 and the transformed x1, or dark in both.

    Bright is above middle grey.
    """
    return tf.reduce_mean(tf.cast(tf.equal(transformed(x1) > 0, x2 > 0), tf.float32), [1, 2, 3])


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x1 = data.batches(images[::2], BATCH_SIZE, 'domain1')
        x2 = transformed(data.batches(images[1::2], BATCH_SIZE, 'domain2'))              # of other pictures than x1
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        real_logits = discriminator([x1, x2], training=True)
    with tf.name_scope('fake'):
        fake_logits = discriminator(fake, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss = losses(real_logits, fake_logits)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')

    def pictures():
        x1, x2 = generator(tf.random.stateless_normal([COLUMNS, Z_DIM], [SEED, 0]), training=False)
        return {'domain 1': x1, 'domain 2': x2, TASK: transformed(x1)}

    def measures():
        z = tf.random.stateless_normal([PAIRS, Z_DIM], [SEED, 1])
        return {'agreement': tf.reduce_mean(ops.in_blocks(lambda z: agreement(*generator(z, training=False)), z))}

    def of(domain):
        return run.network(lambda z, training: generator(z, training)[domain - 1], 'images', z=run.normal(Z_DIM))

    _, found = run.train(globals(), updates=[d_step, g_step], scalars=scalars, pictures=pictures, measures=measures,
                         scores={'real': real_logits, 'fake': fake_logits}, networks={'generator': of(1), 'generator2': of(2)})
    print(f'{found["agreement"]:.1%} of the pixels of {PAIRS:,} pairs agree')


if __name__ == '__main__':
    run.main(globals())
