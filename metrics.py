"""How good are the samples? Distances, precision and recall, class coverage, memorisation; always beside real pictures.

    python metrics.py runs/dcgan-mnist
    python metrics.py samples.npz --dataset fashion --count 5000 --json

A number means something only beside the same number for real pictures, at the same count and under the same features:
the row `real` is the test set measured against the training set exactly as the model is. The features come from the
classifiers of evaluator.py (weights in `weights/`), so the numbers are not those of an Inception network.
"""
import contextlib
import functools
import io
import json
import math
import pathlib
import sys
import zipfile

import data
import evaluator
import files
import flags
import viz

import numpy as np

NEIGHBOURS = 5      # k of precision, recall, density, coverage
COPY = 1 / 3        # a sample this much closer to one training picture than to all others is a copy of it
PAIRS = 64          # pairs of sample and nearest training picture in nearest.png
COUNT = {'stacked_mnist': 26000}  # samples to measure, as in published tables; 10,000 of the other sets
PAIRED = 10000      # samples that are compared in all pairs, at most: for all but the Frechet distance and the classes
BLOCK = 250         # rows of a distance matrix held at once
SEARCHED = 2**27    # bytes of training pictures among which the nearest are looked for: 10,922 of 64x64x3, all of MNIST's
LEAST = 65          # pictures that a covariance of 64 features takes

AIM = {             # what a good model's number does
    'frechet_distance': 'low', 'kernel_distance': 'low', 'classifier_score': 'high', 'class_kl': 'low',
    'precision': 'high', 'recall': 'high', 'density': 'near 1', 'coverage': 'high',
    'nearest_ratio': 'near 1', 'copied': 'low', 'modes': 'high', 'mode_kl': 'low'}


# numbers

def frechet_distance(a, b):
    """Distance >= 0 of features [N, F] and [M, F] seen as two Gaussians: Heusel et al. 2017, arXiv:1706.08500, eq. 6.

        |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

    (C_a C_b)^(1/2) has the trace of (S C_b S)^(1/2) with S = C_a^(1/2): symmetric, so that nothing becomes complex.
    The value is biased upward as N and M shrink: compare equal counts only.
    Raises UserError for N or M < F + 1 (the covariance would be singular), and for NaN or infinite features.
    """
    a, b = _checked(a, b, least=a.shape[-1] + 1)
    difference = a.mean(0) - b.mean(0)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(covariance_a)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    product = np.linalg.eigvalsh(root @ covariance_b @ root)
    size = np.trace(covariance_a) + np.trace(covariance_b)
    # eigenvalues of a product of covariances are >= 0: what is below is rounding, at most 1e-10 of the whole
    distance = difference @ difference + size - 2 * np.sqrt(np.maximum(product, 0)).sum()
    return float(max(distance, 0))


def kernel_distance(a, b):
    """Squared maximum mean discrepancy of features [N, F] and [M, F]: Binkowski et al. 2018, arXiv:1801.01401, KID.

    Kernel (x.y / F + 1)^3, unbiased, over the whole sets at once; the paper averages over blocks of 1000 to the same
    expectation, with more noise. Being unbiased it may fall a little below 0 for equal distributions.
    Raises UserError for N or M < 2, and for NaN or infinite features.
    """
    a, b = _checked(a, b, least=2)

    def total(x, y):
        every = 0
        for rows in _rows(x):
            kernel = x[rows] @ y.T / x.shape[1] + 1
            every += np.vdot(kernel, np.square(kernel))
        return every

    def others(x):      # the mean over pairs of different samples
        return (total(x, x) - ((np.square(x).sum(1) / x.shape[1] + 1) ** 3).sum()) / (len(x) * (len(x) - 1))

    return float(others(a) + others(b) - 2 * total(a, b) / (len(a) * len(b)))


def classifier_score(p):
    """exp E KL(p(y|x) || p(y)) in [1, 10] from probabilities [N, 10]: Salimans et al. 2016, arXiv:1606.03498, section 4.

    The Inception score's formula under another classifier: it rewards sure answers and even classes, and is blind to
    variety within a class.
    """
    p = np.asarray(p, np.float64)
    tiny = np.finfo(np.float64).tiny            # 0 log 0 = 0
    return float(np.exp((p * (np.log(p + tiny) - np.log(p.mean(0) + tiny))).sum(1).mean()))


def class_shares(p):
    """Share of each class [10] among the classifier's answers, from probabilities [N, 10]; they add up to 1."""
    return np.bincount(np.argmax(p, 1), minlength=p.shape[1]) / len(p)


def class_kl(shares, expected=None):
    """KL of class shares [K] from the expected ones [K], in nats; from equal ones if None: then log K for one class only.

    The measure of mode dropping in Lin et al. 2018 (PacGAN, arXiv:1712.04086) and before. The shares of N perfect samples
    have (K - 1) / 2N on average.
    """
    shares = np.asarray(shares, np.float64)
    expected = np.full(len(shares), 1 / len(shares)) if expected is None else expected
    return float((shares * np.log(np.maximum(shares, np.finfo(np.float64).tiny) / expected)).sum())


def stacked_shares(labels):
    """Share of each number [1000] in stacked_mnist, from the labels of its training set: the product of its digits' shares."""
    digits = np.stack([labels // 100, labels // 10 % 10, labels % 10])
    one = np.bincount(digits.ravel(), minlength=10) / digits.size
    return np.einsum('a,b,c->abc', one, one, one).ravel()


def prdc(real, fake, k=NEIGHBOURS):
    """Precision, recall, density and coverage of features fake [M, F] against real [N, F], as a dict of numbers.

    A set's manifold is the union of balls around its points that reach to the k-th nearest point of the same set.
    precision: share of fakes in the real manifold; recall: share of reals in the fake manifold (Kynkaanniemi et al.
    2019, arXiv:1904.06991). density: number of real balls that a fake lies in, over k, on average (may exceed 1);
    coverage: share of real balls with a fake in them (Naeem et al. 2020, arXiv:2002.09797).
    Raises UserError for N or M <= k, and for NaN or infinite features.
    """
    real, fake = _checked(real, fake, least=k + 1)
    real_reach, fake_reach = _reach(real, k), _reach(fake, k)
    precise, inside, recalled, covered = np.zeros(len(fake), bool), 0, 0, 0
    for rows in _rows(real):
        squares = _squares(real[rows], fake)
        in_real = squares < real_reach[rows, None]
        precise |= in_real.any(0)
        inside += in_real.sum()
        recalled += (squares < fake_reach).any(1).sum()
        covered += in_real.any(1).sum()
    return {'precision': float(precise.mean()), 'recall': float(recalled / len(real)),
            'density': float(inside / (k * len(fake))), 'coverage': float(covered / len(real))}


def _reach(x, k):
    """Squared distance [N] of each point to its k-th nearest other point."""
    reach = np.empty(len(x))
    for rows in _rows(x):
        squares = _squares(x[rows], x)
        squares[np.arange(len(squares)), np.arange(len(x))[rows]] = 0       # itself, exactly
        reach[rows] = np.partition(squares, k, axis=1)[:, k]
    return reach


def _rows(x):
    return [slice(i, i + BLOCK) for i in range(0, len(x), BLOCK)]


def _squares(a, b):
    squares = (-2 * a) @ b.T
    squares += np.square(a).sum(1)[:, None]
    squares += np.square(b).sum(1)
    return np.maximum(squares, 0, out=squares)


def _checked(a, b, least):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    for x in a, b:
        if not np.isfinite(x).all():
            raise files.UserError('features hold NaN or infinity: nothing can be measured')
        if len(x) < least:
            raise files.UserError(f'{len(x)} samples are too few for {x.shape[1]} features: take at least {least}')
    return a, b


def nearest(images, train):
    """The two nearest training pictures of each image: (distances [N, 2] ascending, index [N] of the nearest).

    Both uint8 of one picture size; distances are Euclidean over pixels in [0, 1], exact (0 for a verbatim copy).
    Of training pictures that take more than SEARCHED bytes only the first ones are looked at, as many as that.
    Raises UserError if the sizes differ or there are fewer than two training pictures.
    """
    if images.shape[1:] != train.shape[1:] or len(train) < 2:
        raise files.UserError(f'images are {evaluator.size(images.shape[1:])}, the {len(train)} training pictures '
                              f'{evaluator.size(train.shape[1:])}: sizes must be equal, and at least 2 pictures')
    images, size, found = images.reshape(len(images), -1), math.prod(train.shape[1:]), []
    train = train[:max(2, SEARCHED // size)]
    most = min(10000, max(2, SEARCHED // 4 // size))                # a block as float32 takes no more than SEARCHED
    for part in np.array_split(np.arange(len(train)), -(-len(train) // most)):
        block = np.asarray(train[part[0]:part[-1] + 1]).reshape(len(part), -1).astype(np.float32)
        found.append(part[0] + _two_nearest(images, block))
    found = np.concatenate(found, 1)                                # [N, 2 of each block]
    squares = np.empty(found.shape)
    for rows in _rows(images):
        for column in range(found.shape[1]):
            gap = images[rows].astype(np.float32) - train[found[rows, column]].reshape(-1, size)
            squares[rows, column] = np.square(gap).sum(1, dtype=np.float64)
    order = np.argsort(squares, 1, kind='stable')[:, :2]
    return np.sqrt(np.take_along_axis(squares, order, 1)) / 255, np.take_along_axis(found, order, 1)[:, 0]


def _two_nearest(images, block):
    lengths, found = np.square(block).sum(1), np.empty([len(images), 2], np.int64)
    for rows in _rows(images):
        scores = (-2 * images[rows].astype(np.float32)) @ block.T
        scores += lengths                       # squared distances, less the image's own squared length
        found[rows, 0] = scores.argmin(1)
        scores[np.arange(len(scores)), found[rows, 0]] = np.inf
        found[rows, 1] = scores.argmin(1)
    return found


def memorisation(samples, test):
    """Compares the `nearest` training distances of samples [N, 2] with those of unseen test pictures [M, 2]: a dict.

    nearest_ratio: median distance of the samples over that of the test pictures. Well below 1 is suspicious, but smooth
    samples or simple classes lower it too. copied: share of samples at most a third as far from one training picture as
    from the next (the criterion of Gu et al. 2023, arXiv:2310.02664), which a new picture hardly ever is.
    """
    return {'nearest_ratio': float(np.median(samples[:, 0]) / np.median(test[:, 0])),
            'copied': float((samples[:, 0] <= COPY * samples[:, 1]).mean())}


# model and real pictures, side by side

def draw(images, count):
    """`count` of the images, drawn once and for all without replacement, so that a smaller count is part of a larger one.

    Neither the first nor evenly spaced ones: MNIST's halves come from different writers, and its training set alternates.
    """
    return images[np.random.RandomState(0).permutation(len(images))[:count]]    # NumPy keeps this stream for ever


def measure(images, dataset, count=10000, pairs=None):
    """Measures `count` of the images, uint8 [N, H, W, C], against the training set, and the test set in the same way.

    The reference of both rows is `count` training pictures; the model's row takes `count` of the images, the real row
    `count` of the test pictures (each as `draw` draws them). The numbers that compare all pairs, which are the kernel distance,
    precision, recall, density and coverage, take the first PAIRED of them. Only `nearest_ratio` and `copied` look at the whole
    training set, or at as much of it as `nearest` says. A folder has no classes: the numbers that need them are left out.
    Pictures of MNIST and Fashion-MNIST that are larger or have three channels are brought down to the size of their
    classifiers (`evaluator.fitted`), and the real ones made as large before, so that both rows go the same way.
    Of stacked_mnist `modes` is the number of its 1,000 classes that are among the samples, `mode_kl` the KL of their shares
    from those of the training set; copies are not looked for, because three copied digits are a new picture.

    Returns a dict ready for JSON: dataset, evaluator (its name and version), count, features (their number),
    paired, neighbours, model and real {name: number, class_shares: list}, ratio {name: model / real, None where real <= 0}.
    `pairs`, if given, is where to write a picture: samples, each with its nearest training picture to the right, those
    that look most like copies first.
    Raises UserError for images of the wrong size, or a count that is too small or more than there are.
    """
    dataset, shape = data.full_name(dataset), images.shape[1:]
    if len(images) < count:
        raise files.UserError(f'{len(images)} images, but the count is {count}: use --count {len(images)} or less')
    look = evaluator.look_through(dataset, images.shape[-1])
    found = look(draw(images, max(count, 1)))       # the first to complain about a wrong size
    if count < found[0].shape[1] + 1:
        raise files.UserError(f'a count of {count} is too small for a covariance of {found[0].shape[1]} features: '
                              f'use --count {found[0].shape[1] + 1} or more')
    images = evaluator.fitted(draw(images, count), dataset)
    train, reference, real, test_distances, expected = _yardstick(dataset, count, shape)
    model = _row(reference, found, expected)
    if test_distances is not None:
        distances, where = nearest(images, train)
        model |= memorisation(distances, test_distances)
    if pairs and test_distances is not None:
        order = np.argsort(distances[:, 0] / np.maximum(distances[:, 1], 1e-9), kind='stable')[:PAIRS]
        viz.save(pairs, viz.grid(np.stack([images[order], train[where[order]]], 1).reshape(-1, *images.shape[1:]), 16))
    return {'dataset': dataset, 'evaluator': look.name, 'count': count, 'paired': min(count, PAIRED),
            'features': reference.shape[1], 'neighbours': NEIGHBOURS, 'model': model, 'real': real,
            'ratio': {name: model[name] / real[name] if real[name] > 0 else None for name in AIM if name in model}}


@functools.lru_cache(maxsize=1)
def _yardstick(dataset, count, shape):
    """What does not depend on the model: training pictures, features of the reference, the real row, test distances, shares."""
    (train, labels), (test, _) = _pictures(dataset, 'train', shape), _pictures(dataset, 'test', shape)
    expected = stacked_shares(labels) if dataset == 'stacked_mnist' else None
    most = min(len(train), len(test))
    if count > most:
        raise files.UserError(f'{dataset} has only {most} pictures to stand for real ones: use --count {most} or less')
    look = evaluator.look_through(dataset, shape[-1])
    reference, test = look(draw(train, count))[0], draw(test, count)
    real = _row(reference, look(test), expected)
    if dataset == 'stacked_mnist':
        return train, reference, real, None, expected
    test_distances = nearest(test, train)[0]
    return train, reference, real | memorisation(test_distances, test_distances), test_distances, expected


def _pictures(dataset, split, shape):
    """A data set in pictures of `shape`, as its classifier takes them: (images, labels)."""
    channels = 1 if dataset in evaluator.EVALUATORS else shape[2]      # the mean of three equal ones is each of them
    images, labels = data.load(dataset, split, size=shape[0], channels=channels)
    return evaluator.fitted(images, dataset), labels


def _row(reference, found, expected=None):
    x, p = found
    row = {'frechet_distance': frechet_distance(reference, x),
           'kernel_distance': kernel_distance(reference[:PAIRED], x[:PAIRED])}
    if expected is not None:
        shares = class_shares(p)
        row |= {'modes': int((shares > 0).sum()), 'mode_kl': class_kl(shares, expected)}
    elif p is not None:
        shares = class_shares(p)
        row |= {'classifier_score': classifier_score(p), 'class_kl': class_kl(shares), 'class_shares': shares.tolist()}
    return row | prdc(reference[:PAIRED], x[:PAIRED])


# for run.py

def affordable(dataset, shape, count):
    """How many samples of a folder's pictures to measure: `count`, or as many as there are, or 0; says so if not `count`."""
    with contextlib.redirect_stdout(io.StringIO()):
        most = len(data.load(dataset, size=shape[0], channels=shape[2])[0])
    if most >= count:
        return count
    if most < LEAST:
        print(f'{most} pictures to train with are too few for a Frechet distance, which takes {LEAST}: none is measured')
        return 0
    print(f'Frechet distances are of {most} samples, not {count}: there are no more pictures to train with')
    return most


def watch(dataset, count, shape=(28, 28, 1)):
    """Returns the function from `count` samples, uint8 [count, *shape], to their Frechet distance from training pictures.

    It is built once, reads `count` training pictures (as `draw` draws them), and adds nothing to the default graph.
    Raises UserError if the set has fewer pictures, or a count too small for a covariance.
    """
    with contextlib.redirect_stdout(io.StringIO()):     # where the data are was said before
        pictures, _ = _pictures(dataset, 'train', shape)
    if len(pictures) < count:
        raise files.UserError(f'{dataset} has {len(pictures)} pictures: measure with --eval-count {len(pictures)} or less')
    look = evaluator.look_through(dataset, shape[-1])
    reference = look(draw(pictures, count))[0]
    frechet_distance(reference, reference)  # a count that is too small is said before the training, not amid it
    return lambda samples: frechet_distance(reference, look(samples)[0])


def report(folder, dataset, shape):
    """Measures a run's samples of `shape`, writes metrics.json and nearest.png into its folder, returns a line.

    They are 10,000 (or COUNT), or as many as there are test pictures; too few of those are not measured with.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        count = _default_count(dataset, shape)
        if count < LEAST:
            return f'not measured: {count} pictures held out for tests are too few, it takes {LEAST}'
        result = measure(read_images(folder, count, seed=1), dataset, count, folder / 'nearest.png')
    with files.replacing(folder / 'metrics.json') as temporary:
        temporary.write_text(json.dumps(result, indent=1) + '\n')
    model, real = result['model'], result['real']
    numbers = ', '.join(f'{name.replace("_", " ")} {model[name]:.3f} ({real[name]:.3f})'
                        for name in ('frechet_distance', 'precision', 'recall', 'coverage', 'modes', 'mode_kl') if name in model)
    return f'{count:,} samples (real pictures): {numbers}; all of it in {folder / "metrics.json"}'


def _default_count(dataset, shape):
    return min(COUNT.get(dataset, 10000), len(data.load(dataset, 'test', size=shape[0], channels=shape[2])[0]))


# command

def table(result):
    """A result of `measure` as aligned text: a line for each number, with model, real, their ratio, what to hope for."""
    lines = [f'{result["count"]} samples of each, {result["dataset"]}, {result["evaluator"]}, '
             f'{result["features"]} features, k = {result["neighbours"]}'
             + (f', all pairs of {result["paired"]}' if result['paired'] < result['count'] else ''),
             f'{"":18}{"model":>10}{"real":>10}{"ratio":>9}   better']
    for name, ratio in result['ratio'].items():
        lines.append(f'{name:18}{result["model"][name]:10.4g}{result["real"][name]:10.4g}'
                     f'{"-" if ratio is None else f"{ratio:.3g}":>9}   {AIM[name]}')
    for row in ['model', 'real']:
        if 'class_shares' in result[row]:
            shares = ''.join(f'{100 * share:6.1f}' for share in result[row]['class_shares'])
            lines.append(f'classes %  {row:7}{shares}')
    return '\n'.join(lines)


def read_images(path, count, seed, best=False):
    """Images uint8 [N, H, W, C]: the array `images` of an .npz, or `count` samples of a run folder; UserError if bad."""
    if path.is_dir():
        read_settings(path)
        import sample  # only a run folder needs it
        return sample.draw(path, count, seed, best)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive['images']
    except FileNotFoundError:
        raise files.UserError(f'{path} does not exist: name a run folder or an .npz file') from None
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        raise files.UserError(f'{path} is not a whole .npz file') from None
    except (KeyError, IndexError):
        raise files.UserError(f'{path} holds no array `images`: save it with np.savez(path, images=images)') from None


def read_settings(folder):
    """The settings of a run folder; UserError if it is none."""
    try:
        return json.loads((folder / 'settings.json').read_text())['settings']
    except (OSError, ValueError, KeyError):
        raise files.UserError(f'{folder} is not a run folder: no settings in {folder / "settings.json"}') from None


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('path', type=pathlib.Path, help='run folder, or .npz with uint8 images [N, H, W, C]')
    parser.add_argument('--dataset', help="mnist, fashion, stacked_mnist or a folder of pictures; the run's own if not given")
    parser.add_argument('--count', type=int, help='samples, and real pictures (default 10000; 26000 for stacked_mnist; a tenth '
                                                  'of a folder if that is less)')
    parser.add_argument('--seed', type=int, default=0, help='of the samples drawn from a run (default 0)')
    parser.add_argument('--best', action='store_true', help='of a run: the generator that measured best, not the last')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    args = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):    # what others have to say; the result alone goes to stdout
        if not args.dataset and args.path.is_file():
            raise files.UserError(f'{args.path} does not say which data set it imitates: add --dataset')
        if args.path.is_dir():
            read_settings(args.path)
            import runfolder  # only a run folder needs it
            runfolder.saved(args.path, 'generator-best' if args.best else 'generator')
        dataset = data.full_name(args.dataset or read_settings(args.path).get('DATASET', 'mnist'))
        folder = args.path if args.path.is_dir() else args.path.parent
        count = args.count
        if count is None:
            count = COUNT.get(dataset, 10000)
            if dataset not in data.NAMES:
                count = _default_count(dataset, read_images(args.path, 1, args.seed, args.best).shape[1:])
        result = measure(read_images(args.path, count, args.seed, args.best), dataset, count, folder / 'nearest.png')
    print(json.dumps(result, indent=2) if args.json else table(result))


if __name__ == '__main__':
    with files.one_line_errors():
        main()
