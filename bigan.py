"""BiGAN: Donahue, Krähenbühl & Darrell 2016, "Adversarial Feature Learning", arXiv:1605.09782; and ALI: Dumoulin et al. 2016,
"Adversarially Learned Inference", arXiv:1606.00704.

A generator maps a code z to a picture, an encoder maps a picture to a code, and the discriminator judges pairs: (x, E(x)) of a
real picture, or (G(z), z) of a drawn code? It cannot tell them apart only where E inverts G. That alone makes G(E(x)) look like
x; CYCLE also asks for it.

    python bigan.py --dataset mnist

Page: docs/codes.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour

# networks
Z_DIM = 50               # length of the code z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 512             # units of a fully connected layer

# loss
CYCLE = 10.0             # weight of (x - G(E(x)))^2, ALICE's (Li et al. 2017, arXiv:1709.01215), in [0, inf); the paper: 0

# training
STEPS = 12000            # one step is one update of D, then one of G and E
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 2e-4   # for Adam
GE_LEARNING_RATE = 5e-4  # of G and E
DECAY = False            # decay the learning rates linearly to 0: better features sooner
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.999   # EMA decay of the weights of G and E, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed

# reports
COLUMNS = 16             # test pictures in the grid, from 1 to 1000


def generator(z, training):
    """z [B, Z_DIM] in [-1, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        return ops.deconv_stack(z, IMAGE_SIZE, CHANNELS, WIDTH, training)


def encoder(x, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> codes [B, Z_DIM], and the features [B, HIDDEN] before them."""
    with ops.network('encoder', initializer=ops.normal(0.02)):
        h = ops.norm_stack(ops.conv_stack(x, WIDTH, training), [HIDDEN], training, tf.nn.leaky_relu)
        return ops.dense(h, Z_DIM, 'code'), h


def discriminator(x, z, training):
    """Pairs of x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] and z [B, Z_DIM] -> logits [B, 1], sigmoid(logits) = D(x, z)."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        h = tf.concat([ops.flat(x), z], 1)
        h = ops.dense(h, HIDDEN, 'dense1', activation=tf.nn.leaky_relu)
        h = ops.dense(tf.concat([h, z], 1), HIDDEN, 'dense2', bias=False)
        h = ops.batch_norm(h, training, 'norm2', activation=tf.nn.leaky_relu)
        return ops.dense(h, 1, 'logits')


def codes(x, training):
    return encoder(x, training)[0]


def features(x, training):
    return encoder(x, training)[1]


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    test_images, _ = data.load(DATASET, 'test', IMAGE_SIZE, CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.uniform([BATCH_SIZE, Z_DIM], 'z', -1, 1)
        with tf.variable_scope('test'):
            test = data.stored(test_images[:COLUMNS])

    z_x = codes(x, training=True)
    with tf.name_scope('real'):
        real_logits = discriminator(x, z_x, training=True)
    with tf.name_scope('fake'):
        fake_logits = discriminator(generator(z, training=True), z, training=True)

    with tf.name_scope('losses'):
        # D: -log D(x, E(x)) - log(1 - D(G(z), z)); G and E the other way round, so that their gradients do not vanish
        d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits), name='d_loss')
        ge_loss = tf.reduce_mean(tf.nn.softplus(real_logits) + tf.nn.softplus(-fake_logits), name='ge_loss')
        scalars = {'d_loss': d_loss, 'ge_loss': ge_loss,
                   'D(x, E(x))': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x_E_x'),
                   'D(G(z), z)': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z_z')}
        ge_total = ge_loss
        if CYCLE:
            scalars['cycle'] = tf.reduce_mean(tf.square(x - generator(z_x, training=True)), name='cycle')
            ge_total += CYCLE * scalars['cycle']

    with tf.variable_scope('optimizers'):
        decay = ops.linear_decay() if DECAY else 1.0
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * decay, BETA1), d_loss, 'discriminator/', 'd_step')
        ge_step = ops.minimize(tf.train.AdamOptimizer(GE_LEARNING_RATE * decay, BETA1), ge_total, ('generator/', 'encoder/'),
                               'ge_step')

    def pictures():
        return {'x': test, 'G(E(x))': generator(codes(test, training=False), training=False)}

    pixels = run.images(IMAGE_SIZE, CHANNELS)
    run.train(globals(), updates=[d_step, ge_step], scalars=scalars, scores={'real': real_logits, 'fake': fake_logits},
              pictures=pictures, networks={'generator': run.network(generator, 'images', z=run.uniform(Z_DIM)),
                                           'encoder': run.network(codes, 'codes', images=pixels),
                                           'features': run.network(features, 'features', images=pixels)})


if __name__ == '__main__':
    run.main(globals())
