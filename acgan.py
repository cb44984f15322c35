"""AC-GAN: Odena, Olah & Shlens 2016, "Conditional Image Synthesis with Auxiliary Classifier GANs", arXiv:1610.09585.

The generator is told the class c; the discriminator is not: it has to name it. It answers twice, whether x is real and which
class it shows, and both players want the second answer to be right: so a sample pays for looking like another class.

    python acgan.py --dataset mnist

Page: docs/conditional.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist or a folder of pictures, whose subfolders are the classes
IMAGE_SIZE = 28          # pixels on a side, from 16 to 4096: 4 to 7, times 2 at least twice: 28, 32, 64, 128, ...
CHANNELS = 1             # 1 is grey, 3 is colour

# networks
Z_DIM = 100              # length of the latent vector z
WIDTH = 64               # channels of the layer nearest to the pixels; each layer further in has twice as many
HIDDEN = 256             # units of a fully connected layer

# loss
CLASS_WEIGHT = 0.2       # of the loss of the classes, in [0, inf); the paper's 1 leaves less variety

# training
STEPS = 4000             # one step is one update of D, then one of G
BATCH_SIZE = 64          # pictures in an update
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed


def generator(z, y, training):
    """z [B, Z_DIM] from N(0, 1), classes y [B, K] -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(tf.concat([z, y], 1), [HIDDEN], training)
        return ops.deconv_stack(tf.concat([h, y], 1), IMAGE_SIZE, CHANNELS, WIDTH, training)


def discriminator(x, classes, training):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> logits [B, 1], sigmoid(logits) = P(S = real|x), and class logits
    [B, K], softmax(class logits) = P(C = c|x)."""
    with ops.network('discriminator', initializer=ops.normal(0.02)):
        h = ops.norm_stack(ops.conv_stack(x, WIDTH, training), [HIDDEN], training, tf.nn.leaky_relu)
        return ops.dense(h, 1, 'source'), ops.dense(h, classes, 'class')


def losses(real, fake, y):
    """What D says of real and of generated images of the classes y [B, K] -> d_loss, g_loss, class_loss, and G's part of that.

    Section 4: D maximizes L_S + L_C and G maximizes L_C - L_S. L_S is the log-likelihood of the source, L_C that of the class.
    G's part of L_S is the non-saturating one of arXiv:1406.2661.
    """
    (real_logits, real_classes), (fake_logits, fake_classes) = real, fake
    real_c, fake_c = (tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))
                      for logits in (real_classes, fake_classes))                          # -log P(C = c|x)
    d_loss = tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits)                    # -L_S
    g_loss = tf.nn.softplus(-fake_logits)                                                  # -log P(S = real|G(z))
    return (tf.reduce_mean(d_loss, name='d_loss'), tf.reduce_mean(g_loss, name='g_loss'),
            tf.add(real_c, fake_c, name='class_loss'), fake_c)                             # -L_C


def main():
    classes = len(data.class_names(DATASET, IMAGE_SIZE, CHANNELS, needed=True))
    with tf.variable_scope('data'):
        x, label = data.batches(data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS), BATCH_SIZE)
        y = tf.one_hot(label, classes, name='y')
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake_x = generator(z, y, training=True)
    with tf.name_scope('real'):
        real = discriminator(x, classes, training=True)
    with tf.name_scope('fake'):
        fake = discriminator(fake_x, classes, training=True)

    with tf.name_scope('losses'):
        d_loss, g_loss, class_loss, fake_class_loss = losses(real, fake, y)
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'class_loss': class_loss,
                   'D(x)': tf.reduce_mean(tf.sigmoid(real[0]), name='D_x'),
                   'D(G(z))': tf.reduce_mean(tf.sigmoid(fake[0]), name='D_G_z')}

    with tf.variable_scope('optimizers'):
        d_total, g_total = d_loss + CLASS_WEIGHT * class_loss, g_loss + CLASS_WEIGHT * fake_class_loss
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE, BETA1), d_total, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE, BETA1), g_total, 'generator/', 'g_step')

    run.train(globals(), updates=[d_step, g_step], scalars=scalars, scores={'real': real[0], 'fake': fake[0]},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM), label=run.label(classes))})


if __name__ == '__main__':
    run.main(globals())
