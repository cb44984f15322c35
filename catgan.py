"""CatGAN: Springenberg 2015, "Unsupervised and Semi-supervised Learning with Categorical Generative Adversarial Networks",
arXiv:1511.06390.

D does not say whether a picture is real: it sorts it into one of K categories. It shall be sure of real pictures, use all
categories alike, and be unsure of generated ones; G wants pictures that D is sure of, of all categories. What D can be sure of
must be what real pictures have in common, so without labels the categories are clusters. A few labels make them the classes.

    python catgan.py --dataset mnist
    python catgan.py --dataset mnist --labels 0

Page: docs/catgan.md
"""
import augment
import data
import ops
import run
from plumbing import measures

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour
LABELS = 100             # labelled training pictures, from 0 to 1000000, as many of each class; 0 finds clusters
LABEL_SEED = 0           # which of them, from 0 to 1000000

# networks
CATEGORIES = 20          # clusters, from 2 to 1000; with labels there is one for each class
Z_DIM = 100              # length of the latent vector z
NETWORKS = 'conv'        # 'conv' or 'dense': DCGAN's convolutions, or the fully connected layers, D_HIDDEN and G_HIDDEN
WIDTH = 32               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer beside the convolutions
D_HIDDEN = (1000, 500, 250, 250, 250)  # units of the hidden layers of a dense D
G_HIDDEN = (500, 500, 1000)            # and of G
NOISE = 0.3              # standard deviation of the noise on D's pictures and behind its fully connected layers, in [0, inf)

# loss
UNLABELLED = 1.0         # weight of what D learns without labels, if there are any, in [0, inf); at 0 it is in batch norm alone
INVARIANCE = 1.0         # weight, within UNLABELLED, of categories that stay when pictures are turned, in [0, inf); the paper: 0
TURN = 0.25              # radians that labelled pictures are turned by, and others for INVARIANCE, in [0, 1]; the paper: 0

# training
STEPS = 3000             # one step is one update of D, then one of G
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
DECAY = True             # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of the weights, used for sampling and measuring, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02) if NETWORKS == 'conv' else None):
        if NETWORKS == 'conv':
            return ops.deconv_stack(ops.norm_stack(z, [HIDDEN], training), IMAGE_SIZE, CHANNELS, WIDTH, training)
        return ops.dense_images(ops.norm_stack(z, G_HIDDEN, training), IMAGE_SIZE, CHANNELS, tf.tanh)


def discriminator(*pictures, categories, training):
    """B pictures [., IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, categories]; softmax(logits) = p(y|x, D)."""
    with ops.network('discriminator'):
        h = ops.noisy(tf.concat(pictures, 0), NOISE, training)
        if NETWORKS == 'conv':
            h = ops.conv_stack(h, WIDTH, training)
        for number, units in enumerate((HIDDEN,) if NETWORKS == 'conv' else D_HIDDEN, 1):
            h = ops.dense(h, units, f'dense{number}', bias=False)
            h = ops.batch_norm(h, training, f'norm{number}', activation=tf.nn.leaky_relu)
            h = ops.noisy(h, NOISE, training, f'noise{number}')
        return ops.dense(h, categories, 'category')


def conditional_entropy(logits):
    """E_x H[p(y|x)] in nats of logits [B, K]: 0 where D is sure of each picture, ln K where it knows nothing."""
    return -tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits), 1))


def marginal_entropy(logits):
    """H[E_x p(y|x)] in nats of logits [B, K]: ln K where all categories are equally frequent."""
    log_p = tf.reduce_logsumexp(tf.nn.log_softmax(logits), 0) - tf.math.log(tf.cast(tf.shape(logits)[0], tf.float32))
    return -tf.reduce_sum(tf.exp(log_p) * log_p)


def main():
    classes = data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=LABELS > 0)
    categories = len(classes) if LABELS else CATEGORIES
    images, labels = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS, unlabelled=True)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])
        seen = [x]
        if INVARIANCE:
            seen.append(augment.turned_by_chance(x, TURN))
        if LABELS:
            labelled, label = data.labelled(images, labels, LABELS, LABEL_SEED, BATCH_SIZE)
            seen.append(augment.turned_by_chance(labelled, TURN, 'turn_labelled') if TURN else labelled)

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        logits = discriminator(*seen, categories=categories, training=True)
    with tf.name_scope('fake'):
        generated = discriminator(fake, categories=categories, training=True)

    with tf.name_scope('losses'):
        real, *others = tf.split(logits, [some.shape[0] for some in seen])
        h_real, h_fake = conditional_entropy(real), conditional_entropy(generated)
        d_loss = tf.add(h_real - marginal_entropy(real), -h_fake, name='d_loss')           # eq. 7, its sign turned
        g_loss = tf.subtract(h_fake, marginal_entropy(generated), name='g_loss')           # eq. 7
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'H(x)': tf.identity(h_real, 'H_x'),
                   'H(G(z))': tf.identity(h_fake, 'H_G_z')}
        d_total = d_loss
        if INVARIANCE:
            scalars['I_turned'] = augment.mutual_information(real, others[0])
            d_total -= INVARIANCE * scalars['I_turned']
        if LABELS:
            scalars['class_loss'] = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=label, logits=others[-1]), name='class_loss')                       # CE[y, p(y|x, D)], eq. 9
            d_total = scalars['class_loss'] + UNLABELLED * d_total

    with tf.variable_scope('optimizers'):
        rate = ops.linear_decay() if DECAY else 1.0
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_total, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')

    def classifier(x):
        return tf.nn.softmax(discriminator(x, categories=categories, training=False))

    error = measures.class_error if LABELS else measures.cluster_error
    run.train(globals(), updates=[d_step, g_step], scalars=scalars, scores={'real': real, 'fake': generated},
              measures=run.on_test_set(globals(), 'test_error' if LABELS else 'cluster_error', classifier, error),
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM)),
                        'classifier': run.network(classifier, 'probabilities', images=run.images(IMAGE_SIZE, CHANNELS))})


if __name__ == '__main__':
    run.main(globals())
