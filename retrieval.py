"""Image retrieval by code: are the test pictures whose codes are nearest of the same class, more often than by pixels?

    python retrieval.py runs/autoencoder-mnist
    python retrieval.py runs/autoencoder-mnist runs/autoencoder-mnist-code-size-* --png sizes.png

For every run with an encoder: precision at 10, the share of a picture's 10 nearest others in the test set that are of its
class, averaged over all test pictures; by its codes, by as many principal components of the training pictures, by pixels.
Distances are Euclidean. Writes retrieval.png into each run's folder: queries, their nearest by pixels, then by codes. Of a
folder of pictures without classes there is this picture alone.
"""
import contextlib
import sys

import viz
from plumbing import files, flags, measures

import numpy as np

NEAREST = 10    # pictures to retrieve
QUERIES = 8     # of retrieval.png
BLOCK = 500     # rows of a distance matrix held at once


def nearest(x, count=NEAREST):
    """Points [N, F] -> indices [N, count] of the nearest other points, the nearest first."""
    x = np.asarray(x, np.float32)
    squares, found = np.square(x).sum(1), []
    for start in range(0, len(x), BLOCK):
        distances = squares - 2 * x[start:start + BLOCK] @ x.T      # less the square of the query, equal in a row
        distances[np.arange(len(distances)), start + np.arange(len(distances))] = np.inf
        some = np.argpartition(distances, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(distances, some, 1), axis=1)
        found.append(np.take_along_axis(some, order, 1))
    return np.concatenate(found)


def precision(found, labels):
    """Share of the retrieved [N, count] that are of their query's class, for labels [N]."""
    return float((labels[found] == labels[:, None]).mean())


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
        from plumbing import runfolder, savedmodel

        encoders = [savedmodel.Loaded(run, 'encoder') for run in given.runs]
        settings = [runfolder.read_settings(run) for run in given.runs]
        (dataset, size, channels), *others = {(s['DATASET'], s.get('IMAGE_SIZE', 28), s.get('CHANNELS', 1)) for s in settings}
        if others:
            raise files.UserError(f'the runs are of several data sets, {dataset} at {size} and {others[0][0]} at {others[0][1]} '
                                  'pixels: give those of one')
        with contextlib.redirect_stdout(sys.stderr):
            train, (images, labels) = data.load(dataset, 'train', size, channels)[0], data.load(dataset, 'test', size, channels)
        if len(images) <= NEAREST:
            raise files.UserError(f'{len(images)} test pictures are too few: it takes more than {NEAREST}')
        if given.png and labels is None:
            raise files.UserError(f'{dataset} has no classes, and so no precision to draw: leave out --png')
        compare(given, encoders, train, images, labels)


def compare(given, encoders, train, images, labels):
    from sklearn.decomposition import PCA

    flat = images.reshape(len(images), -1) / np.float32(255)
    codes = [encode(images=images / np.float32(127.5) - 1) for encode in encoders]
    by_pixels = nearest(flat)
    if labels is None:
        for run, code in zip(given.runs, codes, strict=True):
            path = viz.save(run / 'retrieval.png', picture(images, by_pixels, nearest(code)))
            print(f'this folder of pictures has no classes, and so no precision; look at {path}')
        return
    pixels = precision(by_pixels, labels)
    largest = min(max(code.shape[1] for code in codes), flat.shape[1], len(train))
    model = PCA(largest, svd_solver='covariance_eigh').fit(train.reshape(len(train), -1) / np.float32(255))
    components = model.transform(flat)      # the first k columns are the PCA of size k
    print(f'precision at {NEAREST}, {len(images):,} queries among the others; by pixels {pixels:.4f}\n')
    print('| run | code size | by codes | by as many principal components |\n|---|---|---|---|')
    rows = []
    for run, code in zip(given.runs, codes, strict=True):
        by_codes, size = nearest(code), code.shape[1]
        rows.append((size, precision(by_codes, labels), precision(nearest(components[:, :size]), labels)))
        print(f'| {run.name} | {size} | {rows[-1][1]:.4f} | {rows[-1][2]:.4f} |', flush=True)
        viz.save(run / 'retrieval.png', picture(images, by_pixels, by_codes))
    if given.png:
        sizes, found, linear = zip(*sorted(rows), strict=True)
        viz.lines(given.png, {'codes': (sizes, found), 'principal components': (sizes, linear),
                              'pixels': (sizes, [pixels] * len(sizes))}, 'numbers in a code', f'precision at {NEAREST}')


if __name__ == '__main__':
    main()
