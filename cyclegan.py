"""CycleGAN: Zhu, Park, Isola & Efros 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
arXiv:1703.10593.

Two sets of pictures, and nobody knows which belongs to which. G turns pictures x of the one kind into pictures y of the other, F
turns them back, and a discriminator for each kind judges what they make. What leads there and back again must end where it began:
so G cannot make just any picture of the other kind.

    python cyclegan.py --dataset mnist --task negative

Page: docs/translation.md
"""
import ops
import run
import translation
from plumbing import files

import tensorflow.compat.v1 as tf

# data
DATASET = 'mnist'          # pictures y: mnist, fashion_mnist, stacked_mnist, a folder, or half of its pictures, FOLDER:right
SOURCE = ''                # pictures x: another set or folder; '' has TASK make them of half of DATASET
TASK = 'negative'          # 'negative', 'edges' or 'slant': what x are, if there is no SOURCE
IMAGE_SIZE = 28            # pixels on a side, a multiple of 4, from 8 to 4096
CHANNELS = 1               # 1 is grey, 3 is colour

# networks
WIDTH = 16                 # channels of the layers nearest to the pixels; 4 times as many in the residual blocks; the paper's: 64
BLOCKS = 3                 # residual blocks of G and F, from 1 to 20; the paper's: 6 for 128 pixels, 9 for 256
PATCH_LAYERS = 1           # of D, that halve the side, from 1 to 5: 1 sees patches of 16x16 pixels, 2: 34; 3: 70, the paper's
POOL = 50                  # earlier pictures of G, and of F, that are kept for D, from 0 to 1000; 0 shows D the last ones alone

# loss
CYCLE_WEIGHT = 10.0        # of the way there and back again, in (0, inf); the paper's lambda
IDENTITY_WEIGHT = 0.0      # of leaving pictures alone that are of the right kind already, in [0, inf); section 5.2: lambda / 2

# training
STEPS = 3000               # one step is one update of both discriminators, then one of G and F
BATCH_SIZE = 8             # pictures of each kind in an update; the paper's is 1
D_LEARNING_RATE = 2e-4     # for Adam
G_LEARNING_RATE = 1e-3     # of G and F; the paper's is 2e-4 for all
DECAY = True               # let the learning rates fall to 0 in a straight line over the second half, as in the paper
BETA1 = 0.5                # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.998     # EMA decay of the weights of G and F, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                   # random seed

# reports
COLUMNS = 16               # test pictures that are drawn, from 1 to 1000


def translator(name):
    """The network `name`: x [B, s, s, CHANNELS] in [-1, 1] -> pictures of the other kind, like x."""
    def network(x):
        with ops.network(name, initializer=ops.normal(0.02)):
            return translation.resnet(x, CHANNELS, WIDTH, BLOCKS)
    return network


def discriminator(x, name):
    """x [B, s, s, CHANNELS] -> scores [B, h, w, 1] of patches, by the network `name`: 1 is to mean real, 0 made."""
    with ops.network(name, initializer=ops.normal(0.02)):
        return translation.patchgan(x, WIDTH, PATCH_LAYERS, ops.instance_norm)


def main():
    if 8 <= IMAGE_SIZE <= 2 ** PATCH_LAYERS:
        raise files.UserError(f'PATCH_LAYERS must be at most {(IMAGE_SIZE - 1).bit_length() - 1} for pictures of {IMAGE_SIZE} '
                              'pixels: instance norm leaves nothing of the single pixels that are left')
    with tf.variable_scope('data'):
        found = translation.unpaired(SOURCE, DATASET, TASK, IMAGE_SIZE, CHANNELS, BATCH_SIZE)
    x, y = found.x, found.y
    g, f = translator('generator'), translator('inverse')

    with tf.name_scope('there'):
        fake_y, fake_x = g(x), f(y)
    with tf.name_scope('back'):
        cycled_x, cycled_y = f(fake_y), g(fake_x)
    with tf.name_scope('same'):
        same_x, same_y = f(x), g(y)
    scores = {'real': [], 'fake': [], 'shown': []}
    for name, real, fake in ('discriminator', y, fake_y), ('source_discriminator', x, fake_x):
        for box, judged in ('real', real), ('fake', fake), ('shown', translation.pooled(fake, name, POOL)):
            with tf.name_scope(f'{box}/'):                                               # the slash: one box, whichever D it is
                scores[box].append(discriminator(judged, name))

    def apart(one, other):
        return tf.reduce_mean(tf.abs(one - other))
    with tf.name_scope('losses'):
        right = tf.add_n([tf.reduce_mean((score - 1) ** 2) for score in scores['real']])     # (D(y) - 1)^2, for both kinds
        d_loss = tf.add(right / 2, tf.add_n([tf.reduce_mean(score ** 2) for score in scores['shown']]) / 2, 'd_loss')
        fooling = tf.add_n([tf.reduce_mean((score - 1) ** 2) for score in scores['fake']], 'fooling')     # (D(G(x)) - 1)^2
        cycle = tf.add(apart(cycled_x, x), apart(cycled_y, y), 'cycle')                      # |F(G(x)) - x| + |G(F(y)) - y|
        identity = tf.add(apart(same_x, x), apart(same_y, y), 'identity')                    # |F(x) - x| + |G(y) - y|
        g_loss = tf.add(fooling + CYCLE_WEIGHT * cycle, IDENTITY_WEIGHT * identity if IDENTITY_WEIGHT else 0.0, 'g_loss')

    with tf.variable_scope('optimizers'):
        rate = tf.minimum(1.0, 2 * ops.linear_decay()) if DECAY else 1.0
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss,
                              ('discriminator/', 'source_discriminator/'), 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, ('generator/', 'inverse/'), 'g_step')

    def pictures():
        some_x, some_y = found.test_x[:COLUMNS], found.test_y[:COLUMNS]
        made_y, made_x = g(some_x), f(some_y)
        rows = {'x': some_x, 'G(x)': made_y, 'F(G(x))': f(made_y), 'true y': some_y,
                'y': some_y, 'F(y)': made_x, 'G(F(y))': g(made_x), 'true x': some_x}
        return rows if found.paired else {name: row for name, row in rows.items() if 'true' not in name}

    run.train(globals(), updates=[d_step, g_step], pictures=pictures,
              scalars={'d_loss': d_loss, 'g_loss': g_loss, 'fooling': fooling, 'cycle': cycle},
              scores={'real': scores['real'][0], 'fake': scores['fake'][0]},
              given=(found.test_x, found.labels), measures=lambda: translation.both_ways(g, f, found, DATASET, TASK),
              networks={name: run.network(translator(name), 'images', images=run.images(IMAGE_SIZE, CHANNELS))
                        for name in ('generator', 'inverse')})


if __name__ == '__main__':
    run.main(globals())
