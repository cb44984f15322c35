"""Image retrieval by code: are pictures whose codes are near of the same class, more often than by pixels?

    python retrieval.py runs/autoencoder-mnist
    python retrieval.py runs/autoencoder-mnist runs/autoencoder-mnist-code-size-* runs/vae-mnist --png sizes.png

For every network of these runs that makes codes of pictures, and for pixels and as many principal components of the labelled
training pictures, a row of three numbers, each the higher the better:

- 1-NN: share of the test pictures whose nearest training picture is of their class (as Donahue et al. 2016, arXiv:1605.09782);
- precision at 10: share of a test picture's 10 nearest others in the test set that are of its class, on average;
- linear probe: accuracy on the test pictures of a linear classifier of the training pictures' codes.

Distances are Euclidean. The probe is a softmax regression on standardized codes, mean cross-entropy + 0.001 / 2 |w|^2, by
scikit-learn's L-BFGS, 100 iterations at most. All training pictures are labelled, or as many as take LABELLED_BYTES as floats.
Writes retrieval.png into each run's folder: queries, their nearest by pixels, then by codes (of the first network that makes
some). Of a folder of pictures without classes there is this picture alone.
"""
import contextlib
import math
import sys

import viz
from plumbing import files, flags, measures

import numpy as np

NEAREST = 10               # pictures to retrieve
QUERIES = 8                # of retrieval.png
LABELLED_BYTES = 2**28     # of training pictures as floats; more than all of MNIST's


def picture(images, by_pixels, by_codes):
    """A row for each of QUERIES pictures: itself, its nearest by pixels, a gap, its nearest by codes."""
    rows = [[images[query], *images[by_pixels[query]], np.zeros_like(images[0]), *images[by_codes[query]]]
            for query in measures.subset(np.arange(len(images)), min(QUERIES, len(images)))]
    return viz.grid(np.array(rows).reshape(-1, *images.shape[1:]), 2 + 2 * by_codes.shape[1], zoom=1)


def main(arguments=None):
    parser = flags.Parser(__doc__)
    parser.add_argument('runs', nargs='+', type=flags.path, help='folders of runs with an encoder, of one data set')
    parser.add_argument('--png', type=flags.path, help='file of a curve: precision over code size')
    with files.one_line_errors():
        given = parser.parse_args(arguments)
        for run in given.runs:
            flags.run_folder(run)
        if given.png:
            viz.checked(given.png, viz.FIGURES)
        import data  # imports TensorFlow, which --help can do without
        from plumbing import codes, runfolder

        encoders = {run: codes.encoders(run) for run in given.runs}
        (dataset, (size, _, channels)), *others = {
            (runfolder.read_settings(run)['DATASET'], *(found.shape for found in encoder.inputs.values()))
            for run, several in encoders.items() for _, encoder in several}
        if others:
            raise files.UserError(f'the runs are of several data sets, {dataset} at {size} and {others[0][0]} at '
                                  f'{others[0][1][0]} pixels: give those of one')
        with contextlib.redirect_stdout(sys.stderr):
            train, test = (data.load(dataset, split, size, channels) for split in ('train', 'test'))
        if len(test[0]) <= NEAREST:
            raise files.UserError(f'{len(test[0])} test pictures are too few: it takes more than {NEAREST}')
        if test[1] is not None:
            compare(encoders, labelled(*train), test, given.png)
        elif given.png:
            raise files.UserError(f'{dataset} has no classes, and so no precision to draw: leave out --png')
        else:
            retrieve(encoders, test[0])


def labelled(images, labels):
    """The training pictures that classes are told from, and their labels: all of them, or as many as LABELLED_BYTES hold."""
    chosen = np.arange(len(images))
    if len(images) > (most := LABELLED_BYTES // (4 * math.prod(images.shape[1:]))):
        chosen = measures.subset(chosen, most)
    if len(np.unique(labels[chosen])) < 2:
        raise files.UserError(f'{len(chosen)} training pictures of one class are nothing to tell classes from')
    return np.asarray(images[chosen]), labels[chosen]


def pixels(images):
    return images.reshape(len(images), -1) / np.float32(255)


def retrieve(encoders, images):
    """The pictures alone, of a data set without classes. encoders: {folder of a run: [(name, savedmodel.Loaded)]}."""
    from plumbing import codes

    by_pixels = codes.nearest(pixels(images), NEAREST)
    for run, [(_, encoder), *_] in encoders.items():
        path = viz.save(run / 'retrieval.png', picture(images, by_pixels, codes.nearest(codes.encode(encoder, images), NEAREST)))
        print(f'this folder of pictures has no classes, and so no precision; look at {path}', flush=True)


def compare(encoders, train, test, png=None):
    """The table, each row as soon as it is known, and the pictures. encoders: as of `retrieve`; train, test: (images, labels)."""
    from plumbing import codes

    from sklearn.decomposition import PCA

    curves = {'codes': [], 'principal components': [], 'pixels': []}      # of each [(size, precision)]

    def row(kind, name, x, test_x):
        """Prints the row of one kind of codes [N, n], of the training and of the test pictures; returns the neighbours."""
        by_codes, by_training = codes.nearest(test_x, NEAREST), codes.nearest(test_x, 1, x)
        precision = codes.agreement(by_codes, test[1], test[1])
        numbers = codes.agreement(by_training, train[1], test[1]), precision, codes.probe(x, train[1], test_x, test[1])
        print(f'| {name} | {x.shape[1]:,} | {" | ".join(f"{number:.4f}" for number in numbers)} |', flush=True)
        curves[kind].append((x.shape[1], precision))
        return by_codes

    print(f'{len(train[0]):,} labelled pictures, {len(test[0]):,} queries\n\n'
          f'| codes | size | 1-NN | precision at {NEAREST} | linear probe |\n|---|---|---|---|---|')
    flat, test_flat = pixels(train[0]), pixels(test[0])
    by_pixels = row('pixels', 'pixels', flat, test_flat)
    for run, several in encoders.items():
        by_codes = [row('codes', run.name if name == 'encoder' else f'{run.name}, {name}',
                        *(codes.encode(encoder, images) for images, _ in (train, test))) for name, encoder in several]
        viz.save(run / 'retrieval.png', picture(test[0], by_pixels, by_codes[0]))
    sizes = sorted({size for size, _ in curves['codes']})
    if smaller := [size for size in sizes if size < min(flat.shape)]:
        solver = 'covariance_eigh' if flat.shape[1] <= 2048 else 'randomized'
        model = PCA(smaller[-1], svd_solver=solver, random_state=0).fit(flat)
        x, test_x = model.transform(flat), model.transform(test_flat)
        for size in smaller:        # its first columns are a smaller PCA
            row('principal components', 'principal components', x[:, :size], test_x[:, :size])
    if png:
        curves['pixels'] = [(size, precision) for size in sizes for _, precision in curves['pixels']]
        viz.lines(png, {kind: tuple(zip(*sorted(points), strict=True)) for kind, points in curves.items() if points},
                  'numbers in a code', f'precision at {NEAREST}')


if __name__ == '__main__':
    main()
