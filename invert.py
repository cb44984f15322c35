"""Finds latents of pictures: those from which the generator of a run draws them best. `sample.py --latents` goes on with them.

    python invert.py runs/dcgan-mnist seven.png four.jpg
    python invert.py runs/dcgan-mnist seven.png --negative
    python invert.py runs/dcgan-mnist --test 1000
    python sample.py runs/dcgan-mnist --latents runs/dcgan-mnist/inverted.npz --interpolate walk.png

Pictures may have any size. They are cropped to their middle square and resized, as those of a folder of pictures are. MNIST is
white on black: a digit in ink on paper takes --negative. Latents are found by gradient descent from several starts
(plumbing/inversion.py), the same ones by the same command. An error is the mean squared error of a pixel in [0, 1].

Writes inverted.npz, the latents, and inverted.png, the pictures above what was found, into the run's folder. With --test it tells
the mean error, beside those of the nearest samples and of the nearest training pictures, and the share that the classifier of
the metrics still takes for their class. A generator that lacks pictures cannot be made to draw them: this is a recall that needs
no features.
"""
import contextlib
import sys

import viz
from plumbing import drawing, files, flags, networks

import numpy as np

MOST = 10_000       # pictures of a command
SHOWN = 64          # of them in the picture, at most


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        from plumbing import inversion, latents, savedmodel  # import TensorFlow, which --help can do without

        generate = savedmodel.generator(given.run, given.best)
        if generate.output != 'images':
            raise files.UserError(f'the generator of {given.run} makes {generate.output}, not images, and has no '
                                  'latents of pictures')
        classes = drawing.numbers_of(given.classes, generate.inputs, given.run) if given.classes else []
        images, labels = test_pictures(given.run, generate.shape, given.test) if given.test else \
            (inversion.pictures(given.pictures, generate.shape, given.negative), None)
        starts, steps = given.starts or inversion.STARTS, inversion.STEPS if given.steps is None else given.steps
        inverter = inversion.Inverter(generate, inversion.encoder(given.run), starts, steps, classes)
        points, errors, _ = inverter(images)
        found = generate.draw(points)
        latents.write(given.npz, points, generate.sum, error=errors, **({} if labels is None else {'labels': labels}))
        viz.save(given.png, beside(images[:SHOWN], found[:SHOWN]))
        if given.test:
            print(table(given.run, images, labels, found, inverter.before(images)))
        else:
            label = networks.label_of(generate.inputs)
            for number, (path, error) in enumerate(zip(given.pictures, errors, strict=True)):
                asked = f', class {points[label][number]}' if label else ''
                print(files.one_line(f'{number}: {path}, error {error:.4f}{asked}'))
        print(f'wrote {given.npz} and {given.png}')


def test_pictures(run, shape, count):
    """(`count` test pictures of a run's data set, uint8 [count, *shape], their labels, or None where it has none)."""
    import data
    from plumbing import measures, runfolder

    dataset = runfolder.read_settings(run)['DATASET']
    with contextlib.redirect_stdout(sys.stderr):
        images, labels = data.load(dataset, 'test', size=shape[0], channels=shape[2])
    if len(images) < count:
        raise files.UserError(f'{dataset} has {len(images)} test pictures: give --test {len(images)} or less')
    return measures.subset(images, count), None if labels is None else measures.subset(labels, count)


def beside(images, found):
    """One picture of rows of 16 images, each row above what was found of it, with a gap."""
    rows = []
    for start in range(0, len(images), 16):
        rows += [viz.grid(part[start:start + 16], min(16, len(images)), zoom=viz.zoom_of(images)) for part in (images, found)]
    width = max(row.shape[1] for row in rows)
    gaps = [(0, 2), (0, 12)] * (len(rows) // 2)
    return np.concatenate([np.pad(row, [gap, (0, width - row.shape[1]), *[(0, 0)] * (row.ndim - 2)])
                           for row, gap in zip(rows, gaps, strict=True)])


def table(run, images, labels, found, before):
    """Markdown: how near test pictures are to samples, to what was found of them and to training pictures, and seen as what.

    before: as of `inversion.Inverter.before`.
    """
    import data
    from plumbing import features, measures, runfolder

    settings = runfolder.read_settings(run)
    dataset = data.full_name(settings['DATASET'])
    with contextlib.redirect_stdout(sys.stderr):
        train, _ = data.load(dataset, size=images.shape[1], channels=images.shape[3], unlabelled='LABELS' in settings)
    near = {'the nearest training pictures': train[measures.nearest(images, train)[1]]} if len(train) > 1 else {}
    rows = {'the nearest of the samples at the start': before['sample'],
            **({'drawn from the codes of the encoder': before['code']} if 'code' in before else {}), 'found': found,
            **near, 'the pictures themselves': images}
    known = labels is not None and dataset in features.CLASSIFIERS
    lines = [f'{len(images):,} test pictures of {dataset}', '', f'| | mean error |{" seen as their class |" if known else ""}',
             f'|---|---|{"---|" if known else ""}']
    for name, shown in rows.items():
        error = np.square((shown - images.astype(np.float32)) / 255).mean()
        share = f' {(features.features(shown, dataset)[1].argmax(1) == labels).mean():.1%} |' if known else ''
        lines.append(f'| {name} | {error:.4f} |{share}')
    return '\n'.join([*lines, ''])


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('pictures', nargs='*', type=flags.path, metavar='PICTURE', help='picture files of any size')
    parser.add_argument('--test', type=flags.whole('the number of test pictures', 1, MOST), metavar='N',
                        help='instead: so many test pictures of the run\'s data set')
    parser.add_argument('--negative', action='store_true', help='of pictures with dark lines on a light ground')
    parser.add_argument('--class', dest='classes', action='extend', nargs='+', metavar='CLASS',
                        help='names (or else numbers) of the classes that the pictures may be of, of a conditional run [all]')
    parser.add_argument('--starts', type=flags.whole('the number of starts', 1, 64), help='of each picture [4]')
    parser.add_argument('--steps', type=flags.whole('the number of steps', 0, 100_000), help='of the descent [200]')
    parser.add_argument('--best', action='store_true', help='of the generator that measured best, not the last')
    parser.add_argument('--npz', type=flags.path, help='file of the latents [inverted.npz in the folder of the run]')
    parser.add_argument('--png', type=flags.path, help='file of the pictures [inverted.png there]')
    given = parser.parse_args(arguments)
    if bool(given.test) == bool(given.pictures):
        parser.error('give picture files, or else --test N')
    if given.test and given.negative:
        parser.error('--negative is of pictures of your own, not of --test: leave one of them out')
    if len(given.pictures) > MOST:
        parser.error(f'{len(given.pictures)} pictures are more than {MOST}: give fewer')
    flags.run_folder(given.run)
    given.npz, given.png = given.npz or given.run / 'inverted.npz', viz.checked(given.png or given.run / 'inverted.png')
    viz.not_a_folder(given.npz)
    once = [file.resolve() for file in (given.npz, given.png, *given.pictures)]
    for flag, file in ('--npz', given.npz), ('--png', given.png):
        if once.count(file.resolve()) > 1:
            parser.error(f'{flag} {file} would overwrite another file of this command: give it a name of its own')
    return given


if __name__ == '__main__':
    main()
