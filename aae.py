"""Adversarial auto-encoder: Makhzani, Shlens, Jaitly, Goodfellow & Frey 2015, "Adversarial Autoencoders", arXiv:1511.05644,
sections 2 to 4.

An auto-encoder whose codes, all together, shall look like samples of a prior, any that can be drawn from. A discriminator of
codes judges, and the encoder learns to fool it; then what the decoder makes of the prior's samples are pictures. Labels, where
there are some, tell the discriminator which part of the prior a picture belongs to.

    python aae.py --dataset mnist --prior mixture --labels 10000

Page: docs/codes.md
"""
import math

import data
import ops
import run
import viz
from plumbing import files, savedmodel

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'         # mnist, fashion_mnist or a folder of pictures
IMAGE_SIZE = 28           # pixels on a side, from 1 to 4096
CHANNELS = 1              # 1 is grey, 3 is colour
LABELS = 0                # labelled training pictures, from 0 to 1000000, as many of each class; for priors with parts
LABEL_SEED = 0            # which of them, from 0 to 1000000

# networks
PRIOR = 'gaussian'        # 'gaussian', 'mixture' or 'roll': N(0, 1), a mixture of Gaussians, or a swiss roll, in the plane
PARTS = 10                # Gaussians of the mixture, or sections of the roll, from 2 to 100; with labels one for each class
Z_DIM = 2                 # length of the code z
HIDDEN = (1000, 1000)     # units of the hidden layers of all networks

# training
STEPS = 6000              # one step is an update of the auto-encoder, one of the discriminator and one of the encoder
BATCH_SIZE = 128          # pictures in an update, and labelled ones, where there are as many
LEARNING_RATE = 1e-3      # of encoder and decoder that reconstruct, for Adam
D_LEARNING_RATE = 2e-4    # of the discriminator
E_LEARNING_RATE = 1e-3    # of the encoder that fools it: five times D's for codes that fill the prior, D's for sharper pictures
DECAY = True              # decay the learning rates linearly to 0
BETA1 = 0.5               # Adam's beta1 of the discriminator, and of the encoder that fools it, in [0, 1)
WEIGHT_AVERAGE = 0.999    # EMA decay of the weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                  # random seed

# reports
SAMPLE_EVERY = 500        # steps between pictures of the same latents
EVAL_EVERY = 1000         # steps between Frechet distances
CHECKPOINT_EVERY = 2000   # steps between checkpoints


def encoder(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> codes [B, Z_DIM]."""
    with ops.network('encoder'):
        return ops.dense(ops.dense_stack(x, HIDDEN), Z_DIM, 'code')


def decoder(z):
    """z [B, Z_DIM] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('decoder'):
        return ops.dense_images(ops.dense_stack(z, reversed(HIDDEN)), IMAGE_SIZE, CHANNELS, tf.tanh)


def code_discriminator(*pairs):
    """Pairs of z [B, Z_DIM] and y [B, K + 1], its part of the prior, the last one for unknown -> logits [B of all pairs, 1]."""
    with ops.network('code_discriminator'):
        h = tf.concat([tf.concat(pair, 1) for pair in pairs], 0)
        return ops.dense(ops.dense_stack(h, HIDDEN), 1, 'logits')


def prior(e, part=None):
    """e [B, Z_DIM] from N(0, 1), part [B, K], one-hot -> samples [B, Z_DIM] of the prior.

    The mixture's Gaussians are on a circle, long towards its middle (figure 4 of the paper); the sections of the roll follow
    each other along it.
    """
    if PRIOR == 'gaussian':
        return e
    with tf.name_scope(PRIOR):
        number, count = tf.matmul(part, tf.range(part.shape[1], dtype=tf.float32)[:, None]), part.shape[1]
        if PRIOR == 'mixture':
            angle, along, across = 2 * math.pi * number / count, 2.5 + 0.6 * e[:, :1], 0.2 * e[:, 1:]
        else:
            t = tf.sqrt((number + (1 + tf.math.erf(e[:, :1] / math.sqrt(2))) / 2) / count)    # U[0, 1) along the roll
            angle, along, across = 4 * math.pi * t, 3 * t + 0.1 * e[:, 1:], tf.zeros_like(t)
        cos, sin = tf.cos(angle), tf.sin(angle)
        return tf.concat([along * cos - across * sin, along * sin + across * cos], 1)


def generator(e, part=None):
    """e [B, Z_DIM] from N(0, 1), part [B, K] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    return decoder(prior(e, part))


def main():
    if PRIOR != 'gaussian' and Z_DIM != 2:
        raise files.UserError(f'the prior {PRIOR!r} is in the plane: use --z-dim 2')
    if PRIOR == 'gaussian' and LABELS:
        raise files.UserError('labels say which part of the prior a code belongs to: use --prior mixture or --prior roll')
    parts = len(data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True)) if LABELS else PARTS
    images, labels = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS, unlabelled=True)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        e = ops.noise([BATCH_SIZE, Z_DIM], 'e')
        part = ops.category(BATCH_SIZE, parts, 'part')
        with tf.name_scope('prior'):
            z = prior(e, part)
        with tf.name_scope('told'):
            unknown, known = tf.one_hot([parts] * BATCH_SIZE, parts + 1), tf.pad(part, [[0, 0], [0, 1]])
        if LABELS:
            labelled, label = data.labelled(images, labels, LABELS, LABEL_SEED, BATCH_SIZE)
            y = tf.one_hot(label, parts + 1, name='y')

    codes = encoder(x)
    with tf.name_scope('losses'):
        loss = tf.reduce_mean(tf.square(x - decoder(codes)), name='loss')
    real, fake = [(z, unknown)], [(codes, unknown)]     # what is real here is the prior
    if LABELS:
        with tf.name_scope('labelled'):
            count = labelled.shape[0]                   # alike on both sides
            real, fake = [*real, (z[:count], known[:count])], [*fake, (encoder(labelled), y)]
    with tf.name_scope('real'):
        real_logits = code_discriminator(*real)
    with tf.name_scope('fake'):
        fake_logits = code_discriminator(*fake)
    with tf.name_scope('losses/'):
        # -log D(z) - log(1 - D(E(x))) and -log D(E(x))
        d_loss = tf.add(tf.reduce_mean(tf.nn.softplus(-real_logits)), tf.reduce_mean(tf.nn.softplus(fake_logits)), name='d_loss')
        e_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits), name='e_loss')
        scalars = {'loss': loss, 'd_loss': d_loss, 'e_loss': e_loss,
                   'D(z)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_z'),
                   'D(E(x))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_E_x')}

    with tf.variable_scope('optimizers'):
        decay = ops.linear_decay() if DECAY else 1.0
        ae_step = ops.minimize(tf.train.AdamOptimizer(LEARNING_RATE * decay), loss, ('encoder/', 'decoder/'), 'ae_step')
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * decay, BETA1), d_loss, 'code_discriminator/', 'd_step')
        e_step = ops.minimize(tf.train.AdamOptimizer(E_LEARNING_RATE * decay, BETA1), e_loss, 'encoder/', 'e_step')

    parted = {} if PRIOR == 'gaussian' else {'label' if LABELS else 'part': run.label(parts)}
    networks = {'generator': run.network(generator, 'images', z=run.normal(Z_DIM), **parted),
                'encoder': run.network(encoder, 'codes', images=run.images(IMAGE_SIZE, CHANNELS)),
                'decoder': run.network(decoder, 'images', z=run.normal(Z_DIM))}
    folder, _ = run.train(globals(), updates=[ae_step, d_step, e_step], scalars=scalars, networks=networks,
                          scores={'real': real_logits, 'fake': fake_logits})
    if Z_DIM == 2:
        plane = viz.mesh(3, 20).reshape(20, 20, 2)[::-1].reshape(-1, 2)     # the decoder all over it, the highest row first
        viz.save(folder / 'manifold.png', viz.grid(savedmodel.Loaded(folder, 'decoder').draw({'z': plane}), 20, gap=0, zoom=1))


if __name__ == '__main__':
    run.main(globals())
