"""How good are samples, beside real pictures: what run.py reports while it trains and at its end, and metrics.py prints.

A number means something only beside the same number for real pictures, at the same count and with the same features:
the row `real` is the test set measured against the training set exactly as the model is. The features come from our own
classifiers (plumbing/features.py, weights in `weights/`), so the numbers are not those of an Inception network. Samples that
were asked to show a class are also measured class by class (plumbing/judge.py).
"""
import contextlib
import functools
import io
import math
import typing

import data
import viz
from plumbing import features, files, judge, measures, networks, runfolder, savedmodel

import numpy as np

PAIRS = 64               # pairs of sample and nearest training picture in nearest.png
COUNT = {'stacked_mnist': 26000}  # samples to measure, as in published tables; 10,000 of the other sets
PAIRWISE_COUNT = 10000   # samples of which all pairs are compared, at most: for all but the Frechet distance and the classes
MIN_COUNT = 65           # pictures that a covariance of 64 features takes
JUDGED = 10000           # training pictures that the judge of a folder's classes learns from, at most
CONFUSED = 100           # classes: of more there is no table of confusions


def measure(images, dataset, count=10000, labels=None, folder=None):
    """Measures `count` of the images, uint8 [N, H, W, C], against the training set, and the test set in the same way.

    The reference of both rows is `count` training pictures; the model's row takes `count` of the images, the real row
    `count` of the test pictures (each as `measures.subset` draws them). The numbers that compare all pairs, which are the
    kernel distance, precision, recall, density and coverage, take the first PAIRWISE_COUNT of them. Only `nearest_ratio` and
    `copied` search the whole training set, or as much of it as `measures.nearest` says. There is no classifier for a folder:
    the numbers that need one are left out. Pictures of MNIST and Fashion-MNIST of another size or with three channels are
    converted to what their classifiers take (`features.fitted`), and real ones are brought to the samples' size before, so
    that both rows go the same way.
    Of stacked_mnist `modes` is the number of its 1,000 classes that are among the samples, `mode_kl` the KL of their shares
    from those of the training set; copies are not looked for, because three copied digits are a new picture.
    labels [N]: the class that each image was asked to show. With them come the numbers of `judge.row`; what the images are
    taken for is said by the set's classifier or, of a folder, by one that is trained on at most JUDGED training pictures.

    Returns a dict ready for JSON: dataset, evaluator (its name and version), count, features (their number), paired,
    neighbours, classes (their names, or None), model and real {name: number, class_shares: list, by_class}, of the model also
    confusions (see `judge.confusions`) if there are at most CONFUSED classes,
    ratio {name: model / real, None where real <= 0}.
    `folder`, if given, is where to write pictures: nearest.png, of samples, each with its nearest training picture to the
    right, those that look most like copies first; and with labels confusions.png, of what they were taken for.
    Raises UserError for images of the wrong size, labels that the set does not have, or a count that is too small or more
    than there are.
    """
    dataset, shape = data.full_name(dataset), images.shape[1:]
    extract = features.extractor(dataset, images.shape[-1])
    found = extract(measures.subset(images, max(1, min(count, len(images)))))       # the first to complain about a wrong size
    least = found[0].shape[1] + 1
    if count < least:
        raise files.UserError(f'a count of {count} is too small for a covariance of {least - 1} features: use --count {least} '
                              'or more')
    if len(images) < least:
        raise files.UserError(f'{len(images)} images are too few for a covariance of {least - 1} features: give {least} or more')
    if len(images) < count:
        raise files.UserError(f'{len(images)} images, but the count is {count}: use --count {len(images)} or less')
    images = features.fitted(measures.subset(images, count), dataset)
    names = None if labels is None else _class_names(dataset, shape, labels)
    real = _yardstick(dataset, count, shape, labels is not None)
    model = _row(real.reference, found, real.expected)
    if real.test_distances is not None:
        distances, where = measures.nearest(images, real.train)
        model |= measures.memorisation(distances, real.test_distances)
    if labels is not None:
        labels = measures.subset(labels, count)
        answers = real.answers(images, found[1])
        model |= judge.row(real.reference, real.labels, found[0], labels, answers, len(names),
                           (judge.trained(images, labels, len(names))(real.test) == real.test_labels).mean(), real.counts)
    if folder and real.test_distances is not None:
        order = np.argsort(distances[:, 0] / np.maximum(distances[:, 1], 1e-9), kind='stable')[:PAIRS]
        viz.save(folder / 'nearest.png', viz.pairs(images[order], real.train[where[order]],
                                                   'sample | nearest in training; the most suspicious pairs first'))
    if names and len(names) <= CONFUSED:
        model['confusions'] = judge.confusions(labels, answers, len(names)).tolist()
        if folder:
            viz.confusions(folder / 'confusions.png', np.array(model['confusions']), names)
    return {'dataset': dataset, 'evaluator': extract.name, 'count': count, 'paired': min(count, PAIRWISE_COUNT),
            'features': real.reference.shape[1], 'neighbours': measures.NEIGHBOURS, 'classes': names,
            'model': model, 'real': real.row,
            'ratio': {name: model[name] / real.row[name] if real.row[name] > 0 else None
                      for name in measures.AIM if name in model and name in real.row}}


class _Yardstick(typing.NamedTuple):
    """What does not depend on the model."""
    train: np.ndarray                  # all training pictures, those without a class too
    reference: np.ndarray              # features of some of them [count, F]
    labels: np.ndarray | None          # their classes
    counts: np.ndarray | None          # of each class, how many pictures are compared within it
    test: np.ndarray                   # all test pictures
    test_labels: np.ndarray | None
    row: dict                          # the numbers of real pictures
    test_distances: np.ndarray | None  # from test pictures to the nearest training pictures
    expected: np.ndarray | None        # of stacked_mnist: shares of the classes
    answers: typing.Callable | None    # (images, probabilities of the set's classifier) -> which classes they are taken for


@functools.lru_cache(maxsize=1)
def _yardstick(dataset, count, shape, by_class):
    (every, labels), (test, test_labels) = _pictures(dataset, 'train', shape, unlabelled=True), _pictures(dataset, 'test', shape)
    classed = len(every) if labels is None else int((labels >= 0).sum())      # they come first
    train, labels = every[:classed], labels if labels is None else labels[:classed]
    expected = measures.stacked_shares(labels) if dataset == 'stacked_mnist' else None
    most = min(len(train), len(test))
    _check_most(dataset, count, most)
    extract = features.extractor(dataset, shape[-1])
    chosen = measures.subset(train, count)
    reference, some = extract(chosen)[0], measures.subset(test, count)
    found = extract(some)
    row, test_distances, answers, chosen_labels, counts = _row(reference, found, expected), None, None, None, None
    if dataset != 'stacked_mnist':
        test_distances = measures.nearest(some, every)[0]
        row |= measures.memorisation(test_distances, test_distances)
    if by_class:
        answers = _answers(dataset, shape)
        chosen_labels, asked = measures.subset(labels, count), measures.subset(test_labels, count)
        classes = len(data.class_names(dataset, shape[0], shape[2]))
        counts = np.minimum(*(np.bincount(found, minlength=classes) for found in (chosen_labels, asked)))
        row |= judge.row(reference, chosen_labels, found[0], asked, answers(some, found[1]), classes,
                         (judge.trained_once(judge.small(chosen), chosen_labels, classes)(test) == test_labels).mean())
    return _Yardstick(every, reference, chosen_labels, counts, test, test_labels, row, test_distances, expected, answers)


def _answers(dataset, shape):
    """The function (images, probabilities of the set's classifier or None) -> which class each is taken for, int [N]."""
    if dataset in data.NAMES:
        return lambda images, p: p.argmax(1)
    with contextlib.redirect_stdout(io.StringIO()):
        images, labels = _pictures(dataset, 'train', shape)
    chosen = measures.subset(np.arange(len(images)), JUDGED)
    asked = judge.trained_once(judge.small(images, chosen), labels[chosen], len(data.class_names(dataset, shape[0], shape[2])))
    return lambda images, p: asked(images)


def _class_names(dataset, shape, labels):
    """The names of the set's classes. Raises UserError where `labels` cannot be of them."""
    names = data.class_names(dataset, shape[0], shape[2], needed=True)
    if labels.max() >= len(names):
        raise files.UserError(f'labels from {labels.min()} to {labels.max()}, but {dataset} has {len(names)} classes: '
                              'give the data set that the samples are of as --dataset')
    return list(names)


def _pictures(dataset, split, shape, unlabelled=False):
    """A data set in pictures of `shape`, as its classifier takes them: (images, labels), as `data.load` gives them."""
    channels = 1 if dataset in features.CLASSIFIERS else shape[2]      # the mean of three equal ones is each of them
    images, labels = data.load(dataset, split, size=shape[0], channels=channels, unlabelled=unlabelled)
    return features.fitted(images, dataset), labels


def _row(reference, found, expected=None):
    x, p = found
    row = {'frechet_distance': measures.frechet_distance(reference, x),
           'kernel_distance': measures.kernel_distance(reference[:PAIRWISE_COUNT], x[:PAIRWISE_COUNT])}
    if expected is not None:
        shares = measures.class_shares(p)
        row |= {'modes': int((shares > 0).sum()), 'mode_kl': measures.class_kl(shares, expected)}
    elif p is not None:
        shares = measures.class_shares(p)
        row |= {'classifier_score': measures.classifier_score(p), 'class_kl': measures.class_kl(shares),
                'class_shares': shares.tolist()}
    return row | measures.prdc(reference[:PAIRWISE_COUNT], x[:PAIRWISE_COUNT])


# for run.py and metrics.py

def measurable_count(dataset, shape, count):
    """How many samples of a folder's pictures can be measured: `count`, or as many as there are, or 0; says so if not `count`."""
    with contextlib.redirect_stdout(io.StringIO()):
        images, labels = data.load(dataset, size=shape[0], channels=shape[2])
    most, which = len(images), 'pictures' if labels is None else 'pictures with a class'
    if most >= count:
        return count
    if most < MIN_COUNT:
        print(f'{most} {which} to train with are too few for a Frechet distance, which takes {MIN_COUNT}: none is measured')
        return 0
    print(f'Frechet distances are of {most} samples, not {count}: there are no more {which} to train with')
    return most


class Watch:
    """The function from `count` samples, uint8 [count, *shape], to a few of their numbers, while a network trains.

    columns: their names; the first one is the Frechet distance from training pictures. labels: the classes [count] that the
    samples shall show, which are those of the same training pictures; None where they are not asked to show any.
    """

    def __init__(self, dataset, count, shape=(28, 28, 1), classes=0, shown=None):
        """Reads `count` training pictures (as `measures.subset` draws them); adds nothing to the default graph.

        classes: how many a generator can be asked for. If they are the set's, there are numbers of the classes too. shown [N]:
        the classes of the pictures that samples are made from, and so shall show; `count` of them are drawn.
        Raises UserError if the set has fewer pictures, or a count too small for a covariance.
        """
        with contextlib.redirect_stdout(io.StringIO()):     # where the data are has been printed already
            pictures, labels = _pictures(dataset, 'train', shape)
        if len(pictures) < count:
            raise files.UserError(f'{dataset} has {len(pictures)} pictures: measure with --eval-count {len(pictures)} or less')
        self.count, self._classes, self._dataset, self._shape = count, classes, dataset, shape
        self._extract = features.extractor(dataset, shape[-1])
        self._reference = self._extract(measures.subset(pictures, count))[0]
        measures.frechet_distance(self._reference, self._reference)  # reports a count that is too small before the training
        names = data.class_names(dataset, shape[0], shape[2]) if classes or shown is not None else None
        if shown is not None:
            self._classes = len(names or [])
        known = names is not None and len(names) == self._classes
        self._known = measures.subset(labels, count) if known else None
        self.labels = measures.subset(shown, count) if known and shown is not None else self._known
        self.columns = [f'frechet_{count}']
        if self.labels is not None:
            self._answers = functools.cache(lambda: _answers(dataset, shape))   # a finished run needs none
            enough = np.bincount(self._known).max() > self._reference.shape[1]
            self.columns += ['gan_test', 'gan_test_worst', *(['class_frechet_worst'] if enough else [])]

    def __call__(self, samples):
        """{name of a column: number}."""
        return self._numbers(samples, self.labels)

    def real(self):
        """{name of a column: the same number of as many test pictures}; {} where there are fewer."""
        with contextlib.redirect_stdout(io.StringIO()):
            images, labels = _pictures(self._dataset, 'test', self._shape)
        if len(images) < self.count:
            return {}
        asked = None if self.labels is None else measures.subset(labels, self.count)
        return self._numbers(measures.subset(images, self.count), asked)

    def _numbers(self, images, asked):
        """Of images that were asked to show the classes `asked` [count]."""
        found, p = self._extract(images)
        numbers = {self.columns[0]: measures.frechet_distance(self._reference, found)}
        if self.labels is not None:
            numbers |= judge.row(self._reference, self._known, found, asked, self._answers()(images, p), self._classes)
        return {name: numbers[name] for name in self.columns if name in numbers}    # of other pictures a class may be too small


def report(folder, dataset, shape, along):
    """Measures a run's samples of `shape`, writes metrics.json and pictures into its folder (see `measure`).

    They are 10,000 (or COUNT), or as many as there are test pictures; nothing is measured if those are fewer than MIN_COUNT.
    along: {column of scalars.csv: the same number of real pictures}, which metrics.json keeps as real_along.
    Returns ({name: number}, a line that tells the main ones).
    """
    with contextlib.redirect_stdout(io.StringIO()):
        count = default_count(dataset, shape)
        if count < MIN_COUNT:
            return {}, f'not measured: it takes {MIN_COUNT} held-out pictures, and there are {count}'
        images, labels = samples(folder, dataset, shape, count, seed=1)
        if len(images) < MIN_COUNT:
            return {}, f'not measured: it takes {MIN_COUNT} test pictures, and there are {len(images)}'
        result = measure(images, dataset, min(count, len(images)), labels, folder)
    files.write_json(folder / 'metrics.json', {**result, 'real_along': along})
    model, real = result['model'], result['real']
    numbers = ', '.join(f'{name.replace("_", " ")} {model[name]:.3f} ({real[name]:.3f})' for name in (
        'frechet_distance', 'precision', 'recall', 'coverage', 'modes', 'mode_kl', 'gan_test', 'gan_train', 'class_frechet')
        if name in model and name in real)
    worst = f'; {worst_class(result)}' if result['classes'] else ''
    return ({name: model[name] for name in measures.AIM if name in model},
            f'{result["count"]:,} samples (real pictures): {numbers}{worst}; all of it in {folder / "metrics.json"}')


def worst_class(result):
    """'the worst class is 8, 98.1 % of its samples right'."""
    model = result['model']
    shares = [math.inf if share is None else share for share in model['by_class']['gan_test']]
    worst = int(np.argmin(shares))
    name = files.shortened(files.one_line(result['classes'][worst]))
    return f'the worst class is {name}, {shares[worst]:.1%} of its samples right'


def samples(folder, dataset, shape, count, seed, best=False):
    """(`count` samples of a run, uint8 [count, H, W, C], the classes [count] that they were asked to show, or None).

    Where the generator can be asked for the set's classes, they are those of the training pictures that are the reference. One
    that takes pictures is given the run's test pictures, and the classes are those that they show.
    """
    names = data.class_names(dataset, shape[0], shape[2])
    generate = savedmodel.sampled(folder, best=best)
    if networks.translates(generate.inputs, generate.output):
        images, labels = savedmodel.given(folder, generate)
        known = names and labels is not None and labels.max() < len(names)
        return savedmodel.translated(generate, measures.subset(images, count)), measures.subset(labels, count) if known else None
    known = names and runfolder.read(folder)['classes'] == list(names)
    labels = None
    if known and networks.classes_of(generate.inputs) == len(names):
        labels = measures.subset(_pictures(dataset, 'train', shape)[1], count)
    return generate.draw(networks.draw(generate.inputs, count, seed, labels)), labels


def default_count(dataset, shape):
    return min(COUNT.get(dataset, 10000), len(data.load(dataset, 'test', size=shape[0], channels=shape[2])[0]))


def check_count(dataset, shape, count):
    """Raises UserError, before samples are drawn, if there are fewer real pictures than `count`."""
    of_folder = {} if dataset in data.NAMES else {'size': shape[0], 'channels': shape[2]}
    with contextlib.redirect_stdout(io.StringIO()):
        most = min(len(data.load(dataset, split, **of_folder)[0]) for split in ('train', 'test'))
    _check_most(dataset, count, most)


def _check_most(dataset, count, most):
    if most < MIN_COUNT:
        raise files.UserError(f'{dataset} has only {most} pictures to stand for real ones, and measuring takes {MIN_COUNT}')
    if count > most:
        raise files.UserError(f'{dataset} has only {most} pictures to stand for real ones: use --count {most} or less')
