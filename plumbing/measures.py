"""Numbers for how good samples are: distances, precision and recall, class shares, memorisation. All are functions of arrays."""
import math

from plumbing.files import UserError

import numpy as np

NEIGHBOURS = 5         # k of precision, recall, density, coverage
COPY_RATIO = 1 / 3     # a sample this much closer to one training picture than to all others is a copy of it
BLOCK = 250            # rows of a distance matrix held at once
SEARCH_BYTES = 2**27   # of training pictures among which the nearest are looked for: 10,922 of 64x64x3, all of MNIST's
AIM = {                # what to hope for, of each number of metrics.json
    'frechet_distance': 'low', 'kernel_distance': 'low', 'classifier_score': 'high', 'class_kl': 'low',
    'precision': 'high', 'recall': 'high', 'density': 'near 1', 'coverage': 'high',
    'nearest_ratio': 'near 1', 'copied': 'low', 'modes': 'high', 'mode_kl': 'low', 'quality': 'high', 'reverse_kl': 'low',
    'gan_test': 'high', 'gan_test_worst': 'high', 'gan_train': 'high', 'class_frechet': 'low', 'class_frechet_worst': 'low'}


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


def matched_accuracy(found, labels):
    """Share of categories `found` [N] that are the class of `labels` [N], after the best one-to-one matching of the two.

    Both are whole numbers from 0. The matching is the Hungarian algorithm's (Kuhn 1955). Categories without a class are wrong.
    """
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros([found.max() + 1, labels.max() + 1], int)
    np.add.at(counts, (found, labels), 1)
    return counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels)


def class_error(probabilities, labels):
    """Share of the pictures whose most probable class is not theirs; probabilities [N, K], labels [N]."""
    return (probabilities.argmax(1) != labels).mean()


def cluster_error(probabilities, labels):
    """Share of the pictures whose category stands for another class: probabilities [N, K], labels [N].

    A category stands for the class of its most certain picture (Makhzani et al. 2015, arXiv:1511.05644, section 6); an empty one
    for none.
    """
    return (labels[probabilities.argmax(0)][probabilities.argmax(1)] != labels).mean()


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
            raise UserError('features hold NaN or infinity: nothing can be measured')
        if len(x) < least:
            raise UserError(f'{len(x)} samples are too few for {x.shape[1]} features: take at least {least}')
    return a, b


def nearest(images, train):
    """The two nearest training pictures of each image: (distances [N, 2] ascending, index [N] of the nearest).

    Both uint8 of one picture size; distances are Euclidean over pixels in [0, 1], exact (0 for a verbatim copy).
    Of training pictures that take more than SEARCH_BYTES bytes only the first ones are looked at, as many as that.
    Raises UserError if the sizes differ or there are fewer than two training pictures.
    """
    if images.shape[1:] != train.shape[1:] or len(train) < 2:
        raise UserError(f'images are {by_size(images.shape[1:])}, the {len(train)} training pictures '
                              f'{by_size(train.shape[1:])}: sizes must be equal, and at least 2 pictures')
    images, size, found = images.reshape(len(images), -1), math.prod(train.shape[1:]), []
    train = train[:max(2, SEARCH_BYTES // size)]
    most = min(10000, max(2, SEARCH_BYTES // 4 // size))                # a block as float32 takes no more than SEARCH_BYTES
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

    nearest_ratio: median distance of the samples over that of the test pictures; left out where that is 0, which it is if half
    of them are copies themselves. Well below 1 is suspicious, but smooth
    samples or simple classes lower it too. copied: share of samples at most a third as far from one training picture as
    from the next (the criterion of Gu et al. 2023, arXiv:2310.02664), which a new picture hardly ever is.
    """
    median = np.median(test[:, 0])
    ratio = {'nearest_ratio': float(np.median(samples[:, 0]) / median)} if median else {}
    return {**ratio, 'copied': float((samples[:, 0] <= COPY_RATIO * samples[:, 1]).mean())}


def subset(images, count):
    """`count` of the images, drawn once and for all without replacement, so that a smaller count is part of a larger one.

    Neither the first nor evenly spaced ones: MNIST's halves come from different writers, and its training set alternates.
    """
    return images[np.random.RandomState(0).permutation(len(images))[:count]]    # NumPy keeps this stream for ever


def by_size(shape):
    """(28, 28, 1) as '28x28x1'."""
    return 'x'.join(str(n) for n in shape)


def running_mean(values):
    """Numbers [n] -> the means [n] of the 2 % of the numbers around each, of fewer near the ends."""
    reach = len(values) // 50
    sums = np.concatenate([[0], np.cumsum(values)])
    low, high = np.arange(len(values)) - reach, np.arange(len(values)) + reach + 1
    low, high = np.maximum(low, 0), np.minimum(high, len(values))
    return (sums[high] - sums[low]) / (high - low)
