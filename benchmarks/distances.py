"""Why a Wasserstein critic: what D, a clipped critic and a penalized critic say of N(0, 1) and N(mean, 1), in one picture.

    python -m benchmarks.distances docs/distances.png

The Jensen-Shannon divergence that D estimates stops growing at ln 2, and with it the gradient; |mean| does not.
"""
import gan_fc
import ops
import viz
import wgan
import wgan_gp
from plumbing import files, flags

import matplotlib.figure
import numpy as np
import tensorflow.compat.v1 as tf

MEANS = np.arange(0, 8.5)
BATCH = 500
UPDATES = 500
CLIP = 0.1


def network(x, name, clip=None):
    """x [B, ...] -> [B, 1]: two hidden layers of 64."""
    with ops.network(name, constraint=clip and (lambda variable: tf.clip_by_value(variable, -clip, clip))):
        h = tf.reshape(x, [-1, 1])
        for layer in 1, 2:
            h = tf.nn.leaky_relu(ops.dense(h, 64, f'dense{layer}'))
        return ops.dense(h, 1, 'out')


def estimates(mean, seed=0):
    """(JSD from D's loss, wd of the clipped critic, wd of the penalized critic) after training on the two Gaussians."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        x, fake = (ops.noise([BATCH, 1, 1, 1], name) + shift for name, shift in [('x', 0.0), ('fake', mean)])
        d_loss, _ = gan_fc.losses(network(x, 'd'), network(fake, 'd'))
        clipped_loss, _, clipped = wgan.losses(network(x, 'clipped', CLIP), network(fake, 'clipped', CLIP))

        def critic(v):
            return network(v, 'penalized')

        loss, _, penalized = wgan_gp.losses(critic(x), critic(fake))
        loss += wgan_gp.PENALTY * wgan_gp.gradient_penalty(critic, x, fake, ops.uniform([BATCH, 1, 1, 1], 'alpha'))
        steps = [ops.minimize(tf.train.AdamOptimizer(3e-3), d_loss, 'd/'),
                 ops.minimize(tf.train.RMSPropOptimizer(1e-3), clipped_loss, 'clipped/'),
                 ops.minimize(tf.train.AdamOptimizer(3e-3, 0.0, 0.9), loss, 'penalized/')]
        session.run(tf.global_variables_initializer())
        call = session.make_callable(steps)
        for _ in range(UPDATES):
            call()
        jsd = np.log(2) - d_loss / 2  # -d_loss = -2 ln 2 + 2 JSD
        return np.mean([session.run([jsd, clipped, penalized]) for _ in range(50)], axis=0)


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('png', type=flags.path, help='file of the picture')
    path = parser.parse_args().png
    viz.checked(path, viz.FIGURES)
    # A penalized critic of one variable can keep a slope of the wrong sign, so each distance is the best of three starts.
    found = np.array([np.max([estimates(mean, seed) for seed in range(3)], axis=0) for mean in MEANS]).T
    figure = matplotlib.figure.Figure(figsize=(10, 3.2), layout='constrained')
    points = np.linspace(-12, 20, 6401)
    density = [np.exp(-(points - mean) ** 2 / 2) / np.sqrt(2 * np.pi) for mean in MEANS]
    mixed = [(density[0] + p) / 2 for p in density]
    exact = [sum(np.sum(a * np.log(np.maximum(a, 1e-300) / m)) for a in (density[0], p)) / 2 * (points[1] - points[0])
             for p, m in zip(density, mixed, strict=True)]
    panels = [('GAN: JSD from d_loss', exact, 'JSD'), (f'WGAN: wd, clip {CLIP}', None, None), ('WGAN-GP: wd', MEANS, '|mean|')]
    for number, (title, curve, label) in enumerate(panels):
        axes = figure.add_subplot(1, 3, number + 1, title=title, xlabel='distance of the means')
        axes.plot(MEANS, found[number], 'o', label='trained')
        if curve is not None:
            axes.plot(MEANS, curve, label=label)
        if number == 2:  # the slope a that is best for a |mean| - lambda (a - 1)^2
            axes.plot(MEANS, MEANS * (1 + MEANS / (2 * wgan_gp.PENALTY)), '--', label='|mean| (1 + |mean| / 2 lambda)')
        axes.legend()
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)
    for mean, *row in zip(MEANS, *found, strict=True):
        print(f'mean {mean:3.0f}: JSD {row[0]:6.3f}, clipped wd {row[1]:8.4f}, penalized wd {row[2]:6.3f}')


if __name__ == '__main__':
    with files.one_line_errors():
        main()
