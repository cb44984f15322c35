"""WGAN: Arjovsky, Chintala & Bottou 2017, "Wasserstein GAN", arXiv:1701.07875.

The discriminator becomes a critic: no sigmoid and no logarithm, its scores are any real numbers. Its weights are clipped
after every update, so that it stays Lipschitz continuous, and the gap between its scores of real and of generated images
estimates, up to a factor, the Wasserstein distance between the two distributions. The networks are those of the original
GAN (gan_fc.py).

    python wgan.py --dataset mnist

Page: docs/wasserstein.md
"""
import data
import ops
import run

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'        # mnist, fashion_mnist, stacked_mnist (with CHANNELS 3) or a folder of pictures
IMAGE_SIZE = 28          # pixels on a side, from 1 to 4096
CHANNELS = 1             # 1 is grey, 3 is colour

# networks
Z_DIM = 64               # length of the latent vector z
G_HIDDEN = (256, 512)    # units of the generator's hidden layers
C_HIDDEN = (512, 256)    # units of the critic's hidden layers

# clipping
CLIP = 0.1               # in (0, inf): every weight of the critic stays in [-CLIP, CLIP]; the paper's 0.01 learns slowly

# training
STEPS = 24000            # one step is N_CRITIC updates of the critic, then one of the generator
N_CRITIC = 5             # from 1 to 1000: the critic should be near its best before its gradient is used
BATCH_SIZE = 64          # the paper's
OPTIMIZER = 'rmsprop'    # 'rmsprop' or 'sgd': no momentum, because the critic's loss moves under it
C_LEARNING_RATE = 1e-3   # the critic's; the paper has 5e-5, and more updates
G_LEARNING_RATE = 1e-3   # the generator's
DECAY = True             # decay the learning rates linearly to 0
WEIGHT_AVERAGE = 0.998   # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed
PRECISION = 'float32'    # wd is a small difference of large scores, which 16 bits would swallow

# reports
SAMPLE_EVERY = 500       # steps between pictures
EVAL_EVERY = 1000        # steps between Frechet distances
CHECKPOINT_EVERY = 2000  # steps between checkpoints


def generator(z, training):
    """z [B, Z_DIM] from N(0, 1) -> images [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1]."""
    with ops.network('generator'):
        h = z
        for number, units in enumerate(G_HIDDEN, 1):
            h = ops.dense(h, units, f'dense{number}')
            h = ops.batch_norm(h, training, f'norm{number}', activation=tf.nn.leaky_relu)
        return ops.dense_images(h, IMAGE_SIZE, CHANNELS, tf.tanh)


def critic(x):
    """x [B, IMAGE_SIZE, IMAGE_SIZE, CHANNELS] in [-1, 1] -> scores [B, 1], any real numbers."""
    def clip(variable):
        return tf.clip_by_value(variable, -CLIP, CLIP)

    with ops.network('critic', constraint=clip):  # applied after each update
        return ops.dense(ops.dense_stack(x, C_HIDDEN, tf.nn.leaky_relu), 1, 'score')


def optimizer(learning_rate):
    kind = tf.train.RMSPropOptimizer if OPTIMIZER == 'rmsprop' else tf.train.GradientDescentOptimizer
    return kind(learning_rate)


def losses(real_scores, fake_scores):
    """Scores [B, 1] of real and generated images -> (c_loss, g_loss, wd); wd is near K W(p_data, p_g) (equation 2)."""
    wd = tf.subtract(tf.reduce_mean(real_scores), tf.reduce_mean(fake_scores), name='wd')
    return tf.negative(wd, name='c_loss'), tf.negative(tf.reduce_mean(fake_scores), name='g_loss'), wd


def main():
    images, _ = data.load(DATASET, size=IMAGE_SIZE, channels=CHANNELS)
    with tf.variable_scope('data'):
        x = data.batches(images, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = generator(z, training=True)
    with tf.name_scope('real'):
        real_scores = critic(x)
    with tf.name_scope('fake'):
        fake_scores = critic(fake)

    with tf.name_scope('losses'):
        c_loss, g_loss, wd = losses(real_scores, fake_scores)

    with tf.variable_scope('optimizers'):
        rate = ops.linear_decay() if DECAY else 1.0
        c_step = ops.minimize(optimizer(C_LEARNING_RATE * rate), c_loss, 'critic/', 'c_step')
        g_step = ops.minimize(optimizer(G_LEARNING_RATE * rate), g_loss, 'generator/', 'g_step')

    run.train(globals(), updates=[c_step] * N_CRITIC + [g_step], scalars={'wd': wd, 'g_loss': g_loss},
              scores={'real': real_scores, 'fake': fake_scores},
              networks={'generator': run.network(generator, 'images', z=run.normal(Z_DIM))})


if __name__ == '__main__':
    run.main(globals())
