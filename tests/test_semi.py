"""Semi-supervised GANs: the formulas of semi_gan.py by hand, who learns from what, and folders of which little has a label."""
import importlib
import re
import shutil

import data
import evaluation
import run
import semi_gan
import viz
from benchmarks import cells, semi
from plumbing import cluster, files, folders, jobs

import drive
import forkserver
import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import evaluate, random
from PIL import Image
from test_folders import again, folder_of, painted

pytestmark = pytest.mark.usefixtures('fresh_graph')
COLOURS = {'ant': (4, 5, 6), 'bee': (1, 2, 3), 'cow': (9, 9, 9)}


# the GAN

def test_a_fake_is_a_class_whose_logit_is_0():
    """p(y <= K | x) of a softmax with K + 1 logits, the last one 0, in NumPy."""
    logits = 4 * random(6, 10)
    p = np.exp(np.pad(logits, [(0, 0), (0, 1)]))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(evaluate(tf.sigmoid(semi_gan.source(tf.constant(logits)))), p[:, :-1].sum(1), rtol=1e-5)


WEIGHTED = {'UNLABELLED': 0.7, 'INVARIANCE': 1e3, 'TURN': 0.2}


def classifies(s):
    """What D minimizes according to the scripts' comments, with the weights of WEIGHTED."""
    return s['class_loss'] + 0.7 * (s['d_loss'] - 1e3 * s['I_turned'])


@pytest.mark.parametrize('name, constants, number, network, loss', [
    ('semi_gan', {}, 0, 'generator', lambda s: s['g_loss']),
    ('semi_gan', {'NETWORKS': 'conv', 'TURN': 0.2, 'INVARIANCE': 1.0}, 0, 'generator', lambda s: s['g_loss']),
    ('semi_gan', WEIGHTED, 0, 'discriminator', classifies),
    ('sgan', WEIGHTED, 0, 'discriminator', classifies),
    ('catgan', WEIGHTED, 0, 'discriminator', classifies),
    ('catgan', {'LABELS': 0, 'INVARIANCE': 1e3}, 0, 'discriminator', lambda s: s['d_loss'] - 1e3 * s['I_turned']),
    ('acgan', {'CLASS_WEIGHT': 0.7}, 0, 'discriminator', lambda s: s['d_loss'] + 0.7 * s['class_loss']),
    ('acgan', {'CLASS_WEIGHT': 0.7}, 1, 'generator', lambda s: s['g_loss'] + 0.7 * s['class_loss']),  # real pictures' is not of G
    ('cluster_aae', {'WAIT': 0.0, 'INVARIANCE': 1e3}, 2, 'encoder', lambda s: s['e_loss'] - 1e3 * s['I_turned'])])
def test_who_learns_from_what(name, constants, number, network, loss, build):
    """Adam's first moment after an update is its share of the gradient of this loss, through the weights as they were."""
    built = build(name, **constants)
    update = built.given['updates'][number]
    weights = tf.trainable_variables(f'{network}/')
    gradients = tf.gradients(loss(built.given['scalars']), weights)
    gradients = [pair for pair in zip(gradients, weights, strict=True) if pair[0] is not None]
    slots = {v.op.name: v for v in tf.global_variables() if re.search('/Adam(_[0-9])?$', v.op.name)}
    beta1 = importlib.import_module(name).BETA1
    with built.session() as session:
        expected = session.run([gradient for gradient, _ in gradients])
    with built.session() as session:                          # it draws the same
        session.run(update)
        for gradient, (_, w) in zip(expected, gradients, strict=True):
            near = {slot: np.abs(moment - (1 - beta1) * gradient).max()
                    for slot, moment in session.run({k: v for k, v in slots.items() if f'{w.op.name}/Adam' in k}).items()}
            assert min(near.values()) <= 1e-7 + 1e-3 * np.abs(gradient).max(), (w.op.name, near)


@pytest.mark.parametrize('name, constants, number', [
    ('semi_gan', {'LEARNING_RATE': 1e-3, 'NOISE': 0.1, 'HIDDEN_NOISE': 0.1}, 0),
    ('sgan', {'D_LEARNING_RATE': 4e-3, 'WIDTH': 16, 'TURN': 0.0}, 0), ('catgan', {'WIDTH': 16, 'TURN': 0.0}, 0),
    ('cluster_aae', {'LABELS': 20}, 3)])
def test_labels_are_those_of_their_pictures(name, constants, number, build):
    """Each class has a bar of its own, and is soon known. With the labels of others, equal pictures differ in theirs."""
    built = build(name, **constants)
    with built.session() as session:
        for _ in range(200):
            session.run(built.given['updates'][number])
        found = np.mean([session.run(built.given['scalars']['class_loss']) for _ in range(5)])
    assert found < 0.4 < np.log(2)


@pytest.mark.parametrize('weight, same', [(0.0, True), (0.5, False)])
def test_the_baseline_learns_from_its_labelled_pictures_alone(weight, same, build, monkeypatch):
    """Other pictures without a label: D is the same after two steps, or another."""
    few, load, found = data.few_labels(drive.load('mnist')[1], 20, 0), drive.load, []
    for shade in 0, 200:
        def shaded(*given, shade=shade, **more):
            images, labels = load(*given, **more)
            images = images.copy()
            images[[i for i in range(len(images)) if i not in few]] = shade
            return images, labels

        monkeypatch.setattr(drive, 'load', shaded)
        with tf.Graph().as_default():
            built = build('semi_gan', UNLABELLED=weight)
            with built.session() as session:
                for _ in range(2):
                    session.run(built.given['updates'])
                found.append(session.run(tf.trainable_variables('discriminator/')))
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True)) == same


@pytest.mark.parametrize('networks', ['dense', 'conv'])
def test_noise_is_for_training_alone(networks, build):
    """The classifier that is measured and exported says the same twice; D in training does not."""
    built = build('semi_gan', NETWORKS=networks)
    x = tf.constant(random(3, 28, 28, 1))
    noisy, _ = semi_gan.discriminator(x, classes=10, training=True)
    with tf.variable_scope('sampling'):
        p = built.given['networks']['classifier'].apply([x])
    with built.session() as session:
        session.run(tf.global_variables_initializer())
        one, other = session.run(p), session.run(p)
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one.sum(1), 1, rtol=1e-5)
        assert not np.array_equal(session.run(noisy), session.run(noisy))


# labelled.png

def test_the_labelled_pictures_are_shown_class_by_class():
    """A row for each class, in whatever order chance had drawn them."""
    labels = np.random.default_rng(0).integers(0, 3, 60)
    images = np.full([60, 8, 8, 1], 1, np.uint8) * (50 + 50 * labels[:, None, None, None]).astype(np.uint8)
    few = data.few_labels(labels, 12, 0)
    picture = viz.by_class(images[few], ['a', 'b', 'c'])
    rows = picture[:, -4 * 2 * 10 + 4:][8::20, 4::20]           # pixels are doubled, and 2 more between pictures
    assert rows.tolist() == [[50] * 4, [100] * 4, [150] * 4]
    many = viz.by_class(images[data.few_labels(labels, 45, 0)], ['a', 'b', 'c'])
    assert many.shape[1] == picture.shape[1] + 6 * 2 * 10       # ten of each at most


@pytest.mark.slow
def test_a_run_leaves_its_labelled_pictures(tmp_path):
    command = ['semi_gan', '--g-hidden', '16', '--d-hidden', '16', '--labels', '20', '--batch-size', '8', '--steps', '2',
               '--eval-every', '1', '--eval-count', '80', '--run-dir', tmp_path / 'run']
    status, _, error = forkserver.run(*command)
    assert status == 0, error
    assert np.ptp(iio.imread(tmp_path / 'run/labelled.png')) > 0
    head, *rows = (tmp_path / 'run/scalars.csv').read_text().splitlines()
    assert 'test_error' in head and all(0 <= float(row.split(',')[head.split(',').index('test_error')]) <= 1 for row in rows)
    status, out, error = forkserver.run(*command, '--fresh')
    assert status == 0 and 'labelled.png' in out.split('removes the run', 1)[1]


# folders with pictures without a class

@pytest.fixture
def farm(tmp_path):
    for name, colour in COLOURS.items():
        painted(tmp_path / 'farm' / name, colour, 10)
    painted(tmp_path / 'farm' / folders.UNLABELLED, (200, 0, 0), 7)
    painted(tmp_path / 'farm' / folders.UNLABELLED / 'deep', (0, 200, 0), 4)
    return tmp_path / 'farm'


def test_unlabelled_is_no_class(farm):
    assert data.class_names(str(farm), 8, 3) == tuple(COLOURS) == data.class_names(str(farm), 8, 3, needed=True)


@pytest.mark.parametrize('cached', [False, True])
def test_pictures_without_a_class_are_left_out_where_they_are_not_asked_for(farm, cached, capsys):
    for _ in range(1 + cached):
        again(str(farm), 8, 3)
    for split, count in ('train', 27), ('test', 3):
        images, labels = data.load(str(farm), split, 8, 3)
        assert '11 without a class left out' in capsys.readouterr().out
        assert len(images) == len(labels) == count
        np.testing.assert_array_equal(np.array(list(COLOURS.values()))[labels], images[:, 0, 0])


def test_pictures_without_a_class_are_trained_with_where_they_are(farm, capsys):
    test, test_labels = data.load(str(farm), 'test', 8, 3, unlabelled=True)
    images, labels = data.load(str(farm), 'train', 8, 3, unlabelled=True)
    assert '11 without a class; 38 to train' in capsys.readouterr().out
    assert len(test) == 3 and test_labels.min() >= 0 and len(images) == len(labels) == 38
    assert (labels == -1).sum() == 11 and set(map(tuple, images[labels == -1][:, 0, 0])) == {(200, 0, 0), (0, 200, 0)}
    np.testing.assert_array_equal(np.array(list(COLOURS.values()))[labels[labels >= 0]], images[labels >= 0][:, 0, 0])
    few = data.few_labels(labels, 6, 0)
    assert labels[few].tolist() == [0, 1, 2, 0, 1, 2]


def test_statistics_are_taken_over_what_is_trained_with(farm):
    """Of encoders: over pictures without a class too, where the script asks for few LABELS."""
    settings = {'DATASET': str(farm), 'IMAGE_SIZE': 8, 'CHANNELS': 3}
    encoder = run.network(None, 'codes', images=run.images(8, 3))
    for labels, count in ({}, 27), ({'LABELS': 6}, 38):
        assert len(run._typical({**settings, **labels}, encoder)['images']) == count


@pytest.mark.parametrize('labels', [{}, {'LABELS': 6}])
def test_statistics_are_taken_with_classes_as_often_as_they_are_trained_with(labels, farm):
    painted(farm / 'bee', COLOURS['bee'], 60, start=10)
    settings = {'DATASET': str(farm), 'IMAGE_SIZE': 8, 'CHANNELS': 3, **labels}
    drawn = run._typical(settings, run.network(None, 'images', z=run.normal(2), label=run.label(3)))['label']
    shares = np.bincount(data.load(str(farm), 'train', 8, 3)[1]) / 81
    assert shares[1] > 0.7
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), shares, atol=0.01)


def test_copies_of_pictures_without_a_class_are_found(tmp_path):
    for number, name in enumerate(['a', 'b', folders.UNLABELLED]):
        folder_of(tmp_path / 'set' / name, 360, seed=number)
    images, labels = data.load(str(tmp_path / 'set'), 'train', 8, 3, unlabelled=True)
    for kind in labels < 0, labels >= 0:
        assert evaluation.measure(images[kind], str(tmp_path / 'set'), 70)['model']['copied'] == 1


def test_several_workers_need_a_labelled_picture_for_each_row(monkeypatch):
    monkeypatch.setattr(cluster, 'size', lambda: 2)
    with pytest.raises(files.UserError, match='20 labelled pictures are fewer than the 32 of a step of 2 workers'):
        data.labelled(np.zeros([60, 8, 8, 1], np.uint8), np.arange(60) % 10, 20, 0, 16)


def test_a_subfolder_that_becomes_unlabelled_is_read_again(farm):
    """What was kept of it as a class cannot be taken for what it is now, nor the other way round."""
    (farm / folders.UNLABELLED).rename(farm / 'unlike')
    before = again(str(farm), 8, 3)
    (farm / 'unlike').rename(farm / folders.UNLABELLED)
    after = again(str(farm), 8, 3)
    assert len(before.labels) == len(before.images) == 41 == len(after.images) and len(after.labels) == 30
    assert before.classes == (*COLOURS, 'unlike') and after.classes == tuple(COLOURS)
    assert before.fingerprint != after.fingerprint and 'decoded now' in after.told


def test_one_class_and_unlabelled_are_no_classes(farm):
    for name in 'ant', 'bee':
        (farm / name).rename(farm.parent / name)
    with pytest.raises(files.UserError, match="only 'cow', not counting 'unlabelled'"):
        data.class_names(str(farm), 8, 3, needed=True)
    assert len(data.load(str(farm), size=8, channels=3)[0]) + len(data.load(str(farm), 'test', 8, 3)[0]) == 21


def test_a_folder_without_unlabelled_is_as_it_was(farm):
    """The same order, and the same cache, as before there was such a thing: the permutation of the files, nothing else."""
    shutil.rmtree(farm / folders.UNLABELLED)
    found = again(str(farm), 8, 3)
    names = [name for name, _, _ in folders.find(str(farm))]
    expected = [COLOURS[names[i].partition('/')[0]] for i in np.random.RandomState(0).permutation(len(names))]
    np.testing.assert_array_equal(np.asarray(found.images)[:, 0, 0], expected)


# the table

def test_a_cell_is_a_run_of_its_row_with_its_labels_and_its_split():
    for name, row in semi.ROWS.items():
        arguments = semi.command(name, 50, 2)
        assert arguments[0] == row.script
        for flag, value in {'--labels': '50', '--label-seed': '2', '--seed': '2'}.items():
            assert arguments.count(flag) == 1 and arguments[arguments.index(flag) + 1] == value
    assert semi.command('another row', 50, 2) is None
    assert len(set(map(semi.picture, semi.ROWS))) == len(semi.ROWS)


def test_what_a_run_has_left_becomes_a_cell_and_a_picture(tmp_path):
    run, pictures = tmp_path / 'run', tmp_path / 'semi'
    (run / 'samples').mkdir(parents=True)
    for step in 0, 30:
        Image.new('L', (8, 8), step).save(run / f'samples/step-{step:06d}.png')
    (run / 'scalars.csv').write_text('step,d_loss,test_error\n10,1,0.5\n30,1,0.0123\n')
    done = jobs.Done(0, 'starts\ntrained to step 30 in 12.5 minutes\nfinished\n', '')
    for labels, split, flags, pictured in (100, 0, [], True), (100, 1, [], False), (20, 0, [], False), (
            100, 0, ['--unlabelled', '0'], False):
        shutil.rmtree(pictures, ignore_errors=True)
        found = semi.measured(flags, done, run, ('sgan.py', labels, split), pictures)
        assert found == pytest.approx({'errors': 123, 'minutes': 12.5}) and pictures.exists() == pictured
        assert not pictured or iio.imread(pictures / 'sgan-py.png').max() == 30
    failed = jobs.Done(2, '', 'error: d_loss is nan at step 17; no checkpoint')
    assert semi.measured([], failed, run, ('sgan.py', 100, 0), pictures) == {'failed': 'd_loss is nan at step 17'}


def test_the_table_has_means_over_splits_and_what_was_published_beneath(tmp_path):
    measures = {(100, 0): (90, 30.0), (100, 1): (110, 33.4), (20, 0): (400, 31.0)}
    found = {('semi_gan.py', *cell): {'errors': float(errors), 'minutes': time, 'machine': 'A' if cell[1] else 'B'}
             for cell, (errors, time) in measures.items()}
    lines = semi.table(found, tmp_path / 'semi').splitlines()
    head, _, row, published, *_ = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    assert head == ['', '20', '50', '100', '200', '1,000', 'minutes']
    assert row == ['semi_gan.py', '400 (1)', '–', '100 ± 14 (2)', '–', '–', '33']
    assert published == ['its paper', '1677 ± 452', '221 ± 136', '93 ± 6.5', '90 ± 4.2', '', '']
    assert lines[-2:] == ['', 'B (2 of 3 runs); A (1 of 3 runs).']
    del found['semi_gan.py', 100, 1]
    assert semi.table(found, tmp_path / 'semi').splitlines()[-1] == 'B.'


def test_the_table_goes_between_its_marks_and_nowhere_else(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(f'# A\n\n{semi.BEGIN}\nold\n{semi.CLOSE}\n\n## B\n')
    semi.put(page, 'new')
    assert page.read_text() == f'# A\n\n{semi.BEGIN}\nnew\n{semi.CLOSE}\n\n## B\n'
    page.write_text('# A\n')
    with pytest.raises(files.UserError, match='has no lines'):
        semi.put(page, 'new')


def test_only_what_is_missing_or_has_another_command_is_run(tmp_path, monkeypatch):
    """What is kept stays; a run that fails otherwise than by diverging keeps nothing."""
    store, ran = tmp_path / 'cells.json', []

    def command(name, number):
        return ['none.py', name, str(number)] if name == 'a' else None

    def run(commands, at_once, threads):
        for cell, arguments in commands.items():
            ran.append(cell)
            assert arguments[1:3] == ['a', str(cell[1])] and arguments[-2] == '--run-dir' and (at_once, threads) == (2, 1)
            yield cell, jobs.Done(0, '', '')

    monkeypatch.setattr(cells.jobs, 'run', run)
    for _ in range(2):
        cells.fill(store, [('a', 0), ('a', 1)], command, lambda arguments, done, folder, cell: {'value': float(cell[1])}, 2, dict)
    assert ran == [('a', 0), ('a', 1)]
    known = cells.current(store, command)
    assert known == {('a', i): {'value': float(i), 'command': f'none.py a {i}', 'machine': cells.machine()} for i in range(2)}
    assert cells.machines(known) == cells.machine() and 'TensorFlow' in cells.machine()
    assert cells.machines({('a', 0): {'value': 0.0}}) == 'an unknown machine'      # of a store from before machines were kept
    store.write_text(store.read_text().replace('none.py a 1', 'none.py a 1 --old').replace('a/0', 'b/0'))
    assert cells.current(store, command) == {}
