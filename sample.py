"""Draws from a finished or stopped run: a grid of samples, one of them, an array or files of any number, walks between latents.

    python sample.py runs/dcgan-mnist
    python sample.py runs/dcgan-mnist --numbered
    python sample.py runs/dcgan-mnist --index 3 --zoom 8
    python sample.py runs/dcgan-mnist --count 10000 --npz digits.npz
    python sample.py runs/dcgan-mnist --count 100 --files digits
    python sample.py runs/dcgan-mnist --interpolate walk.png
    python sample.py runs/cgan-fashion_mnist --class sneaker "ankle boot"

Sample 3 of a seed is the same one whatever the count is, in a grid, an array or a file.

A conditional run draws the classes of --class in turn, by name or number, or all of them. Walks stay in one class each; with
two classes they lead from one to the other, each at one latent.
"""
import re

import viz
from plumbing import files, flags, measures, networks

import imageio.v3 as iio
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


def samples(generate, folder, numbers, seed, largest, classes=()):
    """The samples of these `numbers`, a range: (uint8 [N, H, W, C], their classes int32 [N], or None where it takes none).

    classes: the numbers of those to take turns, instead of all. Raises UserError if they take more than `largest` bytes.
    """
    latents = networks.draw(generate.inputs, 1, seed)
    one = generate.draw(latents)
    size, count = max(one.nbytes, sum(array.nbytes for array in latents.values())), numbers.stop
    if count * size > largest:
        give = f'--count {largest // size}' if numbers.start == 0 else f'--index {largest // size - 1}'
        raise files.UserError(f'{count} samples of {folder}, {measures.by_size(one.shape[1:])}, take '
                              f'{count * size / 2**30:,.1f} GiB: give {give} or less')
    drawn = networks.draw(generate.inputs, count, seed, np.resize(classes, count) if classes else None)
    drawn = {name: array[numbers.start:] for name, array in drawn.items()}
    return generate.draw(drawn), drawn['label'] if networks.classes_of(generate.inputs) else None


def write_files(folder, images, labels, names):
    """Writes uint8 images [N, H, W, C] as 000000.png and so on into a new folder; with labels [N] as 000000-NAME.png.

    names: those of the classes. What is neither letter nor digit in one becomes '-'.
    """
    with files.replacing(folder) as temporary:
        temporary.mkdir()
        for number, image in enumerate(images):
            name = '' if labels is None else '-' + files.shortened(re.sub(r'[^\w.]+', '-', names[labels[number]]))
            iio.imwrite(temporary / f'{number:06d}{name}.png', image.squeeze(2) if image.shape[2] == 1 else image)


def class_names(inputs, folder):
    """The names of the classes that a run's generator can be asked for; their numbers where they have none."""
    from plumbing import runfolder

    count = networks.classes_of(inputs)
    names = runfolder.read(folder)['classes'] or []
    return names if len(names) == count else list(map(str, range(count)))


def numbers_of(wanted, inputs, folder):
    """The numbers of the classes `wanted`, each a name or a number. Raises UserError for one that the run does not have.

    A name counts before a number, and one in the same letters before one in others.
    """
    count = networks.classes_of(inputs)
    if not count:
        raise files.UserError(f'{folder} is not a conditional run and cannot be asked for a class: leave out --class')
    names = class_names(inputs, folder)
    known = {name.casefold(): number for number, name in enumerate(names)}
    known |= {**{str(number): number for number in range(count)}, **{name: number for number, name in enumerate(names)}}
    numbers = [known.get(text, known.get(text.casefold())) for text in wanted]
    for text, number in zip(wanted, numbers, strict=True):
        if number is None:
            told = ', '.join([name for name in names if name not in map(str, range(count))][:20])
            raise files.UserError(files.one_line(f'{folder} has no class {text!r}: give a number from 0 to {count - 1}'
                                                 f'{f", or a name: {told}" if told else ""}'))
    return numbers


def enlarged(images, zoom):
    """The zoom. Raises UserError if a picture of the images gets too large by it."""
    if zoom and zoom > viz.zoom_of(images) and images.nbytes * zoom ** 2 > GRID:
        raise files.UserError(f'a picture of {len(images)} samples, enlarged {zoom} times, takes more than '
                              f'{GRID / 2**20:,.0f} MiB: give a smaller --count or --zoom')
    return zoom


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        from plumbing import savedmodel  # imports TensorFlow, which --help can do without

        generate = savedmodel.generator(given.run, given.best)
        if generate.output != 'images' and not given.npz:
            raise files.UserError(f'the generator of {given.run} makes {generate.output}, not images: --npz FILE writes them as '
                                  'an array')
        classes = numbers_of(given.classes, generate.inputs, given.run) if given.classes else []
        numbers = range(given.count or 64) if given.index is None else range(given.index, given.index + 1)
        path = given.interpolate or given.npz or given.files or given.png or given.run / (
            'samples.png' if given.index is None else f'sample-{given.index}.png')
        if given.interpolate:
            walks = walk(generate, seed=given.seed, classes=classes)
            viz.save(path, viz.grid(walks, columns=10, zoom=enlarged(walks, given.zoom)))
        elif given.npz or given.files:
            drawn, labels = samples(generate, given.run, numbers, given.seed, LARGEST, classes)
            if given.files:
                write_files(path, drawn, labels, class_names(generate.inputs, given.run) if labels is not None else None)
            else:
                with files.replacing(path) as temporary, open(temporary, 'wb') as file:
                    np.savez_compressed(file, **{generate.output: drawn}, **({} if labels is None else {'labels': labels}))
        else:
            drawn, _ = samples(generate, given.run, numbers, given.seed, GRID, classes)
            zoom = enlarged(drawn, given.zoom or viz.zoom_of(drawn, given.numbered))
            viz.save(path, (viz.numbered if given.numbered else viz.grid)(drawn, zoom=zoom))
        print(f'wrote {path}')


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('--count', type=flags.whole('the count', 1), help='how many samples [64]')
    parser.add_argument('--index', type=flags.whole('the index'), help='draw only the sample of this number, from 0')
    parser.add_argument('--numbered', action='store_true', help='write its number on each sample of the grid')
    parser.add_argument('--zoom', type=flags.whole('the zoom', 1, 1000), help='how many times each pixel is repeated, in both '
                                                   'directions [2 where an image is smaller than 48 pixels]')
    parser.add_argument('--seed', type=flags.whole('the seed'), default=0, help='of the latents [0]')
    parser.add_argument('--best', action='store_true', help='draw from the generator that measured best, not the last')
    parser.add_argument('--class', dest='classes', action='extend', nargs='+', metavar='CLASS',
                        help='names (or else numbers) of the classes to draw, of a conditional run, in turn [all of them]')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--png', type=flags.path, help='file of the grid [samples.png in the folder of the run], or of the one '
                                                    'sample [sample-INDEX.png there]')
    one.add_argument('--npz', type=flags.path, help='file of the array images, uint8 [N, H, W, C], instead of a '
                                                           'grid; and of labels [N], of a conditional run')
    one.add_argument('--files', type=flags.path, metavar='FOLDER', help='new or empty folder for a PNG file of each sample, '
                     'instead of a grid: 000000.png, ..., with its class in the name, of a conditional run')
    one.add_argument('--interpolate', type=flags.path, metavar='PNG', help='file of a grid of walks between latents, instead of '
                                                                           'samples')
    given = parser.parse_args(arguments)
    if given.interpolate and given.count:
        parser.error('--interpolate draws 8 walks of 10 images, whatever --count is: leave one of them out')
    if given.interpolate and len(given.classes or []) > 2:
        parser.error(f'--interpolate walks within one class or between two, not {len(given.classes)}: give one or two to --class')
    several = next((f'--{name}' for name in ('interpolate', 'npz', 'files') if getattr(given, name)), None)
    for name, wanted in ('--index', given.index is not None), ('--numbered', given.numbered):
        if wanted and several:
            parser.error(f'{name} is for the picture of --png, and not for {several}: leave one of them out')
    if given.zoom and (given.npz or given.files):
        parser.error(f'--zoom is for a picture, and {several} holds the samples as they are: leave one of them out')
    if given.index is not None and given.numbered:
        parser.error('--numbered is for choosing an --index: leave one of them out')
    if given.index is not None and given.count:
        parser.error('--index draws one sample, the same whatever --count is: leave one of them out')
    flags.run_folder(given.run)
    for path in given.png, given.interpolate:
        if path:
            viz.checked(path)
    if given.npz:
        viz.not_a_folder(given.npz)
    if given.files:
        given.files = given.files.resolve()   # of `.` there would be no name to replace
        if given.files.exists() and not given.files.is_dir():
            raise files.UserError(f'{given.files} is a file: give the name of a new folder')
        if given.files.exists() and any(given.files.iterdir()):
            raise files.UserError(f'{given.files} is not empty: give the name of a new folder')
    return given


if __name__ == '__main__':
    main()
