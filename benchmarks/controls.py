"""Do the numbers of metrics.py catch what they are meant to catch? Prints a table of image sets with known faults.

    python -m benchmarks.controls --dataset mnist
    python -m benchmarks.controls --dataset mnist --by-class
"""
import contextlib
import sys

import data
import evaluation
from plumbing import files, flags, measures

import numpy as np

COLUMNS = {     # column: what is printed of the number
    'frechet_distance': '.3f', 'kernel_distance': '.5f', 'classifier_score': '.2f', 'class_kl': '.3f',
    'precision': '.3f', 'recall': '.3f', 'density': '.3f', 'coverage': '.3f', 'nearest_ratio': '.2f', 'copied': '.3f'}
BY_CLASS = {    # the same of pictures that were asked to show a class
    'frechet_distance': '.3f', 'class_kl': '.3f', 'recall': '.3f', 'gan_test': '.4f', 'gan_test_worst': '.4f',
    'gan_train': '.4f', 'class_frechet': '.3f', 'class_frechet_worst': '.3f'}
WIDTH = 2.0     # of the blur: standard deviation in pixels


def controls(dataset, count):
    """Returns {name of the fault: `count` pictures uint8 [count, 28, 28, 1]}.

    Classes and copies take pictures of the test set, repeated where there are too few, so that only the last control
    holds training pictures. Noise has the training set's own grey values, pixel by pixel, but no shape.
    """
    train, _ = data.load(dataset, 'train')
    test, labels = data.load(dataset, 'test')
    random = np.random.default_rng(0)
    noise = random.normal(train.mean(), train.std(), [count, *train.shape[1:]])
    some = measures.subset(test, count)

    def fill(images):
        return images[np.arange(count) % len(images)] if len(images) < count else measures.subset(images, count)

    return {
        'Gaussian noise': np.clip(noise, 0, 255).astype(np.uint8),
        'blurred': blur(some),
        'one class missing': fill(test[labels != 3]),
        'one class only': fill(test[labels == 3]),
        '100 pictures repeated': fill(measures.subset(test, 100)),
        'training pictures': train[random.choice(len(train), count, replace=False)],
    }


def controls_by_class(dataset, count):
    """Returns {name of the fault: (`count` pictures uint8 [count, 28, 28, 1], the classes [count] they shall show)}.

    They are training pictures that are not of the reference: what a classifier learns of them is tested on the test set.
    """
    images, right = (measures.subset(array, len(array))[-count:] for array in data.load(dataset, 'train'))
    right, random = right.astype(np.int32), np.random.default_rng(0)

    def showing(c, pictures):
        shown = images.copy()
        shown[right == c] = pictures[np.arange((right == c).sum()) % len(pictures)]
        return shown, right

    return {
        'no fault': (images, right),
        'labels shuffled': (images, random.permutation(right)),
        'a tenth of the labels shuffled': (images, np.where(np.arange(count) < count // 10, random.permutation(right), right)),
        'classes 3 and 8 exchanged': (images, np.select([right == 3, right == 8], [8, 3], right)),
        'class 8 shown for 3': showing(3, images[right == 8]),
        'noise for 3': showing(3, random.integers(0, 256, [9, *images.shape[1:]], np.uint8)),
        'class 3 copied': showing(3, images[right == 3][:1]),
        'ten pictures of each class': (np.concatenate([images[right == c][:10] for c in range(10)])[
            10 * right + np.arange(count) % 10], right),
    }


def blur(images):
    """Gaussian blur of uint8 [N, H, W, 1] by WIDTH pixels, as a matrix applied to rows and to columns."""
    places = np.arange(images.shape[1])
    kernel = np.exp(-(places[:, None] - places) ** 2 / (2 * WIDTH ** 2))
    kernel /= np.exp(-np.arange(-20, 21) ** 2 / (2 * WIDTH ** 2)).sum()     # black beyond the border
    return np.rint(np.einsum('ij,njkc,lk->nilc', kernel, images, kernel, optimize=True)).astype(np.uint8)


def main(dataset, count, by_class):
    with contextlib.redirect_stdout(sys.stderr):
        if by_class:
            results = {name: evaluation.measure(images, dataset, count, labels)
                       for name, (images, labels) in controls_by_class(dataset, count).items()}
        else:
            results = {name: evaluation.measure(images, dataset, count) for name, images in controls(dataset, count).items()}
    first = next(iter(results.values()))
    print(f'{first["dataset"]}, {first["evaluator"]}, {count} samples\n')
    columns = BY_CLASS if by_class else COLUMNS
    print('| samples | ' + ' | '.join(name.replace('_', ' ') for name in columns) + ' |')
    print('|---|' + '---|' * len(columns))
    rows = {'real (test set)': first['real']} | {name: result['model'] for name, result in results.items()}
    for name, row in rows.items():
        cells = [f'{row[column]:{form}}' if column in row else '-' for column, form in columns.items()]
        print(f'| {name} | {" | ".join(cells)} |')


if __name__ == '__main__':
    parser = flags.Parser(__doc__)
    parser.add_argument('--dataset', default='mnist', help='mnist or fashion')
    parser.add_argument('--count', type=int, default=10000, help='samples of each control (default 10000)')
    parser.add_argument('--by-class', action='store_true', help='faults of conditional samples')
    args = parser.parse_args()
    with files.one_line_errors():
        main(args.dataset, args.count, args.by_class)
