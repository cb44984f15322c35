"""What truncation of the latents costs: precision and recall of a run's samples over the threshold, as a table and a curve.

    python -m benchmarks.truncation runs/dcgan-mnist --png truncation.png

Truncated are the latents of one seed (Brock et al. 2018, arXiv:1809.11096, section 3.1; plumbing/latents.py). The numbers are
those of metrics.py, of COUNT samples and as many training pictures. The last row is of test pictures.
"""
import contextlib
import sys

import viz
from plumbing import files, flags, latents, networks

THRESHOLDS = 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0    # of N(0, 1)
SCALES = 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875      # of uniform latents
COUNT = 5000


def main(arguments=None):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run')
    parser.add_argument('--png', type=flags.path, help='file of the curve')
    parser.add_argument('--count', type=flags.whole('the count', 100), default=COUNT, help=f'samples for each row [{COUNT}]')
    with files.one_line_errors():
        given = parser.parse_args(arguments)
        flags.run_folder(given.run)
        if given.png:
            viz.checked(given.png, viz.FIGURES)
        import data
        from plumbing import features, measures, runfolder, savedmodel

        generate = savedmodel.generator(given.run)
        if generate.output != 'images':
            raise files.UserError(f'the generator of {given.run} makes {generate.output}, not images')
        dataset = data.full_name(runfolder.read_settings(given.run)['DATASET'])
        size, _, channels = generate.shape
        with contextlib.redirect_stdout(sys.stderr):
            train, test = (data.load(dataset, split, size, channels)[0] for split in ('train', 'test'))
        count = min(given.count, len(train), len(test))
        extract = features.extractor(dataset, channels)
        reference = extract(measures.subset(train, count))[0]
        points = networks.draw(generate.inputs, count)
        uniform = any(found.kind == 'uniform' for found in latents.of(generate.inputs).values())
        places = *(SCALES if uniform else THRESHOLDS), None
        print(f'{count:,} samples of each\n\n| truncation | Fréchet distance | precision | recall |\n|---|---|---|---|')
        curves = {'precision': [], 'recall': []}
        for place in places:
            made = generate.draw(points if place is None else latents.truncated(generate.inputs, points, place))
            numbers = row('none' if place is None else f'{place:g}', reference, extract(made)[0])
            for name, curve in curves.items():
                curve.append((place or (1.0 if uniform else 4.0), numbers[name]))
        row('real pictures', reference, extract(measures.subset(test, count))[0])
        if given.png:
            drawn = {name: tuple(zip(*curve, strict=True)) for name, curve in curves.items()}
            viz.lines(given.png, drawn, 'truncation (the last: none)', 'share')


def row(name, reference, found):
    """Prints the numbers of features [N, F]; returns {name: number}."""
    from plumbing import measures

    numbers = measures.prdc(reference, found)
    print(f'| {name} | {measures.frechet_distance(reference, found):.3f} | {numbers["precision"]:.3f} | '
          f'{numbers["recall"]:.3f} |', flush=True)
    return numbers


if __name__ == '__main__':
    main()
