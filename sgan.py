"""SGAN: Odena 2016, "Semi-Supervised Learning with Generative Adversarial Networks", arXiv:1606.01583.

Fake is one more class: D, which the paper calls D/C, is a classifier of K + 1 classes, of which the last one is that of G's
pictures. A few labelled pictures say what the first K are. Of all the others D knows only that they are not of the last one,
and what it must learn to see that is what a classifier of real pictures needs, too.

    python sgan.py --dataset mnist

Page: docs/sgan.md
"""
import augment
import data
import ops
import run
from plumbing import measures

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist or a folder of pictures, whose subfolders are the classes
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour
LABELS = 100             # labelled training pictures, from 2 to 1000000, as many of each class
LABEL_SEED = 0           # which of them, from 0 to 1000000

# networks
Z_DIM = 100              # length of the latent vector z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer

# loss
UNLABELLED = 1.0         # weight of what D learns without labels, in [0, inf); at 0 they are in batch norm alone
INVARIANCE = 1.0         # weight, within UNLABELLED, of classes that stay when pictures are turned, in [0, inf); the paper: 0
TURN = 0.25              # radians that labelled pictures are turned by, and others for INVARIANCE, in [0, 1]; the paper: 0

# training
STEPS = 3000             # one step is one update of D, then one of G
BATCH_SIZE = 64          # pictures in an update, and as many labelled ones, at most
D_LEARNING_RATE = 4e-4   # for Adam
G_LEARNING_RATE = 2e-3   # as in dcgan.py
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of the weights, used for sampling and measuring, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(z, [HIDDEN], training)
        return ops.deconv_stack(h, IMAGE_SIZE, CHANNELS, WIDTH, training)


def discriminator(*pictures, classes, training):
    """B pictures [., IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, classes + 1], the last one of being fake."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(ops.conv_stack(tf.concat(pictures, 0), WIDTH, training), [HIDDEN], training, tf.nn.leaky_relu)
        return ops.dense(h, classes + 1, 'class_or_fake')


def source(logits):
    """Logits [B, K + 1] -> those of D(x) = P(real|x) = 1 - P(fake|x): [B, 1]."""
    return tf.reduce_logsumexp(logits[:, :-1], 1, keepdims=True) - logits[:, -1:]          # log P(real|x) - log P(fake|x)


def losses(real_logits, fake_logits, logits, label):
    """`source` [B, 1] of real and fake pictures, logits [B, K + 1] of labelled ones, label [B] -> d_loss, g_loss, class_loss.

    D minimizes d_loss + class_loss, the cross-entropy of K + 1 classes; where the class is not known, it is that of being any
    but the last. G's loss is the non-saturating one of arXiv:1406.2661.
    """
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)                    # -log P(real|x) - log P(fake|G(z))
    g_loss = tf.nn.softplus(-fake_logits)                                                  # -log P(real|G(z))
    class_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)  # -log P(y|x)
    return (tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss'),
            tf.reduce_mean(class_loss, name='class_loss'))


def main():
    classes = len(data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True))
    images, labels = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS, unlabelled=True)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        seen = [x, augment.turned_by_chance(x, TURN)] if INVARIANCE else [x]
        labelled, label = data.labelled(images, labels, LABELS, LABEL_SEED, BATCH_SIZE)
        if TURN:
            labelled = augment.turned_by_chance(labelled, TURN, 'turn_labelled')
        z = ops.noise([BATCH_SIZE, Z_DIM])

    generated = generator(z, training=True)
    with tf.name_scope('real'):
        logits = discriminator(*seen, labelled, classes=classes, training=True)
    with tf.name_scope('fake'):
        fake = discriminator(generated, classes=classes, training=True)

    with tf.name_scope('losses'):
        real, *turned, known = tf.split(logits, [some.shape[0] for some in [*seen, labelled]])
        real_logits, fake_logits = source(real), source(fake)
        d_loss, g_loss, class_loss = losses(real_logits, fake_logits, known, label)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'class_loss': class_loss,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real_logits), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake_logits), name='D_G_z')}
        unlabelled = d_loss
        if INVARIANCE:
            scalars['I_turned'] = augment.mutual_information(*(some[:, :-1] for some in (real, *turned)))
            unlabelled -= INVARIANCE * scalars['I_turned']
        d_total = class_loss + UNLABELLED * unlabelled

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_total, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_loss, 'generator/', 'g_step')

    def classifier(x):
        return tf.nn.softmax(discriminator(x, classes=classes, training=False)[:, :-1])            # P(y|x, real)

    run.train(globals(), updates=[d_step, g_step], scalars=scalars, scores={'real': real_logits, 'fake': fake_logits},
              measures=run.on_test_set(globals(), 'test_error', classifier, measures.class_error),
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM)),
                        'classifier': run.network(classifier, 'probabilities', images=run.images(IMAGE_SIZE, CHANNELS))})


if __name__ == '__main__':
    run.main(globals())
