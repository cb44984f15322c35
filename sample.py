"""Draws from a finished or stopped run: a grid of samples, an array of any number of them, walks between latents.

    python sample.py runs/dcgan-mnist
    python sample.py runs/dcgan-mnist --count 10000 --npz digits.npz
    python sample.py runs/dcgan-mnist --interpolate walk.png
    python sample.py runs/cgan-fashion_mnist --class sneaker "ankle boot"

A conditional run draws the classes of --class in turn, by name or number, or all of them. Walks stay in one class each; with
two classes they lead from one to the other, each at one latent.
"""
import viz
from plumbing import files, flags, measures, networks, runfolder, savedmodel

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


def walk(generate, rows=8, columns=10, seed=0, classes=()):
    """Walks between `rows` pairs of latents: uint8 [rows * columns, H, W, C], a row of `columns` images for each pair.

    Latents from N(0, 1) walk on great circles, those of other distributions on straight lines, and labels stay what they are.
    classes: the numbers of those that the walks take turns in. If there are two, each walk leads from the first to the second
    through mixtures of both, and its latents stay what they are.
    """
    t, across = np.linspace(0, 1, columns).astype(np.float32), len(classes) == 2
    labels = np.resize(classes, 2 * rows) if classes else None
    points = {}
    for name, drawn in networks.draw(generate.inputs, 2 * rows, seed, labels).items():
        starts, ends = drawn[:rows], drawn[rows:]
        kind = generate.inputs[name].kind
        if kind == 'label' and across:
            first, last = (np.arange(generate.inputs[name].classes) == number for number in classes)
            between = np.repeat([(1 - t[:, None]) * first + t[:, None] * last], rows, axis=0)
        elif kind == 'label' or across:
            between = np.repeat(starts[:, None], columns, axis=1)
        elif kind == 'normal':
            between = slerp(starts, ends, t)
        else:
            between = starts[:, None] + t[:, None] * (ends - starts)[:, None]
        points[name] = between.reshape(rows * columns, *between.shape[2:])
    return generate.draw(points)


def samples(generate, folder, count, seed, largest, classes=()):
    """(`count` samples of a generator, uint8 [count, H, W, C], their classes int32 [count], or None where it takes none).

    classes: the numbers of those to take turns, instead of all. Raises UserError if they take more than `largest` bytes.
    """
    latents = networks.draw(generate.inputs, 1, seed)
    one = generate.draw(latents)
    size = max(one.nbytes, sum(array.nbytes for array in latents.values()))
    if count * size > largest:
        raise files.UserError(f'{count} samples of {folder}, {measures.by_size(one.shape[1:])}, take '
                              f'{count * size / 2**30:,.1f} GiB: give --count {largest // size} or less')
    drawn = networks.draw(generate.inputs, count, seed, np.resize(classes, count) if classes else None)
    return generate.draw(drawn), drawn['label'] if networks.classes_of(generate.inputs) else None


def numbers_of(wanted, inputs, folder):
    """The numbers of the classes `wanted`, each a name or a number. Raises UserError for one that the run does not have.

    A name counts before a number, and one in the same letters before one in others.
    """
    count = networks.classes_of(inputs)
    if not count:
        raise files.UserError(f'{folder} is not a conditional run and cannot be asked for a class: leave out --class')
    names = runfolder.read(folder)['classes'] or []
    names = names if len(names) == count else []
    known = {name.casefold(): number for number, name in enumerate(names)}
    known |= {**{str(number): number for number in range(count)}, **{name: number for number, name in enumerate(names)}}
    numbers = [known.get(text, known.get(text.casefold())) for text in wanted]
    for text, number in zip(wanted, numbers, strict=True):
        if number is None:
            told = ', '.join([name for name in names if name not in map(str, range(count))][:20])
            raise files.UserError(files.one_line(f'{folder} has no class {text!r}: give a number from 0 to {count - 1}'
                                                 f'{f", or a name: {told}" if told else ""}'))
    return numbers


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        generate = savedmodel.generator(given.run, given.best)
        if generate.output != 'images' and not given.npz:
            raise files.UserError(f'the generator of {given.run} makes {generate.output}, not images: --npz FILE writes them as '
                                  'an array')
        classes = numbers_of(given.classes, generate.inputs, given.run) if given.classes else []
        path = given.interpolate or given.npz or given.png or given.run / 'samples.png'
        if given.interpolate:
            viz.save(path, viz.grid(walk(generate, seed=given.seed, classes=classes), columns=10))
        elif given.npz:
            drawn, labels = samples(generate, given.run, given.count or 64, given.seed, LARGEST, classes)
            with files.replacing(path) as temporary, open(temporary, 'wb') as file:
                np.savez_compressed(file, **{generate.output: drawn}, **({} if labels is None else {'labels': labels}))
        else:
            viz.save(path, viz.grid(samples(generate, given.run, given.count or 64, given.seed, GRID, classes)[0]))
        print(f'wrote {path}')


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('--count', type=flags.whole('the count', 1), help='how many samples [64]')
    parser.add_argument('--seed', type=flags.whole('the seed'), default=0, help='of the latents [0]')
    parser.add_argument('--best', action='store_true', help='draw from the generator that measured best, not the last')
    parser.add_argument('--class', dest='classes', action='extend', nargs='+', metavar='CLASS',
                        help='names (or else numbers) of the classes to draw, of a conditional run, in turn [all of them]')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--png', type=flags.path, help='file of the grid [samples.png in the folder of the run]')
    one.add_argument('--npz', type=flags.path, help='file of the array images, uint8 [N, H, W, C], instead of a '
                                                           'grid; and of labels [N], of a conditional run')
    one.add_argument('--interpolate', type=flags.path, metavar='PNG', help='file of a grid of walks between latents, instead of '
                                                                           'samples')
    given = parser.parse_args(arguments)
    if given.interpolate and given.count:
        parser.error('--interpolate draws 8 walks of 10 images, whatever --count is: leave one of them out')
    if given.interpolate and len(given.classes or []) > 2:
        parser.error(f'--interpolate walks within one class or between two, not {len(given.classes)}: give one or two to --class')
    flags.run_folder(given.run)
    for path in given.png, given.interpolate:
        if path:
            viz.checked(path)
    if given.npz:
        viz.not_a_folder(given.npz)
    return given


if __name__ == '__main__':
    main()
