"""Draws from a finished or stopped run: a grid of samples, an array of any number of them, walks between latents.

    python sample.py runs/dcgan-mnist
    python sample.py runs/dcgan-mnist --count 10000 --npz digits.npz
    python sample.py runs/dcgan-mnist --interpolate walk.png

A generator that takes a label gets the classes in turn; the walks stay in one class each.
"""
import viz
from plumbing import files, flags, measures, networks, savedmodel

import numpy as np

LARGEST = 2**32  # bytes of the samples, or of the latents that they are drawn from
GRID = 2**28     # of those in a picture, which is copied on its way into a file


def slerp(starts, ends, t):
    """Points on the great circles from `starts` to `ends` [N, n], at the places t [T] from 0 to 1: [N, T, n].

    Spherical interpolation (White 2016, arXiv:1609.04468): the points between two draws of a high-dimensional N(0, 1) keep
    the length of a draw, which those of a straight line do not. Where the two are on one line through 0 there is no one
    great circle, and the way is the straight line.
    """
    a, b = starts[:, None], ends[:, None]                                            # [N, 1, n]
    t = np.asarray(t, np.float64)[:, None]                                           # [T, 1]
    lengths = np.linalg.norm(a, axis=2, keepdims=True) * np.linalg.norm(b, axis=2, keepdims=True)
    cosine = np.clip((a * b).sum(2, keepdims=True) / np.maximum(lengths, 1e-12), -1, 1)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    curved = (np.abs(cosine) < 1 - 1e-6) & (lengths > 0)
    sine = np.where(curved, sine, 1)
    first, last = (np.where(curved, np.sin(share * angle) / sine, share) for share in (1 - t, t))
    return (first * a + last * b).astype(np.float32)


def walk(folder, rows=8, columns=10, seed=0, best=False):
    """Walks between `rows` pairs of latents: uint8 [rows * columns, H, W, C], a row of `columns` images for each pair.

    Latents from N(0, 1) walk on great circles, those of other distributions on straight lines.
    """
    generate = savedmodel.generator(folder, best)
    t, points = np.linspace(0, 1, columns), {}
    for name, drawn in networks.draw(generate.inputs, 2 * rows, seed).items():
        starts, ends = drawn[:rows], drawn[rows:]
        kind = generate.inputs[name].kind
        if kind == 'normal':
            between = slerp(starts, ends, t)
        elif kind == 'label':
            between = np.repeat(starts[:, None], columns, axis=1)
        else:
            between = starts[:, None] + t[:, None].astype(np.float32) * (ends - starts)[:, None]
        points[name] = between.reshape(rows * columns, *drawn.shape[1:])
    return generate.draw(points)


def samples(generate, folder, count, seed, largest):
    """`count` samples of a generator, uint8 [count, H, W, C]. Raises UserError if they take more than `largest` bytes."""
    latents = networks.draw(generate.inputs, 1, seed)
    one = generate.draw(latents)
    size = max(one.nbytes, sum(array.nbytes for array in latents.values()))
    if count * size > largest:
        raise files.UserError(f'{count} samples of {folder}, {measures.by_size(one.shape[1:])}, take '
                              f'{count * size / 2**30:,.1f} GiB: give --count {largest // size} or less')
    return generate.draw(networks.draw(generate.inputs, count, seed))


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        generate = savedmodel.generator(given.run, given.best)
        if generate.output != 'images' and not given.npz:
            raise files.UserError(f'the generator of {given.run} makes {generate.output}, not images: --npz FILE writes them as '
                                  'an array')
        path = given.interpolate or given.npz or given.png or given.run / 'samples.png'
        if given.interpolate:
            viz.save(path, viz.grid(walk(given.run, seed=given.seed, best=given.best), columns=10))
        elif given.npz:
            drawn = samples(generate, given.run, given.count or 64, given.seed, LARGEST)
            with files.replacing(path) as temporary, open(temporary, 'wb') as file:
                np.savez_compressed(file, **{generate.output: drawn})
        else:
            viz.save(path, viz.grid(samples(generate, given.run, given.count or 64, given.seed, GRID)))
        print(f'wrote {path}')


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('--count', type=flags.whole('the count', 1), help='how many samples [64]')
    parser.add_argument('--seed', type=flags.whole('the seed'), default=0, help='of the latents [0]')
    parser.add_argument('--best', action='store_true', help='draw from the generator that measured best, not the last')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--png', type=flags.path, help='file of the grid [samples.png in the folder of the run]')
    one.add_argument('--npz', type=flags.path, help='file of the array images, uint8 [N, H, W, C], instead of a grid')
    one.add_argument('--interpolate', type=flags.path, metavar='PNG', help='file of a grid of walks between latents, instead of '
                                                                           'samples')
    given = parser.parse_args(arguments)
    if given.interpolate and given.count:
        parser.error('--interpolate draws 8 walks of 10 images, whatever --count is: leave one of them out')
    flags.run_folder(given.run)
    for path in given.png, given.interpolate:
        if path:
            viz.checked(path)
    if given.npz:
        viz.not_a_folder(given.npz)
    return given


if __name__ == '__main__':
    main()
