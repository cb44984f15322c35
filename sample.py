"""Draws from a finished or stopped run: a grid of samples, an array of any number of them, a walk between latents.

    python sample.py runs/dcgan-mnist
    python sample.py runs/dcgan-mnist --count 10000 --npz digits.npz
    python sample.py runs/dcgan-mnist --interpolate walk.png
"""
import pathlib

import files
import flags
import runfolder
import viz

import numpy as np


def latents(count, z_dim, seed=0):
    """float32 [count, z_dim] from N(0, 1); the first rows are the same for every count."""
    return np.random.default_rng(seed).standard_normal([count, z_dim], np.float32)


def load(folder, best=False):
    """A run's folder -> (function from z float32 [N, z_dim] to images uint8 [N, H, W, C], z_dim).

    best: the generator that measured best while training, instead of the last. Raises files.UserError if there is none.
    """
    generate, (z_dim,) = runfolder.network(folder, 'generator-best' if best else 'generator')

    def pictures(points):  # in blocks, because floats take four times the memory
        blocks = range(0, len(points), 4 * runfolder.BATCH)
        return np.concatenate([viz.to_uint8(generate(points[start:start + 4 * runfolder.BATCH])) for start in blocks])

    return pictures, z_dim


def draw(folder, count, seed=0, best=False):
    """`count` samples of a run, uint8 [count, H, W, C]; a seed's first pictures are the same for every count."""
    generate, z_dim = load(folder, best)
    return generate(latents(count, z_dim, seed))


def walk(folder, rows=8, columns=10, seed=0, best=False):
    """Walks between `rows` pairs of latents: uint8 [rows * columns, H, W, C], a row of `columns` pictures for each pair.

    The way is the great circle (spherical interpolation, White 2016, arXiv:1609.04468): the points between two draws
    of a high-dimensional N(0, 1) keep the length of a draw, which those of a straight line do not.
    """
    generate, z_dim = load(folder, best)
    starts, ends = np.split(latents(2 * rows, z_dim, seed), 2)
    t = np.linspace(0, 1, columns, dtype=np.float32)[:, None]
    points = []
    for start, end in zip(starts, ends, strict=True):
        cosine = start @ end / np.linalg.norm(start) / np.linalg.norm(end)
        angle = max(np.arccos(np.clip(cosine, -1, 1)), 1e-6)
        points.append((np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle))
    return generate(np.concatenate(points))


def main(arguments=None):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('--count', type=int, default=64, help='how many pictures [64]')
    parser.add_argument('--seed', type=int, default=0, help='of the latents [0]')
    parser.add_argument('--best', action='store_true', help='draw from the generator that measured best, not the last')
    parser.add_argument('--png', help='file of the grid [samples.png in the folder of the run]')
    parser.add_argument('--npz', help='file of the array images, uint8 [N, H, W, C], instead of a grid')
    parser.add_argument('--interpolate', metavar='PNG', help='file of a grid of walks between latents, instead of samples')
    given = parser.parse_args(arguments)
    if given.count < 1 or given.seed < 0:
        parser.error('--count must be at least 1 and --seed at least 0')
    with files.one_line_errors():
        if given.interpolate:
            path = given.interpolate
            viz.save(path, viz.grid(walk(given.run, seed=given.seed, best=given.best), columns=10))
        elif given.npz:
            path = given.npz
            with files.replacing(path) as temporary, open(temporary, 'wb') as file:
                np.savez_compressed(file, images=draw(given.run, given.count, given.seed, given.best))
        else:
            path = given.png or pathlib.Path(given.run) / 'samples.png'
            viz.save(path, viz.grid(draw(given.run, given.count, given.seed, given.best)))
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
