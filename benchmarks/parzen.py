"""Log-likelihood of the test pictures under a Parzen window of samples, as in tables from 2014 to 2016.

    python -m benchmarks.parzen runs/cgan-mnist

The protocol of Goodfellow et al. 2014 (arXiv:1406.2661, section 5): a Gaussian on each of 10,000 samples, pixels in [0, 1], the
width of the Gaussians chosen by the likelihood of validation pictures, and the mean over 10,000 test pictures with its
standard error, in nats. Theis et al. 2016 (arXiv:1511.01844) show that the number says little: in 784 dimensions
it is far from the true likelihood, and it ranks models wrongly (their k-means centres beat the real pictures).
The validation pictures are the last 10,000 training pictures, which our runs have trained with; the paper keeps them apart.
"""
import contextlib
import sys

import data
from plumbing import files, flags, measures, runfolder, savedmodel

import numpy as np

COUNT = 10000                     # samples
VALIDATION = 1000                 # pictures that the width is chosen by
WIDTHS = np.logspace(-1, 0, 20)   # standard deviations to choose from
BLOCK = 200                       # pictures at once


def log_likelihoods(pictures, samples, width):
    """log p [N] of pictures [N, n] under the mean of Gaussians N(sample, width^2 I), one for each of samples [M, n]."""
    return np.concatenate([_windowed(_squares(pictures[i:i + BLOCK], samples), samples, width)
                           for i in range(0, len(pictures), BLOCK)])


def best_width(pictures, samples, widths=WIDTHS):
    """The one of `widths` under which the pictures are most likely."""
    sums = np.zeros(len(widths))
    for i in range(0, len(pictures), BLOCK):
        squares = _squares(pictures[i:i + BLOCK], samples)
        sums += [_windowed(squares, samples, width).sum() for width in widths]
    return widths[np.argmax(sums)]


def _squares(pictures, samples):
    squares = np.square(pictures).sum(1)[:, None] + np.square(samples).sum(1) - 2 * pictures @ samples.T
    return np.maximum(squares, 0)


def _windowed(squares, samples, width):
    exponents = -squares / (2 * width ** 2)
    largest = exponents.max(1)
    sums = np.exp(exponents - largest[:, None]).mean(1)
    return largest + np.log(sums) - samples.shape[1] / 2 * np.log(2 * np.pi * width ** 2)


def unit(images):
    """uint8 [N, H, W, C] -> [N, H W C] in [0, 1]."""
    return images.reshape(len(images), -1) / np.float64(255)


def main(folders):
    sets = {runfolder.read_settings(folder)['DATASET'] for folder in folders}
    if len(sets) > 1 or not sets <= {'mnist', 'fashion_mnist'}:
        raise files.UserError(f'runs of {" and ".join(sorted(sets))}: give runs of mnist, or runs of fashion_mnist')
    for folder in folders:
        with contextlib.redirect_stdout(sys.stderr):
            dataset = runfolder.read_settings(folder)['DATASET']
            samples = savedmodel.samples(folder, COUNT)
            train, test = (data.load(dataset, split, size=samples.shape[1], channels=samples.shape[3])[0]
                           for split in ('train', 'test'))
        if len(train) < 11 * VALIDATION:
            raise files.UserError(f'{dataset} has {len(train):,} training pictures here: the window takes {11 * VALIDATION:,}, '
                                  'the last ones to choose its width by')
        print(told(folder, unit(samples), unit(train[-10 * VALIDATION:]), unit(test)), flush=True)
    print(told('real pictures', unit(measures.subset(train[:-10 * VALIDATION], COUNT)), unit(train[-10 * VALIDATION:]),
               unit(test)))


def told(name, samples, validation, test):
    width = best_width(measures.subset(validation, VALIDATION), samples)
    found = log_likelihoods(test, samples, width)
    return f'{name}: {found.mean():.1f} +- {found.std() / len(found) ** 0.5:.1f} nats, width {width:.3f}'


if __name__ == '__main__':
    parser = flags.Parser(__doc__)
    parser.add_argument('runs', nargs='+', type=flags.path, help='folders of runs, of one data set')
    with files.one_line_errors():
        main(parser.parse_args().runs)
