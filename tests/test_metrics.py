"""metrics.py: formulas against independent references, faults that must be caught, bad input."""
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import types
import zipfile

import data
import evaluation
import metrics
from benchmarks import controls
from plumbing import archives, features, files, measures

import numpy as np
import prdc
import pytest
import scipy.linalg
import tensorflow.compat.v1 as tf
from conftest import ROOT
from PIL import Image

COUNT = 2000


@pytest.fixture
def random():
    return np.random.default_rng(0)


def real_digits():
    try:
        return data.load('mnist', 'test')
    except files.UserError as error:
        pytest.skip(str(error))


def gaussians(random, n=300, m=250, width=8):
    mix = random.normal(size=[width, width])
    return random.normal(size=[n, width]) @ mix, random.normal(size=[m, width]) * 1.3 + 0.5


# formulas

def test_frechet_distance_is_that_of_the_matrix_square_root(random):
    a, b = gaussians(random)
    c, d = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(c + d - 2 * scipy.linalg.sqrtm(c @ d).real)
    assert measures.frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)
    assert measures.frechet_distance(b, a) == pytest.approx(expected, rel=1e-4)


def test_frechet_distance_closed_forms(random):
    a = random.normal(size=[500, 6])
    assert measures.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert measures.frechet_distance(a, a + 2) == pytest.approx(6 * 2 ** 2)
    assert measures.frechet_distance(a, a - a.mean(0)) == pytest.approx(np.sum(a.mean(0) ** 2))
    # a scaled set: |(s - 1) mean|^2 + (s - 1)^2 tr C
    expected = 4 * np.sum(a.mean(0) ** 2) + 4 * np.trace(np.cov(a.T))
    assert measures.frechet_distance(a, 3 * a) == pytest.approx(expected)


def test_frechet_distance_of_one_repeated_sample_is_real_and_finite(random):
    a, b = random.normal(size=[500, 6]), np.tile(random.normal(size=6), [500, 1])
    expected = np.sum((a.mean(0) - b[0]) ** 2) + np.trace(np.cov(a.T))
    assert measures.frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)


def test_kernel_distance_is_that_of_plain_loops(random):
    a, b = random.normal(size=[40, 5]), random.normal(size=[30, 5]) + 0.5

    def k(x, y):
        return (sum(x * y) / 5 + 1) ** 3

    within_a = [k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    within_b = [k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    between = [k(x, y) for x in a for y in b]
    assert measures.kernel_distance(a, b) == pytest.approx(
        np.mean(within_a) + np.mean(within_b) - 2 * np.mean(between), rel=1e-4)


def test_prdc_is_that_of_the_reference_package(random):
    real, fake = gaussians(random, n=1300, m=1100)      # more than one block
    expected = prdc.compute_prdc(real, fake, nearest_k=5)
    assert 0.01 < expected['precision'] < 0.99 and 0.01 < expected['recall'] < 0.99
    assert measures.prdc(real, fake, k=5) == pytest.approx(expected, rel=1e-4)


def test_blocks_do_not_change_a_number(random, monkeypatch):
    a, b = gaussians(random)
    whole = measures.prdc(a, b), measures.kernel_distance(a, b)
    monkeypatch.setattr(measures, 'BLOCK', 7)
    assert (measures.prdc(a, b), measures.kernel_distance(a, b)) == (pytest.approx(whole[0]), pytest.approx(whole[1]))


def test_classifier_score_and_class_kl_closed_forms():
    sure = np.eye(10)[np.arange(100) % 10]
    assert measures.classifier_score(sure) == pytest.approx(10)
    assert measures.classifier_score(sure[:, :1] * 0 + 0.1 * np.ones([100, 10])) == pytest.approx(1)
    assert measures.classifier_score(np.eye(10)[np.zeros(50, int)]) == pytest.approx(1)
    assert measures.classifier_score(np.eye(10)[np.arange(100) % 2]) == pytest.approx(2)
    # two answers (0.9, 0.1) and (0.1, 0.9): log 2 - H(0.1)
    expected = 2 * 0.9 ** 0.9 * 0.1 ** 0.1
    assert measures.classifier_score(np.array([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(expected)
    assert measures.class_shares(sure[:40]).tolist() == [0.1] * 10
    assert measures.class_kl(np.ones(10) / 10) == pytest.approx(0)
    assert measures.class_kl(np.eye(10)[3]) == pytest.approx(np.log(10))
    assert measures.class_kl(np.array([0.5] * 2 + [0] * 8)) == pytest.approx(np.log(5))


def test_nearest_is_that_of_all_distances(random):
    train = random.integers(0, 256, [300, 6, 5, 3], np.uint8)
    images = np.concatenate([random.integers(0, 256, [20, 6, 5, 3], np.uint8), train[7:9]])
    gaps = images[:, None].astype(float).reshape(22, 1, -1) / 255 - train.reshape(1, 300, -1) / 255
    distances = np.sqrt((gaps ** 2).sum(2))
    found, where = measures.nearest(images, train)
    assert found == pytest.approx(np.sort(distances, 1)[:, :2])
    assert where.tolist() == distances.argmin(1).tolist()
    assert found[-2:, 0].tolist() == [0, 0]
    assert measures.memorisation(found, found) == {'nearest_ratio': 1, 'copied': 2 / 22}


@pytest.mark.parametrize('number', [measures.frechet_distance, measures.kernel_distance, measures.prdc])
@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_features_that_are_not_finite_are_an_error(number, bad, random):
    a, b = random.normal(size=[100, 4]), random.normal(size=[100, 4])
    b[3, 2] = bad
    with pytest.raises(files.UserError, match='NaN'):
        number(a, b)


@pytest.mark.parametrize('number, least', [(measures.frechet_distance, 5), (measures.kernel_distance, 2),
                                           (measures.prdc, 6)])
def test_too_few_samples_are_an_error(number, least, random):
    a, b = random.normal(size=[100, 4]), random.normal(size=[least, 4])
    number(a, b)
    for pair in [(a, b[1:]), (b[1:], a)]:
        with pytest.raises(files.UserError, match='too few'):
            number(*pair)


# networks

def test_features_are_bounded_and_leave_the_default_graph_alone(random):
    images = random.integers(0, 256, [700, 28, 28, 1], np.uint8)
    with tf.Graph().as_default() as graph:
        tf.constant(1)
        graph.finalize()
        look = features.extractor('mnist')
        found, p = look(images)
        operations = len(look.graph.get_operations())
        again, _ = look(images)
        assert tf.get_default_graph() is graph and len(graph.get_operations()) == 1
    assert found.shape == (700, 64) and p.shape == (700, 10)
    assert np.abs(found).max() <= 1 and p.sum(1) == pytest.approx(np.ones(700), rel=1e-5)
    assert np.array_equal(found, again) and len(look.graph.get_operations()) == operations
    assert np.allclose(features.features(images[500:], 'mnist')[0], found[500:], atol=1e-5)


def test_pairs_are_compared_among_the_first(monkeypatch, random):
    """The Frechet distance of all samples, and what compares pairs of the first ones only, as the library has it."""
    monkeypatch.setattr(evaluation, 'PAIRWISE_COUNT', 60)
    real, fake = random.normal(size=[150, 3]), random.normal(0.4, size=[150, 3])
    row = evaluation._row(real, (fake, None))
    expected = prdc.compute_prdc(real[:60], fake[:60], measures.NEIGHBOURS)
    assert {name: row[name] for name in expected} == pytest.approx({name: float(value) for name, value in expected.items()})
    assert row['kernel_distance'] == measures.kernel_distance(real[:60], fake[:60])
    assert row['frechet_distance'] == measures.frechet_distance(real, fake)
    assert row['frechet_distance'] != measures.frechet_distance(real[:60], fake[:60])


@pytest.mark.parametrize('shape', [[28, 28, 1], [64, 48, 3], [17, 32, 4]])
def test_random_features_take_any_size(shape, random):
    images = random.integers(0, 256, [80, *shape], np.uint8)
    found = features.extractor(None, images.shape[-1])(images)[0]
    assert found.shape == (80, 64) and np.abs(found).max() < 1 and found.std(0).min() > 0
    assert 'untrained' in features.extractor('pictures', shape[-1]).name


def test_random_features_are_the_same_for_everybody():
    ramp = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(1, 32, 32, 3) % 256
    found = features.extractor(None, 3)(ramp.astype(np.uint8))[0][0, :4]
    assert found == pytest.approx([0.00060, -0.35086, -0.26709, 0.07005], abs=1e-4)


def test_images_of_the_wrong_size_or_kind_are_an_error():
    for images in [np.zeros([100, 20, 24, 1], np.uint8), np.zeros([100, 32, 28, 1], np.uint8),
                   np.zeros([100, 28, 28, 2], np.uint8), np.zeros([100, 28, 28, 1], np.float32),
                   np.zeros([0, 28, 28, 1], np.uint8), np.zeros([100, 28, 28], np.uint8)]:
        with pytest.raises(files.UserError, match='images'):
            features.features(images, 'mnist')


@pytest.mark.parametrize('size', [16, 24, 64])
@pytest.mark.parametrize('channels', [1, 3])
def test_pictures_of_another_size_are_fitted_to_the_classifier(size, channels):
    """A slope keeps its ends and its straightness; of channels there is the mean; what has no classifier stays as it is."""
    def slope(n):
        return 20 + 200 * (np.arange(n) + 0.5) / n
    images = np.rint(slope(size))[None, :, None, None].repeat(size, 2) + 15 * (np.arange(channels) - (channels - 1) / 2)
    images = images.astype(np.uint8)
    fitted = features.fitted(images, 'mnist')
    assert fitted.shape == (1, 28, 28, 1) and fitted.dtype == np.uint8
    expected = slope(28)[:, None].repeat(28, 1)
    assert np.abs(fitted[0, 3:-3, :, 0] - expected[3:-3]).max() <= 1.5 and np.abs(fitted[0, :, :, 0] - expected).max() < 8
    np.testing.assert_array_equal(features.features(images, 'mnist')[0], features.features(fitted, 'mnist')[0])
    assert features.fitted(fitted, 'mnist') is fitted and features.fitted(images, '/pictures') is images


@pytest.mark.slow
@pytest.mark.parametrize('size, least', [(16, 0.9), (24, 0.98), (64, 0.98)])
def test_digits_of_other_sizes_and_in_colour_are_recognized(size, least):
    small, labels = real_digits()
    resized = np.stack([Image.fromarray(image[..., 0]).resize([size, size], Image.Resampling.BICUBIC) for image in small[:300]])
    resized = resized[..., None].repeat(3, 3)
    fitted = features.fitted(resized, 'mnist')
    assert fitted.shape == (300, 28, 28, 1) and np.abs(fitted.astype(int) - small[:300]).mean() < (4 if size > 28 else 12)
    assert (features.features(resized, 'mnist')[1].argmax(1) == labels[:300]).mean() > least


@pytest.mark.parametrize('dataset', features.CLASSIFIERS)
def test_committed_weights_are_the_ones_the_numbers_are_defined_by(dataset):
    weights = features.read_weights(dataset)
    assert sum(value.size for value in weights.values()) < 120_000
    assert (ROOT / 'weights' / f'{features.CLASSIFIERS[dataset][0]}.npz').stat().st_size < 500_000


def test_altered_damaged_or_missing_weights_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(features, 'WEIGHTS', tmp_path / 'weights')
    path = tmp_path / 'weights' / 'evaluator-mnist-v1.npz'
    path.parent.mkdir()
    with pytest.raises(files.UserError, match='missing'):
        features.read_weights('mnist')
    shutil.copy(ROOT / 'weights' / path.name, path)
    features.read_weights('mnist')
    with np.load(path) as archive:
        weights = dict(archive)
    weights['conv1/b'][0] += 0.001
    np.savez(path, **weights)
    with pytest.raises(files.UserError, match='restore'):
        features.read_weights('mnist')
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(files.UserError, match='restore'):
        features.read_weights('mnist')
    content = (ROOT / 'weights' / path.name).read_bytes()
    for place in [*range(0, 120, 3), *range(120, len(content), len(content) // 60)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1:])
        with contextlib.suppress(files.UserError):      # some bits say nothing
            features.read_weights('mnist')


# controls: each fault is caught by the number that is meant to catch it

@pytest.fixture(scope='module')
def faults():
    test, labels = real_digits()
    answers = features.features(test, 'mnist')[1].argmax(1)
    assert (answers == labels).mean() >= 0.992
    load = data.load

    def part(name, split='train', **options):   # of the training pictures a third: the search for copies takes most of the time
        return tuple(array[:20_000] for array in load(name, split, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, 'load', part)
        evaluation._yardstick.cache_clear()
        results = {name: evaluation.measure(images, 'mnist', COUNT) for name, images in controls.controls('mnist', COUNT).items()}
        evaluation._yardstick.cache_clear()
    return results


@pytest.mark.slow
def test_real_against_real_is_nearest(faults):
    real = next(iter(faults.values()))['real']
    assert real['frechet_distance'] < 0.3 and abs(real['kernel_distance']) < 0.003
    assert min(real[name] for name in ['precision', 'recall', 'density', 'coverage']) > 0.85
    assert real['nearest_ratio'] == 1 and real['copied'] < 0.005
    for name, result in faults.items():
        assert result['real'] == real
        if name != 'training pictures':     # those are real pictures as far as a distance can tell
            assert result['ratio']['frechet_distance'] > 3, name
            assert result['model']['kernel_distance'] > 5 * abs(real['kernel_distance']), name


@pytest.mark.slow
def test_the_line_of_real_pictures_beside_a_curve_is_their_distance_at_its_count(faults):
    """Features without their mean and covariance in common: NumPy's and SciPy's Fréchet distance of the same pictures."""
    watch = evaluation.Watch('mnist', COUNT)
    train, test = (features.features(measures.subset(data.load('mnist', split)[0], COUNT), 'mnist')[0].astype(float)
                   for split in ('train', 'test'))
    a, b = np.cov(train.T), np.cov(test.T)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.square(train.mean(0) - test.mean(0)).sum() + np.trace(a + b - 2 * root)
    assert watch.real() == {f'frechet_{COUNT}': pytest.approx(expected, rel=1e-3)}
    assert evaluation.Watch('mnist', 10_001).real() == {}


def test_several_results_stand_side_by_side():
    def result(**model):
        return {'count': 100, 'dataset': 'mnist', 'evaluator': 'e', 'features': 64, 'neighbours': 5, 'paired': 100,
                'model': model, 'real': {'frechet_distance': 0.1, **({'recall': 0.9} if 'recall' in model else {})}}

    text = metrics.tables({'runs/a': result(frechet_distance=1.5), 'runs/b\n': result(frechet_distance=2.5, recall=0.5),
                           'c.npz': result(recall=0.25) | {'count': 200}})
    first, second = text.split('\n\n')
    rows = {line.split()[0]: line.split() for line in first.splitlines()}
    assert rows['A:'][1] == 'runs/a' and rows['B:'][1] == 'runs/b\\n' and rows['A'] == ['A', 'B', 'real', 'better']
    assert rows['frechet_distance'] == ['frechet_distance', '1.5', '2.5', '0.1', 'low']
    assert rows['recall'] == ['recall', '-', '0.5', '0.9', 'high']
    assert second.startswith('200 samples') and 'A: c.npz' in second and 'frechet_distance' not in second


@pytest.mark.slow
def test_noise_has_no_precision(faults):
    model = faults['Gaussian noise']['model']
    assert model['precision'] < 0.05 and model['density'] < 0.05 and model['coverage'] < 0.05


@pytest.mark.slow
def test_blur_lowers_precision_and_recall(faults):
    model, real = faults['blurred']['model'], faults['blurred']['real']
    assert model['precision'] < real['precision'] - 0.2 and model['recall'] < real['recall'] - 0.2


@pytest.mark.slow
def test_a_missing_class_shows_in_its_share(faults):
    model, real = faults['one class missing']['model'], faults['one class missing']['real']
    assert model['class_shares'][3] < 0.01 and model['class_kl'] > 0.08 > 5 * real['class_kl']
    assert model['coverage'] < real['coverage'] - 0.04 and model['precision'] > 0.85


@pytest.mark.slow
def test_a_lone_class_shows_in_score_recall_and_coverage(faults):
    model = faults['one class only']['model']
    assert model['class_shares'][3] > 0.98 and model['class_kl'] > 2 and model['classifier_score'] < 1.2
    assert model['recall'] < 0.3 and model['coverage'] < 0.3 and model['precision'] > 0.85


@pytest.mark.slow
def test_repeated_pictures_have_no_recall(faults):
    model = faults['100 pictures repeated']['model']
    assert model['recall'] < 0.1 and model['coverage'] < 0.4 and model['precision'] > 0.8


@pytest.mark.slow
def test_verbatim_training_pictures_are_copies(faults):
    for name, result in faults.items():
        assert (result['model']['copied'] > 0.99) == (name == 'training pictures')
        assert name == 'training pictures' or result['model']['copied'] < 0.01
    assert faults['training pictures']['model']['nearest_ratio'] == 0


# command

def command(*arguments, **options):
    return subprocess.run([sys.executable, str(ROOT / 'metrics.py'), *map(str, arguments)], capture_output=True,
                          text=True, **options)


def failure(*arguments):
    done = command(*arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert (done.returncode, len(lines), done.stdout) == (2, 1, '') and 'Traceback' not in done.stderr, done.stderr
    return lines[0]


@pytest.mark.slow
def test_command_writes_json_alone_and_a_picture(tmp_path, faults):
    np.savez(tmp_path / 'samples.npz', images=data.load('mnist', 'train')[0][:200])
    done = command(tmp_path / 'samples.npz', '--dataset', 'mnist', '--count', 150, '--json')
    result = json.loads(done.stdout)
    assert result['count'] == 150 and result['evaluator'] == 'evaluator-mnist-v1'
    assert result['model']['copied'] == 1 and len(result['real']['class_shares']) == 10
    assert (tmp_path / 'nearest.png').stat().st_size > 1000


@pytest.mark.slow
def test_table_names_count_and_evaluator(faults):
    text = metrics.table(faults['blurred'])
    assert '2000 samples' in text and 'evaluator-mnist-v1' in text and 'frechet_distance' in text
    assert max(map(len, text.splitlines())) < 100


def saved(images=0):
    """The bytes of an .npz of 300 grey pictures."""
    file = io.BytesIO()
    np.savez(file, images=np.full([300, 28, 28, 1], images, np.uint8))
    return file.getvalue()


def claim(path, shape, size=70 * 784, kind=zipfile.ZIP_DEFLATED, length=None, version=b'\x02\x00'):
    """An .npz of `size` bytes of pictures whose header has `shape` (a text) and claims to be of `length` bytes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    start = b'\x93NUMPY' + version + (length or len(header)).to_bytes(4, 'little')
    with zipfile.ZipFile(path, 'w', kind) as archive:
        archive.writestr('images.npy', start + header + bytes(size))


@pytest.mark.parametrize('write, arguments, message', [
    (lambda path: None, [], 'does not exist'),
    (lambda path: path.write_bytes(b'no archive'), [], 'not a whole .npz'),
    (lambda path: np.savez(path, pictures=np.zeros(3)), [], 'images'),
    (lambda path: np.savez(path, images=np.zeros([300, 20, 24, 3], np.uint8)), [], '28x28x1'),
    (lambda path: np.savez(path, images=np.zeros([300, 28, 28, 1], np.float32)), [], 'uint8'),
    (lambda path: np.savez(path, images=np.zeros([300, 28, 28, 1], np.uint8)), ['--count', 301], '300 images'),
    (lambda path: np.savez(path, images=np.zeros([300, 28, 28, 1], np.uint8)), ['--count', 64], 'too small'),
    (lambda path: np.savez(path, images=np.zeros([16, 28, 28, 1], np.uint8)), [], 'too few for a covariance of 64 features'),
    (lambda path: np.savez(path, images=np.zeros([300, 28, 28, 1], np.uint8)), ['--dataset', 'minst'], 'minst'),
    (lambda path: path.mkdir(), [], 'not a run folder'),
    (lambda path: path.mkdir(), ['--best'], 'not a run folder'), (lambda path: path.touch(), ['--best'], 'leave out --best'),
    (lambda path: path.touch(), ['--seed', '4'], 'leave out --seed'),
    *((lambda path: None, [f'--count={text}'], 'the count is a whole number from 1 to') for text in ('-5', '0', '9' * 30)),
    *((lambda path: None, [f'--seed={text}'], 'the seed is a whole number from 0 to') for text in ('-1', '2147483648')),
    (lambda path: os.mkfifo(path), [], 'is no file'), (lambda path: path.touch(), [], 'not a whole .npz'),
    (lambda path: path.write_bytes(saved()[:-30]), [], 'not a whole .npz'),
    (lambda path: np.savez(path, **{f'a{n}': np.zeros(1) for n in range(2000)}), [], 'the directory of the archive has'),
    (lambda path: path.write_bytes(saved().replace(b'\x93NUMPY', b'\x93NUMPI')), [], 'not a whole .npz'),
    (lambda path: path.write_bytes(saved(images=7).replace(bytes([7] * 50), bytes([8] * 50), 1)), [], 'not a whole .npz'),
    (lambda path: np.savez(path, images=np.array([b'pickled', None], object)), [], 'not object [2]'),
    (lambda path: np.savez(path, images=np.zeros([70, 784], np.uint8)), [], 'not uint8 [70, 784]'),
    (lambda path: np.savez(path, images=np.zeros([70, 28, 28, 2], np.uint8)), [], 'C = 1 or 3'),
    (lambda path: np.savez(path, images=np.zeros([0, 28, 28, 1], np.uint8)), [], 'not uint8 [0, 28, 28, 1]'),
    (lambda path: np.savez(path, images=np.zeros([1, 1, 4097, 1], np.uint8)), [], 'from 1 to 4096'),
    *((lambda path, kind=kind: claim(path, '(70, 28, 28, 1)', kind=kind), [], 'in a way that NumPy does not use')
      for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    (lambda path: claim(path, '(5478275, 28, 28, 1)'), [], '4.0 GiB: save at most 5478274 of them'),
    (lambda path: claim(path, '(2147483648, 4096, 4096, 3)'), [], 'save at most 85 of them'),
    (lambda path: claim(path, '(70, 28, 28, -1)'), [], 'not uint8 [70, 28, 28, -1]'),
    (lambda path: claim(path, '(70, 28, 28, 1)', size=70 * 784 - 1), [], '1 bytes are missing'),
    (lambda path: claim(path, '(70, 28, 28, 1)', size=2**26), [], 'more than its header says'),
    *((lambda path, shape=shape: claim(path, shape), [], 'not a whole .npz')
      for shape in ('(' * 5000, '()' * 9, '70', '"a"', '(1e9,)', '(70, 28, 28, 1), "more": 1', '\\d', '(' + '9' * 5000 + ',)')),
    (lambda path: claim(path, '(70, 28, 28, 1)', length=2**32 - 1), [], 'not a whole .npz'),
    (lambda path: claim(path, '(70, 28, 28, 1)', version=b'\x07\x07'), [], 'not a whole .npz')])
def test_bad_input_is_one_line(tmp_path, monkeypatch, refused, write, arguments, message):
    path = tmp_path / 'samples.npz'
    write(path)
    monkeypatch.setattr(sys, 'argv', ['metrics.py', str(path), '--dataset', 'mnist', '--count', '200',
                                      *map(str, arguments)])
    with refused(message), files.one_line_errors():
        metrics.main()
    assert not (tmp_path / 'nearest.png').exists()


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_an_archive_is_read_as_it_was_saved(save, tmp_path, random):
    """More than a block of it, beside other arrays, in either order of the axes."""
    images = random.integers(0, 256, [300, 150, 160, 3], np.uint8)
    for number, array in enumerate([images, np.asfortranarray(images[:70]), images[:1, :, :, :1]]):
        save(tmp_path / f'{number}.npz', others=np.arange(3), images=array, more=np.array([None]))
        found, labels = archives.read(tmp_path / f'{number}.npz')
        np.testing.assert_array_equal(found, array)
        assert labels is None


def test_what_an_archive_hides_is_not_run(tmp_path):
    """An array of objects is a pickle, which may run anything; it is seen from the header that it is one."""
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'exploded'),)

    np.savez(tmp_path / 'a.npz', images=np.array([Bomb()], object))
    with pytest.raises(files.UserError, match='not object'):
        archives.read(tmp_path / 'a.npz')
    with np.load(tmp_path / 'a.npz', allow_pickle=True) as archive:
        archive['images']
    assert (tmp_path / 'exploded').exists()                                 # it would have


def test_large_pictures_go_through_a_network_a_few_at_a_time(monkeypatch, random):
    images = random.integers(0, 256, [9, 64, 64, 3], np.uint8)
    whole = features.extractor(None, images.shape[-1])(images)[0]
    monkeypatch.setattr(features, 'CHUNK', 2 * 64 * 64 * 3 + 1)
    np.testing.assert_allclose(features.extractor(None, images.shape[-1])(images)[0], whole, atol=1e-5)


def test_more_samples_than_real_pictures_are_not_drawn(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(data, 'load', lambda *name, **options: (np.zeros([80, 28, 28, 1]), None))
    monkeypatch.setattr(evaluation.savedmodel, 'saved', lambda folder, name: folder)
    monkeypatch.setattr(evaluation.savedmodel, 'sampled', lambda folder, best: types.SimpleNamespace(shape=(28, 28, 1)))
    monkeypatch.setattr(evaluation, 'samples', lambda *_: pytest.fail('samples are drawn'))
    monkeypatch.setattr(evaluation.runfolder, 'read', lambda folder: {'settings': {'DATASET': 'mnist'}})
    monkeypatch.setattr(sys, 'argv', ['metrics.py', str(tmp_path), '--count', '2147483647'])
    with refused('mnist has only 80 pictures to stand for real ones: use --count 80 or less'), files.one_line_errors():
        metrics.main()


def test_points_of_the_plane_are_not_measured(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(evaluation.savedmodel, 'saved', lambda folder, name: folder)
    monkeypatch.setattr(evaluation.savedmodel, 'sampled', lambda folder, best: types.SimpleNamespace(shape=(2,)))
    monkeypatch.setattr(evaluation.runfolder, 'read', lambda folder: {'settings': {'DATASET': 'grid'}})
    monkeypatch.setattr(sys, 'argv', ['metrics.py', str(tmp_path)])
    with refused('makes points, not images: there is nothing to compare with grid'), files.one_line_errors():
        metrics.main()


def test_a_class_of_which_there_are_no_samples_is_not_the_worst():
    result = {'classes': ['a', 'b', 'c'], 'model': {'by_class': {'gan_test': [None, 1.0, 1.0]}}}
    assert evaluation.worst_class(result) == 'the worst class is b, 100.0% of its samples right'


def test_a_folder_too_small_to_measure_with_says_so(tmp_path, monkeypatch, refused):
    """Whatever the count, there is none that would do."""
    counts = {'train': 270, 'test': 30}
    monkeypatch.setattr(data, 'load', lambda name, split='train', **options: (np.zeros([counts[split], 9, 9, 3]), None))
    monkeypatch.setattr(data, 'full_name', lambda name: name)
    np.savez(tmp_path / 'a.npz', images=np.zeros([100, 9, 9, 3], np.uint8))
    for count in [], ['--count', '65'], ['--count', '30']:
        monkeypatch.setattr(sys, 'argv', ['metrics.py', str(tmp_path / 'a.npz'), '--dataset', 'few', *count])
        with refused('few has only 30 pictures to stand for real ones, and measuring takes 65'), files.one_line_errors():
            metrics.main()


@pytest.mark.slow
def test_command_exits_with_2(tmp_path):
    assert 'does not exist' in failure(tmp_path / 'none.npz', '--dataset', 'mnist')
