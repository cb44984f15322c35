"""How good are the samples? Distances, precision and recall, class coverage, memorisation; always beside real pictures.

    python metrics.py runs/dcgan-mnist
    python metrics.py samples.npz --dataset fashion --count 5000 --json

A number means something only beside the same number for real pictures, at the same count and with the same features:
the row `real` is the test set measured against the training set exactly as the model is. The features come from our own
classifiers (plumbing/features.py, weights in `weights/`), so the numbers are not those of an Inception network.
"""
import contextlib
import functools
import io
import itertools
import json
import math
import sys
import warnings
import zipfile

import data
import viz
from plumbing import features, files, flags, measures, runfolder, savedmodel

import numpy as np

PAIRS = 64               # pairs of sample and nearest training picture in nearest.png
COUNT = {'stacked_mnist': 26000}  # samples to measure, as in published tables; 10,000 of the other sets
PAIRWISE_COUNT = 10000   # samples of which all pairs are compared, at most: for all but the Frechet distance and the classes
MIN_COUNT = 65           # pictures that a covariance of 64 features takes
LARGEST = 2**32          # bytes of the pictures in an .npz
SIDE = 4096              # pixels of them, at most

AIM = {                  # what to hope for
    'frechet_distance': 'low', 'kernel_distance': 'low', 'classifier_score': 'high', 'class_kl': 'low',
    'precision': 'high', 'recall': 'high', 'density': 'near 1', 'coverage': 'high',
    'nearest_ratio': 'near 1', 'copied': 'low', 'modes': 'high', 'mode_kl': 'low'}


def measure(images, dataset, count=10000, pairs=None):
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

    Returns a dict ready for JSON: dataset, evaluator (its name and version), count, features (their number),
    paired, neighbours, model and real {name: number, class_shares: list}, ratio {name: model / real, None where real <= 0}.
    `pairs`, if given, is where to write a picture: samples, each with its nearest training picture to the right, those
    that look most like copies first.
    Raises UserError for images of the wrong size, or a count that is too small or more than there are.
    """
    dataset, shape = data.full_name(dataset), images.shape[1:]
    if len(images) < count:
        raise files.UserError(f'{len(images)} images, but the count is {count}: use --count {len(images)} or less')
    extract = features.extractor(dataset, images.shape[-1])
    found = extract(measures.subset(images, max(count, 1)))       # the first to complain about a wrong size
    if count < found[0].shape[1] + 1:
        raise files.UserError(f'a count of {count} is too small for a covariance of {found[0].shape[1]} features: '
                              f'use --count {found[0].shape[1] + 1} or more')
    images = features.fitted(measures.subset(images, count), dataset)
    train, reference, real, test_distances, expected = _yardstick(dataset, count, shape)
    model = _row(reference, found, expected)
    if test_distances is not None:
        distances, where = measures.nearest(images, train)
        model |= measures.memorisation(distances, test_distances)
    if pairs and test_distances is not None:
        order = np.argsort(distances[:, 0] / np.maximum(distances[:, 1], 1e-9), kind='stable')[:PAIRS]
        viz.save(pairs, viz.grid(np.stack([images[order], train[where[order]]], 1).reshape(-1, *images.shape[1:]), 16))
    return {'dataset': dataset, 'evaluator': extract.name, 'count': count, 'paired': min(count, PAIRWISE_COUNT),
            'features': reference.shape[1], 'neighbours': measures.NEIGHBOURS, 'model': model, 'real': real,
            'ratio': {name: model[name] / real[name] if real[name] > 0 else None for name in AIM if name in model}}


@functools.lru_cache(maxsize=1)
def _yardstick(dataset, count, shape):
    """What does not depend on the model: training pictures, features of the reference, the real row, test distances, shares."""
    (train, labels), (test, _) = _pictures(dataset, 'train', shape), _pictures(dataset, 'test', shape)
    expected = measures.stacked_shares(labels) if dataset == 'stacked_mnist' else None
    most = min(len(train), len(test))
    if count > most:
        raise files.UserError(f'{dataset} has only {most} pictures to stand for real ones: use --count {most} or less')
    extract = features.extractor(dataset, shape[-1])
    reference, test = extract(measures.subset(train, count))[0], measures.subset(test, count)
    real = _row(reference, extract(test), expected)
    if dataset == 'stacked_mnist':
        return train, reference, real, None, expected
    test_distances = measures.nearest(test, train)[0]
    return train, reference, real | measures.memorisation(test_distances, test_distances), test_distances, expected


def _pictures(dataset, split, shape):
    """A data set in pictures of `shape`, as its classifier takes them: (images, labels)."""
    channels = 1 if dataset in features.CLASSIFIERS else shape[2]      # the mean of three equal ones is each of them
    images, labels = data.load(dataset, split, size=shape[0], channels=channels)
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


# for run.py

def measurable_count(dataset, shape, count):
    """How many samples of a folder's pictures can be measured: `count`, or as many as there are, or 0; says so if not `count`."""
    with contextlib.redirect_stdout(io.StringIO()):
        most = len(data.load(dataset, size=shape[0], channels=shape[2])[0])
    if most >= count:
        return count
    if most < MIN_COUNT:
        print(f'{most} pictures to train with are too few for a Frechet distance, which takes {MIN_COUNT}: none is measured')
        return 0
    print(f'Frechet distances are of {most} samples, not {count}: there are no more pictures to train with')
    return most


def watch(dataset, count, shape=(28, 28, 1)):
    """Returns the function from `count` samples, uint8 [count, *shape], to their Frechet distance from training pictures.

    It is built once, reads `count` training pictures (as `measures.subset` draws them), and adds nothing to the default graph.
    Raises UserError if the set has fewer pictures, or a count too small for a covariance.
    """
    with contextlib.redirect_stdout(io.StringIO()):     # where the data are has been printed already
        pictures, _ = _pictures(dataset, 'train', shape)
    if len(pictures) < count:
        raise files.UserError(f'{dataset} has {len(pictures)} pictures: measure with --eval-count {len(pictures)} or less')
    extract = features.extractor(dataset, shape[-1])
    reference = extract(measures.subset(pictures, count))[0]
    measures.frechet_distance(reference, reference)  # reports a count that is too small before the training
    return lambda samples: measures.frechet_distance(reference, extract(samples)[0])


def report(folder, dataset, shape):
    """Measures a run's samples of `shape`, writes metrics.json and nearest.png into its folder, returns a line.

    They are 10,000 (or COUNT), or as many as there are test pictures; nothing is measured if those are fewer than MIN_COUNT.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        count = _default_count(dataset, shape)
        if count < MIN_COUNT:
            return f'not measured: it takes {MIN_COUNT} held-out pictures, and there are {count}'
        result = measure(read_images(folder, count, seed=1), dataset, count, folder / 'nearest.png')
    files.write_json(folder / 'metrics.json', result)
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
    return savedmodel.samples(path, count, seed, best) if path.is_dir() else _read_archive(path)


def _read_archive(path):
    """The array `images`, uint8 [N, H, W, C], of an .npz. Its header is judged before anything else is read.

    The file may be anybody's: what it claims is not believed, and it is never unpickled. Raises UserError for all else than
    at most LARGEST bytes of whole grey or colour pictures.
    """
    if not path.is_file():
        raise files.UserError(f'{path} {"is no file" if path.exists() else "does not exist"}: name a run folder or an .npz file')
    with open(path, 'rb') as file, warnings.catch_warnings():
        warnings.simplefilter('ignore')         # of odd headers
        try:
            with zipfile.ZipFile(file) as archive:
                if 'images.npy' not in archive.namelist():
                    raise files.UserError(f'{path} holds no array `images`: save it with np.savez(path, images=images)')
                member = archive.getinfo('images.npy')
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise files.UserError(f'{path} is compressed in a way that NumPy does not use, which may unpack to any size: '
                                          'save it with np.savez or np.savez_compressed')
                with archive.open(member) as stream:
                    return _read_array(path, stream)
        except (files.UserError, MemoryError):
            raise
        except Exception as error:              # damaged files make the parsers raise anything
            raise files.UserError(f'{path} is not a whole .npz file ({files.reason(error)}): save it with '
                                  'np.savez(path, images=images)') from None


def _read_array(path, stream):
    start = io.BytesIO(stream.read(2**14))      # a header is shorter, but may claim to have gigabytes
    if (version := np.lib.format.read_magic(start)) not in [(1, 0), (2, 0)]:
        raise ValueError(f'an array in version {version} of its format')
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(start)
    if dtype != np.uint8 or len(shape) != 4 or min(shape) < 1 or shape[3] not in (1, 3) or max(shape[1:3]) > SIDE:
        found = files.shortened(f'{dtype} {list(shape)}')
        raise files.UserError(f'{path}: images must be uint8 [N, H, W, C] with C = 1 or 3, H and W from 1 to {SIDE}, not {found}')
    if (size := math.prod(shape)) > LARGEST:
        raise files.UserError(f'{path} holds {shape[0]} images of {measures.by_size(shape[1:])}, {size / 2**30:,.1f} GiB: '
                              f'save at most {LARGEST // math.prod(shape[1:])} of them')
    numbers, filled = np.empty(size, np.uint8), 0
    for part in itertools.chain([start.read()], iter(lambda: stream.read(2**24), b'')):
        if filled + len(part) > size:
            raise ValueError('there is more than its header says')
        numbers[filled:filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    if filled < size:
        raise ValueError(f'{size - filled:,} bytes are missing')
    return np.ascontiguousarray(numbers.reshape(shape[::-1]).T) if fortran else numbers.reshape(shape)


def _check_count(dataset, shape, count):
    """Raises UserError, before samples are drawn, if there are fewer real pictures than `count`."""
    of_folder = {} if dataset in data.NAMES else {'size': shape[0], 'channels': shape[2]}
    with contextlib.redirect_stdout(io.StringIO()):
        most = min(len(data.load(dataset, split, **of_folder)[0]) for split in ('train', 'test'))
    if count > most:
        raise files.UserError(f'{dataset} has only {most} pictures to stand for real ones: use --count {most} or less')


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('path', type=flags.path, help='run folder, or .npz with uint8 images [N, H, W, C]')
    parser.add_argument('--dataset', help="mnist, fashion, stacked_mnist or a folder of pictures; the run's own if not given")
    parser.add_argument('--count', type=flags.whole('the count', 1), help='samples, and real pictures (default 10000; 26000 for '
                                                                          'stacked_mnist; a tenth of a folder if that is less)')
    parser.add_argument('--seed', type=flags.whole('the seed'), default=0, help='of the samples drawn from a run (default 0)')
    parser.add_argument('--best', action='store_true', help='of a run: the generator that measured best, not the last')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    args = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):    # only the result goes to stdout
        run = args.path.is_dir()
        if not args.path.exists():
            raise files.UserError(f'{args.path} does not exist: name a run folder or an .npz file')
        if not args.dataset and not run:
            raise files.UserError(f'{args.path} does not say which data set it imitates: add --dataset')
        if args.best and not run:
            raise files.UserError(f'{args.path} has no generator that measured best, as run folders have: leave out --best')
        if run:
            runfolder.read(args.path)
            savedmodel.saved(args.path, 'generator-best' if args.best else 'generator')
        dataset = data.full_name(args.dataset or runfolder.read_settings(args.path)['DATASET'])
        count = args.count or COUNT.get(dataset, 10000)
        images = read_images(args.path, 1, args.seed, args.best)
        if images.ndim != 4:
            raise files.UserError(f'{args.path} makes points, not images: there is nothing to compare with {dataset}')
        if not args.count and dataset not in data.NAMES:
            count = _default_count(dataset, images.shape[1:])
        if run:
            if args.count:
                _check_count(dataset, images.shape[1:], count)
            images = read_images(args.path, count, args.seed, args.best)
        folder = args.path if run else args.path.parent
        result = measure(images, dataset, count, folder / 'nearest.png')
    print(json.dumps(result, indent=2) if args.json else table(result))


if __name__ == '__main__':
    with files.one_line_errors():
        main()
