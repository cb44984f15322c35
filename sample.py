"""Draws from a finished or stopped run: samples, walks between their latents, moves along directions, sums of latents. Or, where
its generator takes pictures, translates pictures.

    python sample.py runs/dcgan-mnist
    python sample.py runs/dcgan-mnist --numbered
    python sample.py runs/dcgan-mnist --index 3 --zoom 8
    python sample.py runs/dcgan-mnist --count 10000 --npz digits.npz
    python sample.py runs/dcgan-mnist --count 100 --files digits
    python sample.py runs/dcgan-mnist --interpolate walk.png
    python sample.py runs/cgan-fashion_mnist --class sneaker "ankle boot"
    python sample.py runs/dcgan-mnist --truncation 0.7
    python sample.py runs/dcgan-mnist --directions directions.png
    python sample.py runs/dcgan-mnist --direction 2 --by 3
    python sample.py runs/dcgan-mnist --arithmetic "class:1 - class:7 + 5"
    python sample.py runs/dcgan-mnist --latents runs/dcgan-mnist/inverted.npz --interpolate walk.png
    python sample.py runs/cogan-mnist --network generator2
    python sample.py runs/pix2pix-fashion_mnist --input drawings --output shoes

Sample 3 of a seed is the same one whatever the count is, in a grid, an array or a file.

With --latents the samples are those of a file that invert.py or --npz has written, and walks lead from each to the next.
A --direction is a unit vector in which the first layer moves most, 0 the most of all (Shen & Zhou 2021, arXiv:2007.06600).
--arithmetic adds latents (Radford et al. 2015, section 6.3). A term is the mean of samples by their numbers, 0,1,2, or of all
that the classifier of the metrics takes for a class, class:9. A row of its picture shows samples of a term, then their mean; the
last row what is near the sum, then the sum.

A conditional run draws the classes of --class in turn, by name or number, or all of them. Walks stay in one class each; with
two classes they lead from one to the other, each at one latent.

A generator that takes pictures translates those in the folder --input and its subfolders, or else test pictures of the run. PNG,
JPEG, GIF, WebP and BMP files may have any size: as for training, they are cropped to their middle square and resized to what the
network takes, and so large is the result. --output gets files with the names of theirs, NAME.png; without it the picture shows
pairs of input and output. --network names another network of the run that makes pictures, such as the one that leads back.
"""
import functools
import math
import pathlib
import re

import viz
from plumbing import archives, drawing, files, flags, folders, latents, measures, networks

import imageio.v3 as iio
import numpy as np

LARGEST = 2**32  # bytes of the samples, or of the latents that they are drawn from
GRID = 2**28     # of those in a picture, which is copied on its way into a file
COLUMNS = 7      # of a picture of directions, and of sums
DIRECTIONS = 8   # of a picture
LABELLED = 1000  # draws that are sorted by class, for a sum
LATENT = {'seed': '--seed', 'latents': '--latents', 'truncation': '--truncation', 'direction': '--direction', 'index': '--index',
          'classes': '--class', 'arithmetic': '--arithmetic', 'interpolate': '--interpolate', 'directions': '--directions',
          'numbered': '--numbered'}  # arguments that are of latents


def known_classes(generate, folder, points, labels):
    """({name of a class in lower case, or its number: number}, labels [N] of points). UserError where nothing tells classes."""
    import data
    from plumbing import features, runfolder

    record = runfolder.read(folder)
    dataset, classes = record['settings']['DATASET'], record['classes'] or []
    if networks.classes_of(generate.inputs):
        labels, classes = points['label'], drawing.class_names(generate.inputs, folder)
    elif labels is None and generate.output == 'images' and (dataset := data.full_name(dataset)) in features.CLASSIFIERS:
        labels, classes = features.features(generate.draw(points), dataset)[1].argmax(1), data.class_names(dataset)
    elif labels is None:
        raise files.UserError(f'nothing tells the classes of {folder}: give numbers of samples instead of {latents.CLASS}')
    count = max(len(classes), int(labels.max()) + 1)
    return {**{str(number): number for number in range(count)},
            **{name.casefold(): number for number, name in enumerate(classes)}}, labels


def asked(given, name):
    """Whether an argument was given; 0 is a number like others."""
    value = getattr(given, name)
    return value is not None and value is not False


def translate(given, network):
    """What the arguments ask of a network that makes images of images: the path of what is written.

    Raises UserError for those that are of latents.
    """
    from plumbing import translating

    if flag := next((flag for name, flag in LATENT.items() if asked(given, name)), None):
        raise files.UserError(f'the {given.network} of {given.run} takes images, not latents: leave out {flag}')
    source = translating.Source(network, given.input, given.run, given.network)
    if given.count and given.count > source.count:
        raise files.UserError(f'{given.input or given.run} has {source.count} pictures: give --count {source.count} or less')
    count = given.count or (source.count if given.input and (given.files or given.npz) else min(source.count, 64))
    if given.files:
        translating.write(given.files, network, source, count)
        return given.files
    size, largest = math.prod(network.shape) + source.size, LARGEST if given.npz else GRID
    if count * size > largest:
        raise files.UserError(f'{count} pictures of {measures.by_size(network.shape)} take {count * size / 2**30:,.1f} GiB: give '
                              f'--count {largest // size} or less')
    images, found = source.both(network, count)
    if given.npz:
        archives.write(given.npz, found)
        return given.npz
    path, zoom = given.png or given.run / 'samples.png', enlarged(np.concatenate([found, found]), given.zoom)
    if images.shape[3] < found.shape[3]:
        images = images.repeat(found.shape[3], axis=3)
    return viz.save(path, viz.pairs(images, found, 'input and output', min(8, len(images)), zoom))


def write_files(folder, images, labels, names):
    """Writes uint8 images [N, H, W, C] as 000000.png and so on into a new folder; with labels [N] as 000000-NAME.png.

    names: those of the classes. What is neither letter nor digit in one becomes '-'.
    """
    with files.replacing(folder) as temporary:
        temporary.mkdir()
        for number, image in enumerate(images):
            name = '' if labels is None else '-' + files.shortened(re.sub(r'[^\w.]+', '-', names[labels[number]]))
            iio.imwrite(temporary / f'{number:06d}{name}.png', image.squeeze(2) if image.shape[2] == 1 else image)


def write_array(path, generate, points):
    """Writes samples and the points that they were drawn from, for --latents; of a conditional run the array `labels` too."""
    labels = drawing.class_labels(generate.inputs, points)
    latents.write(path, points, generate.sum, **{generate.output: generate.draw(points)}, **(
        {} if labels is None else {'labels': labels}))


def enlarged(images, zoom):
    """The zoom. Raises UserError if a picture of the images gets too large by it."""
    if zoom and zoom > viz.zoom_of(images) and images.nbytes * zoom ** 2 > GRID:
        raise files.UserError(f'a picture of {len(images)} samples, enlarged {zoom} times, takes more than '
                              f'{GRID / 2**20:,.0f} MiB: give a smaller --count or --zoom')
    return zoom


def draw(given, generate):
    """What the arguments ask of a generator of latents: the path of what is written."""
    classes = drawing.numbers_of(given.classes, generate.inputs, given.run) if given.classes else []

    def edit(points):
        return drawing.edited(generate, points, given.truncation, given.direction, given.by)

    def chosen(numbers, largest):
        if given.latents:
            points, labels = drawing.taken(generate, given.latents, numbers, classes)
        else:
            points, labels = drawing.drawn(generate, given.run, numbers, given.seed or 0, largest, classes), None
        return edit(points), labels

    one = given.index is not None
    numbers = range(given.index, given.index + 1) if one else \
        range(given.count) if given.count else None if given.latents else range(64)
    path = given.directions or given.interpolate or given.npz or given.files or given.png or given.run / (
        'arithmetic.png' if given.arithmetic else f'sample-{given.index}.png' if one else 'samples.png')
    if given.directions:
        points, _ = chosen(numbers if one else range(1), GRID)
        found = drawing.directions(generate)[:DIRECTIONS]
        moved = generate.draw(latents.sweep(generate.inputs, points, found, np.linspace(-given.by, given.by, COLUMNS)))
        viz.save(path, viz.grid(moved, COLUMNS, zoom=enlarged(moved, given.zoom), labels=list(map(str, range(len(found))))))
    elif given.interpolate:
        points = chosen(numbers, GRID)[0] if given.latents else None
        if points and len(next(iter(points.values()))) < 2:
            raise files.UserError('a walk leads from one latent to another: ' + (
                'leave out --count' if given.count == 1 else f'{given.latents} has one, so leave out --interpolate'))
        walks = drawing.walk(generate, seed=given.seed or 0, classes=classes, points=points, edit=edit)
        viz.save(path, viz.grid(walks, columns=10, zoom=enlarged(walks, given.zoom)))
    elif given.arithmetic:
        count = max([max(term) + 1 for _, term in latents.terms(given.arithmetic) if not isinstance(term, str)], default=0)
        many = latents.CLASS in given.arithmetic
        points, labels = chosen(None if given.latents else range(max(count, LABELLED) if many else count), GRID)
        point, shown = latents.added(generate, given.arithmetic, points, functools.partial(
            known_classes, generate, given.run, points, labels), COLUMNS)
        if given.npz:
            write_array(path, generate, point)
        else:
            viz.save(path, viz.grid(shown, COLUMNS, zoom=enlarged(shown, given.zoom)))
    elif given.npz or given.files:
        points, _ = chosen(numbers, LARGEST)
        if given.files:
            labels = drawing.class_labels(generate.inputs, points)
            names = drawing.class_names(generate.inputs, given.run) if labels is not None else None
            write_files(path, generate.draw(points), labels, names)
        else:
            write_array(path, generate, points)
    else:
        images = generate.draw(chosen(numbers, GRID)[0])
        zoom = enlarged(images, given.zoom or viz.zoom_of(images, given.numbered))
        viz.save(path, (viz.numbered if given.numbered else viz.grid)(images, zoom=zoom))
    return path


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        from plumbing import savedmodel  # imports TensorFlow, which --help can do without

        generate = savedmodel.sampled(given.run, given.network, given.best)
        if networks.translates(generate.inputs, generate.output):
            print(f'wrote {translate(given, generate)}')
            return
        if given.input:
            raise files.UserError(f'the {given.network} of {given.run} takes {" and ".join(generate.inputs)}, not images: leave '
                                  'out --input')
        if generate.output != 'images' and not given.npz:
            raise files.UserError(f'the {given.network} of {given.run} makes {generate.output}, not images: --npz FILE writes '
                                  'them as an array')
        print(f'wrote {draw(given, generate)}')


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('--count', type=flags.whole('the count', 1), help='how many samples [64]')
    parser.add_argument('--index', type=flags.whole('the index'), help='draw only the sample of this number, from 0')
    parser.add_argument('--numbered', action='store_true', help='write its number on each sample of the grid')
    parser.add_argument('--zoom', type=flags.whole('the zoom', 1, 1000), help='how many times each pixel is repeated, in both '
                                                   'directions [2 where an image is smaller than 48 pixels]')
    parser.add_argument('--seed', type=flags.whole('the seed'), help='of the latents [0]')
    parser.add_argument('--latents', type=flags.path, metavar='NPZ',
                        help='take the latents of this file, of invert.py or of --npz, instead of drawing some')
    parser.add_argument('--truncation', type=flags.real('the truncation'), metavar='T',
                        help='draw latents from N(0, 1) between -T and T; uniform ones are scaled by T')
    parser.add_argument('--direction', type=flags.whole('the direction'), metavar='K',
                        help='move the latents along this direction of the first layer, from 0')
    parser.add_argument('--by', type=flags.real('the distance'), help='so far [3]')
    parser.add_argument('--network', metavar='NAME', default='generator', help='draw from this network of the run [generator]')
    parser.add_argument('--input', type=flags.path, metavar='FOLDER', help='of pictures to translate, by a network that takes '
                                                                           'pictures [test pictures of the run]')
    parser.add_argument('--best', action='store_true', help='draw from the generator that measured best, not the last')
    parser.add_argument('--class', dest='classes', action='extend', nargs='+', metavar='CLASS',
                        help='names (or else numbers) of the classes to draw, of a conditional run, in turn [all of them]')
    parser.add_argument('--arithmetic', metavar='SUM',
                        help='draw a sum of latents like "0,1,2 - 3,4,5 + class:7" [as arithmetic.png in the folder of the run]')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--png', type=flags.path, help='file of the grid [samples.png in the folder of the run], or of the one '
                                                    'sample [sample-INDEX.png there]')
    one.add_argument('--npz', type=flags.path, help='file of the array images, uint8 [N, H, W, C], instead of a '
                                                           'grid; and of labels [N], of a conditional run')
    one.add_argument('--files', '--output', type=flags.path, metavar='FOLDER', help='new or empty folder for a PNG file of each '
                     'sample, instead of a grid: 000000.png, ..., with its class in the name, of a conditional run; or with the '
                     'name of the --input')
    one.add_argument('--interpolate', type=flags.path, metavar='PNG', help='file of a grid of walks between latents, instead of '
                                                                           'samples')
    one.add_argument('--directions', type=flags.path, metavar='PNG',
                     help=f'file of a grid: sample 0, or INDEX, moved from -BY to BY along the first {DIRECTIONS} directions')
    given = parser.parse_args(arguments)
    given.files = given.files and given.files.resolve()      # of `.` there would be no name to replace
    _check(parser, given)
    given.by = 3.0 if given.by is None else given.by
    return given


def _check(parser, given):
    """Ends the command unless its arguments go together and its files can be written."""
    if given.arithmetic is not None:
        latents.terms(given.arithmetic)                     # complains, also about an empty sum
    for name in 'latents', 'arithmetic', 'directions', 'input':
        clash = {'latents': ['seed'], 'arithmetic': ['index', 'count', 'numbered', 'files', 'interpolate', 'directions'],
                 'directions': ['direction', 'count', 'numbered'], 'input': list(LATENT)}[name]
        for other in clash if getattr(given, name) else []:
            if asked(given, other):
                parser.error(f'--{name} and {LATENT.get(other, f"--{other}")} do not go together: leave one of them out')
    if given.by is not None and given.direction is None and not given.directions:
        parser.error('--by is how far to move along a --direction: give one, or --directions')
    if given.interpolate and given.count and not given.latents:
        parser.error('--interpolate draws 8 walks of 10 images, whatever --count is: leave one of them out')
    if given.interpolate and len(given.classes or []) > 2 and not given.latents:
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
    for path in given.png, given.interpolate, given.directions:
        if path:
            viz.checked(path)
    if given.npz:
        viz.not_a_folder(given.npz)
    if given.files:
        if given.files.exists() and not given.files.is_dir():
            raise files.UserError(f'{given.files} is a file: give the name of a new folder')
        if given.files.exists() and any(given.files.iterdir()):
            raise files.UserError(f'{given.files} is not empty: give the name of a new folder')
        if given.input and given.files.is_relative_to(pathlib.Path(folders.halved(str(given.input))[0]).resolve()):
            raise files.UserError(f'{given.files} is in {given.input}, and would be translated next time: give another folder')


if __name__ == '__main__':
    main()
