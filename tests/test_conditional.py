"""Conditional GANs: their losses and layers by hand, the numbers per class by sets with known faults, labels through commands."""
import importlib
import json
import re

import acgan
import cgan
import cvae
import data
import evaluation
import metrics
import projection_gan
import viz
from benchmarks import controls, parzen
from plumbing import archives, files, judge, measures, networks

import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import evaluate, random, with_variables
from PIL import Image

CONDITIONAL = ['acgan', 'cgan', 'cvae', 'projection_gan']


def softplus(x):
    return np.logaddexp(0, x)


# the papers' formulas

def test_the_losses_of_cgan_and_projection_are_the_papers(fresh_graph):
    real, fake = random(50, 1, seed=1), random(50, 1, seed=2)
    d_loss, g_loss = evaluate(cgan.losses(tf.constant(real), tf.constant(fake)))
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    assert d_loss == pytest.approx(-np.log(p).mean() - np.log(1 - q).mean(), rel=1e-5)
    assert g_loss == pytest.approx(-np.log(q).mean(), rel=1e-5)
    d_loss, g_loss = evaluate(projection_gan.losses(tf.constant(real), tf.constant(fake)))
    assert d_loss == pytest.approx(np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(), rel=1e-5)
    assert g_loss == pytest.approx(-fake.mean(), rel=1e-5)


def test_the_losses_of_acgan_are_those_of_the_source_and_of_the_class(fresh_graph):
    real, fake, real_c, fake_c = random(9, 1, seed=1), random(9, 1, seed=2), random(9, 4, seed=3), random(9, 4, seed=4)
    labels = np.arange(9) % 4
    found = evaluate(acgan.losses((tf.constant(real), tf.constant(real_c)), (tf.constant(fake), tf.constant(fake_c)),
                                  tf.constant(np.eye(4, dtype=np.float32)[labels])))

    def wrong(logits):
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return -np.log(p[np.arange(9), labels]).mean()

    d_loss = softplus(-real).mean() + softplus(fake).mean()
    np.testing.assert_allclose(found, [d_loss, softplus(-fake).mean(), wrong(real_c) + wrong(fake_c), wrong(fake_c)], rtol=1e-5)


def test_the_projection_is_linear_in_y_with_a_vector_for_each_class(fresh_graph, monkeypatch):
    """D(x, y) - D(x, 0) = V[y] . phi(x): for three classes the differences add up as those of their vectors."""
    monkeypatch.setattr(projection_gan, 'WIDTH', 2)
    monkeypatch.setattr(projection_gan, 'HIDDEN', 8)
    x = tf.constant(random(4, 28, 28, 1))

    def scores(y):
        return projection_gan.discriminator(x, tf.constant(np.tile(np.float32(y), [4, 1])), training=False)

    first, second, both, none = evaluate([scores(y) for y in ([1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0])])
    np.testing.assert_allclose(first + second - none, both, rtol=1e-4, atol=1e-5)
    assert np.ptp(first - second) > 1e-4                    # it is of the picture, not a number for each class


def test_the_discriminator_of_cgan_is_told_the_class(build):
    built = build('cgan')
    x = tf.constant(random(3, 28, 28, 1))
    first, second = (cgan.discriminator(x, tf.one_hot(labels, 10), training=False) for labels in ([0, 1, 2], [1, 1, 2]))
    with built.session() as session:
        first, second = session.run([first, second])
    assert abs(first[0] - second[0]) > 1e-5 and (first[1:] == second[1:]).all()


def test_a_class_has_a_scale_and_an_offset_of_its_own(fresh_graph):
    h, y = random(6, 3, 3, 2), np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]
    with tf.variable_scope('a', reuse=tf.AUTO_REUSE):
        hidden = projection_gan.hidden(tf.constant(h), tf.constant(y), True, 'norm')
    variables = {v.op.name: v for v in tf.trainable_variables()}
    scale, offset = random(3, 2, seed=1), random(3, 2, seed=2)
    assert {name: v.shape.as_list() for name, v in variables.items()} == {'a/norm/scale': [3, 2], 'a/norm/offset': [3, 2]}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(hidden)
        session.run([variables['a/norm/scale'].assign(scale), variables['a/norm/offset'].assign(offset)])
        after = session.run(hidden)
    normal = (h - h.mean((0, 1, 2))) / np.sqrt(h.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(before, np.maximum(normal, 0), atol=1e-4)
    chosen = (y @ scale)[:, None, None], (y @ offset)[:, None, None]
    np.testing.assert_allclose(after, np.maximum(normal * chosen[0] + chosen[1], 0), atol=1e-4)


def test_the_elbo_of_cvae_is_that_of_numpy(fresh_graph, monkeypatch):
    monkeypatch.setattr(cvae, 'HIDDEN', (5, 4))
    monkeypatch.setattr(cvae, 'Z_DIM', 3)
    x, y, e = (random(6, 28, 28, 1) > 0).astype('f'), np.eye(2, dtype='f')[np.arange(6) % 2], random(6, 3, seed=1)
    found, w = with_variables(cvae.elbo(tf.constant(x), tf.constant(y), tf.constant(e)))

    def dense(h, name):
        return h @ w[f'{name}/weights'] + w[f'{name}/bias']

    h = np.concatenate([x.reshape(6, -1), y], 1)
    for layer in 'encoder/dense1', 'encoder/dense2':
        h = np.maximum(dense(h, layer), 0)
    m, log_var = dense(h, 'encoder/m'), dense(h, 'encoder/log_var')
    h = np.concatenate([m + np.exp(log_var / 2) * e, y], 1)
    for layer in 'decoder/dense1', 'decoder/dense2':
        h = np.maximum(dense(h, layer), 0)
    p = 1 / (1 + np.exp(-dense(h, 'decoder/pixels')))
    bits = x.reshape(6, -1)
    expected = (bits * np.log(p) + (1 - bits) * np.log(1 - p)).sum(1)
    expected -= (np.exp(log_var) - 1 - log_var + m ** 2).sum(1) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', CONDITIONAL)
def test_another_label_gives_another_picture(name, build):
    built = build(name)
    generator = built.given['networks']['generator']
    z, label = tf.constant(random(3, built.script.Z_DIM)), tf.placeholder(tf.int32, [3])
    images = generator.apply([z, label])
    with built.session() as session:
        for _ in range(3):  # the scales of projection_gan's classes begin alike
            session.run(built.given['updates'])
        first, again, second = (session.run(images, {label: labels}) for labels in ([0, 1, 2], [0, 1, 2], [1, 1, 9]))
    np.testing.assert_array_equal(first, again)
    changed = np.abs(first - second).reshape(3, -1).max(1)
    assert changed[0] > 1e-4 and changed[1] == 0 and changed[2] > 1e-4
    assert generator.inputs['label'] == networks.label(10)


@pytest.mark.parametrize('name', CONDITIONAL)
def test_a_set_without_classes_is_refused_in_one_line(name, tmp_path, fresh_graph, monkeypatch):
    for number in range(12):
        Image.new('L', [28, 28], number).save(tmp_path / f'{number}.png')
    script = importlib.import_module(name)
    monkeypatch.setattr(script, 'DATASET', str(tmp_path))
    with pytest.raises(files.UserError, match='has no classes: it takes two subfolders or more'):
        script.main()


# folders

def zoo(folder, **counts):
    for value, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full([28, 28], 100 * value + number % 50, np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{number}.png')
    return str(folder)


def test_a_class_needs_two_pictures_to_train_with(tmp_path):
    with pytest.raises(files.UserError, match="^the class 'owls' of .* has [01] of its 1 pictures to train with .* takes 2: add"):
        data.class_names(zoo(tmp_path / 'a', cats=30, owls=1), 28, 1, needed=True)
    assert data.class_names(str(tmp_path / 'a'), 28, 1) == ('cats', 'owls')      # for who does not need them
    assert data.class_names(zoo(tmp_path / 'b', cats=30, owls=9), 28, 1, needed=True) == ('cats', 'owls')
    zoo(tmp_path / 'c', cats=30, owls=9)
    Image.new('L', [28, 28]).save(tmp_path / 'c/stray.png')
    with pytest.raises(files.UserError, match=r'c has no classes: a picture \(stray.png\) is beside its subfolders: move'):
        data.class_names(str(tmp_path / 'c'), 28, 1, needed=True)
    with pytest.raises(files.UserError, match='channels must be 1 or 3'):
        data.class_names(str(tmp_path / 'b'), 28, 2, needed=True)


# the judge

def bars(count, classes=3, channels=1, seed=0):
    """Pictures with one bright bar, whose place is the class, and noise: uint8 [count, 28, 28, channels], labels [count]."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = generator.integers(0, 60, [count, 28, 28, channels], np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[4 + 8 * label:8 + 8 * label, 4:24] += 150
    return images, labels


@pytest.mark.slow
@pytest.mark.parametrize('channels', [1, 3])
def test_a_judge_learns_what_can_be_learned_and_no_more(channels, monkeypatch):
    monkeypatch.setattr(judge, 'UPDATES', 120)
    images, labels = bars(600, channels=channels)
    test, test_labels = bars(90, channels=channels, seed=1)
    found = judge.trained(images, labels, 3)
    assert (found(test) == test_labels).mean() == 1 and found(test).shape == (90,)
    again = judge.trained(images, labels, 3)
    np.testing.assert_allclose(*(j.weights()['dense1/w'] for j in (found, again)), atol=1e-2)
    shuffled = judge.trained(images, np.random.default_rng(0).permutation(labels), 3)
    assert (shuffled(test) == test_labels).mean() < 0.8


@pytest.mark.slow
def test_what_a_judge_has_learned_is_kept_and_a_damaged_copy_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(judge, 'KEPT', 90)
    monkeypatch.setattr(judge, 'EPOCHS', 1)
    monkeypatch.setattr(judge, 'UPDATES', 5)
    images, labels = bars(90)
    trained, calls = judge.trained, []
    monkeypatch.setattr(judge, 'trained', lambda *given: calls.append(1) or trained(*given))
    first = judge.trained_once(images, labels, 3)
    second = judge.trained_once(images, labels, 3)
    assert len(calls) == 1
    for name, value in first.weights().items():
        np.testing.assert_array_equal(second.weights()[name], value)
    kept, = tmp_path.rglob('judges/*.npz')
    whole = kept.read_bytes()
    for damaged in whole[:len(whole) // 2], whole[:5000] + b'x' * 100 + whole[5100:], b'':
        kept.write_bytes(damaged)
        third = judge.trained_once(images, labels, 3)
        np.testing.assert_array_equal(third(images), first(images))
    assert len(calls) == 4 and kept.read_bytes()[:2] == b'PK'
    judge.trained_once(images, labels[::-1].copy(), 3)
    assert len(calls) == 5                                  # other labels, another judge
    judge.trained_once(images[1:], labels[1:], 3)
    assert len(calls) == 6 and len(list(tmp_path.rglob('judges/*'))) == 2       # too few to be kept
    monkeypatch.setattr(judge.cache, 'path', lambda name: tmp_path / 'file')
    (tmp_path / 'file').write_text('in the way')
    assert judge.trained_once(images, labels, 3)(images[:2]).shape == (2,)


def test_the_row_of_a_class_by_hand():
    reference = np.random.default_rng(0).normal(size=[90, 4])
    labels, asked = np.arange(90) % 3, np.repeat([0, 1, 2], [40, 40, 3])
    found = np.random.default_rng(1).normal(size=[83, 4])
    answers = asked.copy()
    answers[:10], answers[40:42] = 1, 2                     # of class 0 ten are taken for 1, of class 1 two for 2
    row = judge.row(reference, labels, found, asked, answers, 3, accuracy=0.5)
    assert judge.confusions(asked, answers, 3).tolist() == [[30, 10, 0], [0, 38, 2], [0, 0, 3]]
    assert row['gan_test'] == pytest.approx(71 / 83) and row['gan_test_worst'] == 0.75 and row['gan_train'] == 0.5
    assert row['by_class']['gan_test'] == pytest.approx([0.75, 0.95, 1])
    within = [measures.frechet_distance(reference[labels == c], found[asked == c][:30]) for c in (0, 1)]
    assert row['by_class']['class_frechet'] == [*map(pytest.approx, within), None]   # three pictures have no covariance
    fewer = judge.row(reference, labels, found, asked, answers, 3, most=np.array([20, 30, 30]))['by_class']['class_frechet']
    assert fewer[0] == pytest.approx(measures.frechet_distance(reference[labels == 0][:20], found[:20]))
    assert fewer[1:] == [within[1], None]
    assert row['class_frechet'] == pytest.approx(np.mean(within)) and row['class_frechet_worst'] == pytest.approx(max(within))
    few = judge.row(reference[:6], labels[:6], found[:6], asked[:6], answers[:6], 3)
    assert 'class_frechet' not in few and few['by_class']['gan_test'][1:] == [None, None] and 'gan_train' not in few
    json.dumps(row)


# what each number sees

COUNT = 2000


@pytest.fixture(scope='module')
def found():
    """{fault: numbers} of the controls, as a run is measured while it trains, and of the real pictures."""
    try:
        test, labels = data.load('mnist', 'test')
    except files.UserError as error:
        pytest.skip(str(error))
    watch, every = evaluation.Watch('mnist', COUNT, classes=10), controls.controls_by_class('mnist', 10 * COUNT // 2)
    every['real'] = measures.subset(test, len(test)), measures.subset(labels, len(test)).astype(int)
    numbers = {}
    for name, (images, asked) in every.items():
        order = np.concatenate([np.flatnonzero(asked == c)[:(watch.labels == c).sum()] for c in range(10)])
        place = np.argsort(np.argsort(watch.labels, kind='stable'), kind='stable')
        numbers[name] = watch(images[order[place]]) if len(order) == COUNT else None
    return {name: row for name, row in numbers.items() if row}


@pytest.mark.slow
def test_each_fault_is_seen_by_the_number_that_is_there_for_it(found):
    real = found['real']
    assert real['gan_test'] > 0.99 and real['gan_test_worst'] > 0.97
    shuffled, copied, noise = found['labels shuffled'], found['class 3 copied'], found['noise for 3']
    assert shuffled['gan_test'] < 0.2 and abs(shuffled[f'frechet_{COUNT}'] - real[f'frechet_{COUNT}']) < 0.05
    assert found['class 8 shown for 3']['gan_test_worst'] < 0.05 and found['class 8 shown for 3']['gan_test'] > 0.85
    assert copied['gan_test_worst'] > 0.97 and copied['class_frechet_worst'] > 5 * real['class_frechet_worst']
    assert noise['gan_test_worst'] < 0.9 and noise['class_frechet_worst'] > 5 * real['class_frechet_worst']
    swapped = found['classes 3 and 8 exchanged']
    assert swapped['gan_test_worst'] < 0.05 and 0.75 < swapped['gan_test'] < 0.85


@pytest.mark.slow
def test_a_dead_class_is_in_the_columns_that_are_reported(found):
    watch = evaluation.Watch('mnist', COUNT, classes=10)
    assert watch.columns == [f'frechet_{COUNT}', 'gan_test', 'gan_test_worst', 'class_frechet_worst']
    np.testing.assert_array_equal(watch.labels, measures.subset(data.load('mnist')[1], COUNT))
    assert set(found['real']) == set(watch.columns)
    test, labels = data.load('mnist', 'test')
    order = np.argsort(labels, kind='stable')
    samples = test[order[np.searchsorted(labels[order], watch.labels) + np.arange(COUNT) % 800]]    # of each class as asked
    alive = watch(samples)
    samples[watch.labels == 4] = 0                          # a class of black pictures
    dead = watch(samples)
    assert alive['gan_test_worst'] > 0.95 and dead['gan_test_worst'] == 0 and 0.85 < dead['gan_test'] < 0.92
    assert dead['class_frechet_worst'] > 10 > alive['class_frechet_worst']
    assert evaluation.Watch('mnist', COUNT).columns == [f'frechet_{COUNT}'] and evaluation.Watch('mnist', COUNT).labels is None
    assert evaluation.Watch('mnist', COUNT, classes=7).labels is None      # codes of a network's own, not the set's classes


def test_classes_that_are_too_small_in_other_pictures_leave_a_number_out(monkeypatch):
    """70 training pictures of each class are enough for a covariance of 64 features, 60 test pictures are not."""
    def load(name, split='train', **options):
        number = np.arange(600)
        return random(600, 28, 28, 1).astype(np.uint8), number % 10 if split == 'test' else np.minimum(number // 70, 9)

    monkeypatch.setattr(data, 'load', load)
    watch = evaluation.Watch('mnist', 600, (28, 28, 1), classes=10)
    assert 'class_frechet_worst' in watch.columns
    assert set(watch.real()) == {'frechet_600', 'gan_test', 'gan_test_worst'}


@pytest.mark.slow
def test_a_folder_is_measured_with_a_judge_of_its_own(tmp_path, monkeypatch, capsys):
    """Held-out pictures as the samples are as good as real; the archive carries the labels, and the picture is drawn."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    images, labels = bars(1000)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / f'set/class{label}').mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(tmp_path / f'set/class{label}/{number}.png')
    test, test_labels = data.load(str(tmp_path / 'set'), 'test', 28, 1)
    np.savez(tmp_path / 'samples.npz', images=test, labels=test_labels)
    arguments = [str(tmp_path / 'samples.npz'), '--dataset', str(tmp_path / 'set'), '--count', '100', '--json']
    monkeypatch.setattr('sys.argv', ['metrics.py', *arguments])
    capsys.readouterr()
    metrics.main()
    result = json.loads(capsys.readouterr().out)
    assert result['classes'] == ['class0', 'class1', 'class2'] and result['model']['gan_test'] == 1
    assert result['real']['gan_test'] == 1 and result['model']['gan_train'] > 0.95 and (tmp_path / 'confusions.png').exists()
    assert 'the worst class is class' in metrics.table(result)
    np.savez(tmp_path / 'samples.npz', images=test, labels=(test_labels + 1) % 3)
    metrics.main()
    result = json.loads(capsys.readouterr().out)
    assert result['model']['gan_test'] == 0 and result['model']['gan_train'] < 0.05
    assert result['model']['confusions'] == np.roll(np.diag(np.bincount(test_labels.astype(int))), 1, 0).tolist()


@pytest.mark.parametrize('labels, complaint', [
    (np.zeros(69, int), 'labels must be whole numbers [70], one for each image, not int64 [69]'),
    (np.zeros(70), 'not float64'),
    (np.zeros([70, 1], int), 'not int64 [70, 1]'), (np.full(70, -1), 'labels must be from 0 to 65535, not from -1 to -1'),
    (np.full(70, 2**16), 'not from 65536 to 65536'), (np.zeros(0, int), 'not int64 [0]')])
def test_labels_that_do_not_fit_are_one_line(labels, complaint, tmp_path):
    np.savez(tmp_path / 'a.npz', images=np.zeros([70, 28, 28, 1], np.uint8), labels=labels)
    with pytest.raises(files.UserError, match=re.escape(complaint)):
        archives.read(tmp_path / 'a.npz')


@pytest.mark.slow
def test_a_folder_with_hardly_enough_pictures_of_a_class(tmp_path, monkeypatch):
    """Of one class the reference has more than the 64 that a covariance takes, and the test pictures have not."""
    images, labels = bars(1140, classes=2)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / f'set/{label}$').mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(tmp_path / f'set/{label}$/{number}.png')
    (train, train_labels), (test, test_labels) = (data.load(str(tmp_path / 'set'), split, 28, 1) for split in ('train', 'test'))
    reference = measures.subset(train_labels, len(test))
    shown = np.concatenate([np.flatnonzero(train_labels == c)[:(reference == c).sum()] for c in range(2)])
    result = evaluation.measure(train[shown], str(tmp_path / 'set'), len(test), train_labels[shown].astype(int), tmp_path)
    both = [name for name in ('class_frechet', 'class_frechet_worst') if name in result['model']]
    assert all(name in result['real'] and name in result['ratio'] for name in both) and 'gan_train' in result['ratio']
    assert (tmp_path / 'confusions.png').exists() and metrics.table(result)


def test_confusions_of_many_classes_and_odd_names(tmp_path):
    viz.confusions(tmp_path / 'a.png', np.eye(3, dtype=int), ['$x', 'a\nb', '猫'])
    viz.confusions(tmp_path / 'b.png', np.eye(60, dtype=int), [str(n) for n in range(60)])
    assert all(Image.open(tmp_path / name).size[0] > 300 for name in ('a.png', 'b.png'))


def test_labels_that_the_set_does_not_have_are_refused():
    images = np.zeros([70, 28, 28, 1], np.uint8)
    with pytest.raises(files.UserError, match='labels from 10 to 10, but mnist has 10 classes: give the data set'):
        evaluation.measure(images, 'mnist', 70, np.full(70, 10))


# Parzen windows

def test_the_parzen_window_is_scipys_mixture():
    samples, pictures = random(30, 5) / 5, random(450, 5, seed=1) / 5
    for width in 0.1, 0.7:
        expected = np.log(np.mean([scipy.stats.multivariate_normal(s, width ** 2 * np.eye(5)).pdf(pictures) for s in samples], 0))
        np.testing.assert_allclose(parzen.log_likelihoods(pictures, samples, width), expected, rtol=1e-4, atol=1e-6)
    sums = [parzen.log_likelihoods(pictures, samples, width).sum() for width in parzen.WIDTHS]
    assert parzen.best_width(pictures, samples) == parzen.WIDTHS[np.argmax(sums)]
    far = parzen.log_likelihoods(np.full([1, 784], 1.0), np.zeros([1, 784]), 0.1)
    assert far[0] == pytest.approx(-784 / (2 * 0.01) - 392 * np.log(2 * np.pi * 0.01))
