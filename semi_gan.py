"""Semi-supervised GAN: Salimans, Goodfellow, Zaremba, Cheung, Radford & Chen 2016, "Improved Techniques for Training GANs",
arXiv:1606.03498, section 5.

D is a classifier of K classes and of one more, the generated pictures. A few labelled pictures teach it the classes; the others,
that each is of one of them; and G's, which lie between the classes, where those end. G matches the mean of D's features
(section 3.1).

    python semi_gan.py --dataset mnist --labels 100

Page: docs/semi.md
"""
import math

import augment
import data
import ops
import run
from plumbing import measures

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'         # mnist, fashion_mnist or a folder of pictures, whose subfolder `unlabelled` is no class
IMAGE_SIZE = 28           # pixels on a side, from 1 to 4096
CHANNELS = 1              # 1 is grey, 3 is colour
LABELS = 100              # labelled training pictures, from 1 to 1000000, as many of each class
LABEL_SEED = 0            # which of them, from 0 to 1000000

# networks
Z_DIM = 100               # length of the latent vector z
NETWORKS = 'dense'        # 'dense' or 'conv': the paper's layers, of G_HIDDEN and D_HIDDEN units, or DCGAN's convolutions
G_HIDDEN = (500, 500)     # units of G's hidden layers
D_HIDDEN = (1000, 500, 250, 250, 250)   # of D's; its features are the last ones, with convolutions too
WIDTH = 32                # channels of the convolution nearest to the pixels; the next has twice as many
NOISE = 0.6               # standard deviation of the noise on D's pictures, in [0, 10]
HIDDEN_NOISE = 0.5        # and on its hidden layers, in [0, 10]
GAIN = 1.25               # lengths of the weights of D's units, in (0, 10], with which their variance is about 1 at first

# loss
UNLABELLED = 0.5          # weight of what D learns without labels, in [0, inf); at 0 they are in batch norm alone, if at all
TURN = 0.0                # radians that labelled pictures are turned by, and others for INVARIANCE, in [0, 1]; the paper: 0
INVARIANCE = 0.0          # weight, within UNLABELLED, of classes that stay when pictures are turned, in [0, inf); the paper: 0

# training
STEPS = 40000             # one step is an update of D and one of G
BATCH_SIZE = 100          # unlabelled and generated pictures in an update, and labelled ones, where there are as many
LEARNING_RATE = 3e-3      # of both, for Adam
DECAY = True              # decay the learning rate linearly to 0
BETA1 = 0.5               # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.999    # EMA decay of the weights, used for sampling and measuring, in [0, 1); 0 uses the raw weights
PRECISION = 'float32'     # that of the page's figures; 'auto' is faster on some CPUs, with convolutions above all
SEED = 0                  # random seed

# reports
SAMPLE_EVERY = 2000       # steps between pictures of the same latents
EVAL_EVERY = 2000         # steps between errors on the test set
CHECKPOINT_EVERY = 2000   # steps between checkpoints


def generator(z, training):
    """z [B, Z_DIM] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator'):
        if NETWORKS == 'conv':
            return ops.deconv_stack(z, IMAGE_SIZE, CHANNELS, WIDTH, training)
        h = ops.norm_stack(z, G_HIDDEN, training, tf.nn.softplus)
        shape = [IMAGE_SIZE, IMAGE_SIZE, CHANNELS]
        pixels = ops.unit_dense(h, math.prod(shape), 'pixels', activation=tf.nn.sigmoid)
        return tf.reshape(2 * pixels - 1, [-1, *shape])


def discriminator(*x, classes, training):
    """Images as of the generator -> logits [B of all, classes], beside which that of a fake is 0, and features [B of all, n]."""
    with ops.network('discriminator', ops.normal(0.1)):
        h = ops.noisy(tf.concat(x, 0), NOISE, training)
        if NETWORKS == 'conv':
            h = ops.conv_stack(h, WIDTH, training)
        for number, units in enumerate(D_HIDDEN[-1:] if NETWORKS == 'conv' else D_HIDDEN, 1):
            features = ops.unit_dense(h, units, f'dense{number}', GAIN, tf.nn.relu)
            h = ops.noisy(features, HIDDEN_NOISE, training)
        return ops.unit_dense(h, classes, 'logits'), features


def source(logits):
    """Logits [B, K] of the classes, beside which that of a fake is 0 -> those of D(x) = p(y <= K | x), [B]."""
    return tf.reduce_logsumexp(logits, 1)                                                    # log p(y <= K) - log p(K + 1)


def main():
    classes = len(data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True))
    images, labels = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS, unlabelled=True)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        seen = [x, augment.turned_by_chance(x, TURN)] if INVARIANCE else [x]
        z = ops.uniform([BATCH_SIZE, Z_DIM], 'z')
        labelled, label = data.labelled(images, labels, LABELS, LABEL_SEED, BATCH_SIZE)
        if TURN:
            labelled = augment.turned_by_chance(labelled, TURN, 'turn_labelled')

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        logits, features = discriminator(*seen, labelled, classes=classes, training=True)
    with tf.name_scope('fake'):
        fake_logits, fake_features = discriminator(fake, classes=classes, training=True)

    with tf.name_scope('losses'):
        x_logits, *turned_logits, labelled_logits = tf.split(logits, [*[BATCH_SIZE] * len(seen), -1])
        real, made = source(x_logits), source(fake_logits)
        class_loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(          # -log p(y | x, y <= K)
            labels=label, logits=labelled_logits), name='class_loss')
        d_loss = tf.reduce_mean(tf.nn.softplus(-real) + tf.nn.softplus(made), name='d_loss') # -log D(x) - log(1 - D(G(z)))
        apart = tf.reduce_mean(features[:BATCH_SIZE], 0) - tf.reduce_mean(fake_features, 0)
        g_loss = tf.reduce_mean(tf.square(apart), name='g_loss')                             # |E f(x) - E f(G(z))|^2 / n
        scalars = {'class_loss': class_loss, 'd_loss': d_loss, 'g_loss': g_loss,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(made), name='D_G_z')}
        unlabelled_loss = d_loss
        if INVARIANCE:
            scalars['I_turned'] = augment.mutual_information(x_logits, *turned_logits)
            unlabelled_loss -= INVARIANCE * scalars['I_turned']
        total = class_loss + UNLABELLED * unlabelled_loss

    with tf.variable_scope('optimizers'):
        rate = LEARNING_RATE * (ops.linear_decay() if DECAY else 1.0)
        d_step = ops.minimize(tf.train.AdamOptimizer(rate, BETA1), total, 'discriminator/', 'd_step')
        with tf.control_dependencies([d_step]):  # in the same session call, which so applies D once for both
            g_step = ops.minimize(tf.train.AdamOptimizer(rate, BETA1), g_loss, 'generator/', 'g_step')

    def classifier(x):
        return tf.nn.softmax(discriminator(x, classes=classes, training=False)[0])

    run.train(globals(), updates=[g_step], scalars=scalars, scores={'real': real, 'fake': made},
              measures=run.on_test_set(globals(), 'test_error', classifier, measures.class_error),
              networks={'generator': run.network(generator, 'images', z=run.uniform(Z_DIM, 0.0, 1.0)),
                        'classifier': run.network(classifier, 'probabilities', images=run.images(IMAGE_SIZE, CHANNELS))})


if __name__ == '__main__':
    run.main(globals())
