"""translation.py, pix2pix.py and cyclegan.py: what pictures are made into against SciPy and NumPy, and their networks."""
import json
import pathlib

import cyclegan
import data
import ops
import translation
from plumbing import archives, features, files, folders, measures, savedmodel

import forkserver
import imageio.v3 as iio
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import tensorflow.compat.v1 as tf
from conftest import evaluate, random, scalars, update
from PIL import Image

pytestmark = pytest.mark.usefixtures('fresh_graph')


def pictures(*shape, seed=0):
    """Random pictures in [-1, 1]."""
    return np.tanh(random(*shape, seed=seed))


def test_edges_are_the_dilation_less_the_picture():
    x = pictures(3, 9, 9, 2)
    p = (x + 1) / 2
    expected = 2 * (scipy.ndimage.grey_dilation(p, size=(1, 3, 3, 1), mode='nearest') - p) - 1
    np.testing.assert_allclose(evaluate(translation.edges(tf.constant(x))), expected, atol=1e-6)


def test_an_even_picture_has_no_edges_and_a_dot_a_ring():
    x = np.full([1, 5, 5, 1], -1, 'f')
    ring = x.copy()
    x[0, 2, 2] = 1
    ring[0, 1:4, 1:4] = 1
    ring[0, 2, 2] = -1
    np.testing.assert_array_equal(evaluate(translation.edges(tf.constant(x))), ring)
    np.testing.assert_array_equal(evaluate(translation.edges(tf.fill([1, 4, 4, 1], 0.25))), np.full([1, 4, 4, 1], -1))


def test_a_negative_of_a_negative_is_the_picture():
    x = pictures(2, 4, 4, 3)
    once = translation.negative(tf.constant(x))
    first, again = evaluate([once, translation.negative(once)])
    np.testing.assert_allclose((first + 1) / 2, 1 - (x + 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(again, x)


def test_lines_are_where_the_grey_picture_steps_by_a_quarter_of_white():
    x = np.full([1, 5, 6, 3], -1, 'f')
    x[0, :, 3:, 1] = 0.5                                     # green: 0.75 of white in a channel that counts 0.587
    x[0, :, 1, 2] = 1                                        # blue: white, but it counts 0.114 alone
    found = evaluate(translation.lines(tf.constant(x)))
    np.testing.assert_array_equal(found[0, :, :, 0], np.tile([-1, -1, 1, -1, -1, -1], [5, 1]))


def test_grey_is_pillows():
    """Its luma is rounded to whole numbers."""
    x = np.random.default_rng(0).integers(0, 256, [1, 6, 6, 3], np.uint8)
    found = evaluate(translation.grey(tf.constant(x / np.float32(127.5) - 1)))
    np.testing.assert_allclose((found[0, :, :, 0] + 1) * 127.5, np.asarray(Image.fromarray(x[0]).convert('L')), atol=1)
    once = tf.constant(pictures(1, 3, 3, 1))
    assert translation.grey(once) is once


def test_small_pictures_are_means_of_squares():
    x = pictures(2, 8, 8, 3)
    means = x.reshape(2, 2, 4, 2, 4, 3).mean((2, 4))
    np.testing.assert_allclose(evaluate(translation.small(tf.constant(x))), means.repeat(4, 1).repeat(4, 2), atol=1e-6)


@pytest.mark.parametrize('side, hole', [(28, slice(7, 21)), (9, slice(2, 7))])
def test_the_hole_is_in_the_middle(side, hole):
    x = pictures(2, side, side, 3) + 2
    expected = x.copy()
    expected[:, hole, hole] = 0
    np.testing.assert_array_equal(evaluate(translation.holed(tf.constant(x))), expected)


def test_slanted_is_an_affine_transform_and_back():
    x = np.full([1, 21, 21, 1], -1, 'f')
    x[0, 6:15, 8:13] = pictures(9, 5, 1)
    matrix = [[1, 0], [0.5, 1]]                              # from (r, c) the pixel at (r, c + (r - 10) / 2)
    expected = scipy.ndimage.affine_transform(x[0, :, :, 0], matrix, [0, -5], order=1, cval=-1)
    slanted = translation.slanted(tf.constant(x))
    found, back = evaluate([slanted, translation.slanted(slanted, -translation.SLANT)])
    np.testing.assert_allclose(found[0, :, :, 0], expected, atol=1e-5)
    np.testing.assert_allclose(back[0, ::2], x[0, ::2], atol=1e-5)     # rows that moved by whole pixels


@pytest.mark.parametrize('name', translation.TASKS)
def test_every_task_gives_pictures_in_range(name):
    y = tf.constant(pictures(2, 28, 28, 3))
    x = evaluate(translation.TASKS[name](y))
    assert x.shape[:3] == (2, 28, 28) and x.shape[3] in (1, 3) and np.abs(x).max() <= 1 + 1e-6


@pytest.mark.parametrize('name, dataset, size, channels, complaint', [
    ('colour', 'mnist', 28, 3, 'takes colour pictures'), ('colour', '/', 64, 1, '--channels 3'),
    ('super', 'mnist', 30, 1, 'IMAGE_SIZE must be a multiple of 4')])
def test_tasks_that_do_not_fit_are_refused(name, dataset, size, channels, complaint):
    with pytest.raises(files.UserError, match=complaint):
        translation.task(name, dataset, size, channels)


# networks

@pytest.mark.parametrize('layers, side', [(1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_patch_of_the_papers_side(layers, side):
    """70x70 with three layers (section 6.1.2), and what the authors' code calls 16x16 and 34x34: pixels with a gradient."""
    x = tf.constant(pictures(1, 160, 160, 1))
    with ops.network('discriminator'):
        logits = translation.patchgan(x, 2, layers, lambda h, name, activation: activation(h))
    middle = logits.shape[1] // 2
    gradient = evaluate(tf.gradients(logits[0, middle, middle, 0], x)[0])[0, :, :, 0]
    for axis in 0, 1:
        seen = np.flatnonzero(np.abs(gradient).sum(axis))
        assert seen[-1] - seen[0] + 1 == side


@pytest.mark.parametrize('side', [28, 20, 64, 33, 9])
def test_the_unet_takes_any_size_and_its_short_cuts_lead_past_the_narrow_middle(side):
    x = tf.constant(pictures(2, side, side, 3))
    y = translation.unet(x, 1, 2, False, 0.5)
    assert y.shape.as_list() == [2, side, side, 1]
    names = {v.op.name.split('/')[0] for v in tf.trainable_variables()}
    depth = int(np.ceil(np.log2(side)))
    assert f'down{depth}' in names and f'up{depth}' in names and f'down{depth + 1}' not in names
    with tf.Session() as session:                            # with the middle cut out the picture still gets through
        session.run(tf.global_variables_initializer())
        middle = next(v for v in tf.global_variables() if v.op.name == f'up{depth}/weights')
        before = session.run(y)
        session.run(middle.assign(tf.zeros_like(middle)))
        assert np.abs(session.run(y) - before).max() < 0.1 and before[0].std() > 1e-4


def test_dropout_is_the_noise_of_training_alone():
    x = tf.constant(pictures(4, 16, 16, 1))
    with ops.network('generator'):
        noisy, plain = (translation.unet(x, 1, 4, training, 0.5) for training in (True, False))
    assert len([v for v in tf.global_variables() if v.op.name.endswith('_draws')]) == 3
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert not np.array_equal(session.run(noisy), session.run(noisy))
        np.testing.assert_array_equal(session.run(plain), session.run(plain))


def test_residual_blocks_add_to_what_comes_in():
    """Blocks whose last norm has the scale 0 change nothing: as many as one likes."""
    x = tf.constant(pictures(2, 12, 12, 1))
    with ops.network('generator'):
        two = translation.resnet(x, 1, 2, 2)
    with ops.network('generator'):
        none = translation.resnet(x, 1, 2, 0)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert np.abs(np.subtract(*session.run([two, none]))).max() > 1e-3
        session.run([v.assign(tf.zeros_like(v)) for v in tf.trainable_variables() if 'b_norm/scale' in v.op.name])
        np.testing.assert_allclose(*session.run([two, none]), atol=1e-6)


@pytest.mark.parametrize('side', [30, 4])
def test_sizes_that_residual_blocks_do_not_take_are_refused(side):
    with pytest.raises(files.UserError, match=f'IMAGE_SIZE must be a multiple of 4, and at least 8, not {side}'):
        translation.resnet(tf.zeros([1, side, side, 1]), 1, 2, 1)


# the pool

def shown_and_pool(count, size, steps):
    """Pictures of the numbers 1, 2, 3, ... through a pool: (those shown in each step [steps, count], what it held after)."""
    counter = tf.get_variable('counter', [], initializer=tf.zeros_initializer(), use_resource=True)
    fake = tf.reshape(counter.read_value() * count + tf.range(1.0, count + 1), [count, 1, 1, 1])
    shown = translation.pooled(fake, 'discriminator', size)
    with ops.network('discriminator'):
        w = tf.get_variable('w', [], initializer=tf.ones_initializer())
    step = update(w * tf.reduce_mean(shown), 'discriminator/')
    pool, = [v for v in tf.global_variables() if v.op.name == 'discriminator/pool/pictures']
    found = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(steps):
            seen, _ = session.run([shown, step])
            found.append((seen.ravel(), session.run(pool).ravel()))
            session.run(counter.assign_add(1.0))
    return [np.array(rows) for rows in zip(*found, strict=True)]


def test_the_pool_fills_first_and_then_exchanges_half():
    shown, pool = shown_and_pool(5, 50, 400)
    fresh = np.arange(1, 2001).reshape(400, 5)
    np.testing.assert_array_equal(shown[:10], fresh[:10])                    # while it fills, each is shown itself
    np.testing.assert_array_equal(np.sort(pool[9]), np.arange(1, 51))
    exchanged = shown[10:] != fresh[10:]
    assert exchanged.mean() == pytest.approx(0.5, abs=0.04)                  # 1,950 throws of a coin: 3.5 standard deviations
    everything = np.concatenate([shown[10:].ravel(), pool[-1]])              # each is shown once or in the pool, and none is lost
    np.testing.assert_array_equal(np.sort(everything), np.arange(1, 2001))
    ages = (fresh - shown)[10:][exchanged] / 5                               # in steps: geometric, 2.5 of 50 leave in each
    assert ages[500:].mean() == pytest.approx(50 / 2.5, rel=0.15)


def test_without_a_pool_the_last_pictures_are_shown():
    fake = tf.zeros([3, 2, 2, 1])
    assert translation.pooled(fake, 'discriminator', 0) is fake and not tf.global_variables()


@pytest.mark.parametrize('size, most', [(28, 4), (8, 2), (16, 3), (32, 4), (64, 5)])
def test_a_discriminator_of_single_pixels_is_refused(size, most, monkeypatch):
    """Instance norm leaves nothing of them: up to the last number that is allowed D's scores depend on the picture."""
    monkeypatch.setattr(cyclegan, 'WIDTH', 4)
    monkeypatch.setattr(cyclegan, 'PATCH_LAYERS', most)
    x = tf.constant(pictures(3, size, size, 1).astype('f'))
    assert np.ptp(evaluate(cyclegan.discriminator(x, 'discriminator')), axis=0).max() > 0
    monkeypatch.setattr(cyclegan, 'PATCH_LAYERS', most + 1)
    monkeypatch.setattr(cyclegan, 'IMAGE_SIZE', size)
    with pytest.raises(files.UserError, match=f'PATCH_LAYERS must be at most {most} for pictures of {size} pixels'):
        cyclegan.main()


def test_a_batch_larger_than_the_pool_is_refused(build):
    with pytest.raises(files.UserError, match='BATCH_SIZE is 8, more than the POOL of 7'):
        build('cyclegan', POOL=7, BATCH_SIZE=8)


# measures

def test_agreement_against_closed_forms():
    truth = pictures(6, 12, 12, 1) / 2
    given = np.concatenate([truth, pictures(6, 12, 12, 1)], 3)
    found = evaluate(translation.agreement(lambda x: x[..., :1] + 0.2, tf.constant(given), tf.constant(truth)))
    assert found['test_l1'] == pytest.approx(0.1, rel=1e-5) and found['test_psnr'] == pytest.approx(20, rel=1e-5)
    assert 0 < found['test_ssim'] < 1
    same = evaluate(translation.agreement(lambda x: x, tf.constant(given), tf.constant(given)))
    assert same['test_l1'] == 0 and same['test_ssim'] == pytest.approx(1, abs=1e-6)
    assert set(translation.agreement(lambda x: x, *[tf.zeros([2, 8, 8, 1])] * 2, 'small')) == {'small_l1', 'small_psnr'}


def ssim(x, y):
    """Wang et al. 2004, equation 13, of pictures [h, w] in [0, 1], over all whole windows: a Gaussian of 1.5 in 11x11."""
    window = np.exp(-np.arange(-5, 6) ** 2 / (2 * 1.5 ** 2))
    window = np.outer(window, window) / window.sum() ** 2

    def mean(z):
        return scipy.signal.correlate2d(z, window, 'valid')
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx ** 2, mean(y * y) - my ** 2, mean(x * y) - mx * my
    a, b = 0.01 ** 2, 0.03 ** 2
    return ((2 * mx * my + a) * (2 * cov + b) / ((mx ** 2 + my ** 2 + a) * (vx + vy + b))).mean()


def test_ssim_is_that_of_the_paper():
    x, y = pictures(3, 16, 16, 1), pictures(3, 16, 16, 1, seed=1)
    y = 0.7 * x + 0.3 * y
    found = evaluate(translation.agreement(lambda x: x, tf.constant(x), tf.constant(y)))['test_ssim']
    x, y = ((pixels[..., 0].astype(float) + 1) / 2 for pixels in (x, y))
    expected = np.mean([ssim(*both) for both in zip(x, y, strict=True)])
    assert found == pytest.approx(expected, rel=1e-3)


# pairs of files

def write(folder, names, seed=0, suffix='.png', size=(8, 8)):
    """Pictures of one colour each, that of their name's place."""
    for number, name in enumerate(names):
        path = pathlib.Path(folder, f'{name}{suffix}')
        path.parent.mkdir(parents=True, exist_ok=True)
        iio.imwrite(path, np.full([*size, 3], 3 * number + seed, np.uint8))


NAMES = [f'{place}/{number}' for place in ('a', 'b') for number in range(30)]


def test_two_folders_are_in_step_every_pair_once_an_epoch(tmp_path):
    write(tmp_path / 'x', NAMES)
    write(tmp_path / 'y', NAMES, seed=70, suffix='.bmp')
    x, y, labels = data.load_pairs(str(tmp_path / 'x'), str(tmp_path / 'y'), size=8)
    test_x, test_y, _ = data.load_pairs(str(tmp_path / 'x'), str(tmp_path / 'y'), 'test', size=8)
    for ours, theirs in (x, y), (test_x, test_y):
        np.testing.assert_array_equal(ours.astype(int) + 70, theirs)
    assert len(x) == len(labels) == 54 and len(test_x) == 6
    assert not set(x[:, 0, 0, 0]) & set(test_x[:, 0, 0, 0])
    a, b = data.batches((x, y), 9)
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for _ in range(2):
            served = [session.run([a, b]) for _ in range(6)]
            for one, other in served:
                np.testing.assert_allclose(other - one, 70 / 127.5, atol=1e-5)
            first = np.concatenate([one[:, 0, 0, 0] for one, _ in served])
            assert len(np.unique(first)) == 54


def test_pairs_read_from_the_disk_are_in_step_too(tmp_path, monkeypatch):
    write(tmp_path / 'x', NAMES)
    write(tmp_path / 'y', NAMES, seed=70)
    monkeypatch.setattr(data, 'IN_MEMORY', 100)
    x, y, _ = data.load_pairs(str(tmp_path / 'x'), str(tmp_path / 'y'), size=8)
    assert not isinstance(x, np.ndarray)
    one, other = evaluate(data.batches((x, y), 9))
    np.testing.assert_allclose(other - one, 70 / 127.5, atol=1e-5)


def test_halves_of_pictures_are_pairs(tmp_path):
    for number in range(10):
        left, right = np.full([8, 9, 3], number, np.uint8), np.full([8, 9, 3], 100 + number, np.uint8)
        iio.imwrite(tmp_path / f'{number}.png', np.concatenate([left, right], 1))
    x, y, _ = data.load_pairs(f'{tmp_path}:left', f'{tmp_path}:right', size=8)
    np.testing.assert_array_equal(x.astype(int) + 100, y)
    assert x.shape == (9, 8, 8, 3) and data.fingerprint(f'{tmp_path}:left', 8, 3) != data.fingerprint(f'{tmp_path}:right', 8, 3)
    write(tmp_path / 'square', 'abc')
    with pytest.raises(files.UserError, match='3 of 3 files .* 8 by 8 pixels are no two halves side by side'):
        data.load(f'{tmp_path}/square:left', size=8, channels=3)


def test_a_folder_may_be_called_like_a_half(tmp_path):
    write(tmp_path / 'x:left', 'abc')
    assert folders.halved(str(tmp_path / 'x:left')) == (str(tmp_path / 'x:left'), '')
    assert folders.halved(str(tmp_path / 'x:right')) == (str(tmp_path / 'x'), ':right')


@pytest.mark.parametrize('ours, theirs, complaint', [
    ('abcd', 'abce', r'd\.png is in .*x alone: each of the 4 files in .*x and the 4 in .*y needs a partner of the same name'),
    ('abc', 'abcd', r'd\.png is in .*y alone')])
def test_a_missing_partner_is_named(ours, theirs, complaint, tmp_path):
    write(tmp_path / 'x', ours)
    write(tmp_path / 'y', theirs)
    with pytest.raises(files.UserError, match=complaint):
        data.load_pairs(str(tmp_path / 'x'), str(tmp_path / 'y'), size=8)


def test_a_broken_file_leaves_no_partner_alone(tmp_path):
    write(tmp_path / 'x', NAMES)
    write(tmp_path / 'y', NAMES)
    (tmp_path / 'y/a/3.png').write_bytes(b'nothing')
    with pytest.raises(files.UserError, match='y: .*1 broken files left out, .*: their partners would be alone'):
        data.load_pairs(str(tmp_path / 'x'), str(tmp_path / 'y'), size=8)


@pytest.mark.parametrize('source, target, complaint', [
    ('{}/x', 'mnist', 'mnist has no files'), ('fashion', '{}/x', 'fashion_mnist has no files'),
    ('{}/x', '{}/x', 'is given twice'), ('{}/x', '{}/none', 'does not exist')])
def test_what_is_no_pair_of_folders_is_refused(source, target, complaint, tmp_path):
    write(tmp_path / 'x', 'abc')
    with pytest.raises(files.UserError, match=complaint):
        data.load_pairs(source.format(tmp_path), target.format(tmp_path), size=8)


# runs

def test_kinds_that_are_shuffled_apart_share_no_picture(monkeypatch):
    images = np.arange(40, dtype=np.uint8).repeat(64).reshape(40, 8, 8, 1)
    monkeypatch.setattr(data, 'load', lambda *given, **more: (images, np.zeros(40, np.uint8)))
    with tf.variable_scope('data'):
        found = translation.unpaired('', 'mnist', 'negative', 8, 1, 10)
    x, y, test_x, test_y = evaluate([found.x, found.y, found.test_x, found.test_y])
    x, y = (np.rint((value[:, 0, 0, 0] + 1) * 127.5) for value in (-x, y))
    assert set(x) <= set(range(1, 40, 2)) and set(y) <= set(range(0, 40, 2)) and len(set(x)) == len(set(y)) == 10
    np.testing.assert_array_equal(test_x, -test_y)


def test_the_way_back_is_read_by_the_classifier():
    """A translator that is right: its accuracy is the classifier's own, and its distance that of as many real pictures."""
    y, labels = data.load('mnist', 'test')
    y = tf.constant(y[:200] / np.float32(127.5) - 1)
    found = translation.Unpaired(-y, y, -y, y, labels[:200], True)
    numbers = evaluate(translation.both_ways(tf.negative, tf.negative, found, 'mnist', 'negative'))
    images = data.load('mnist', 'test')[0][:200]
    x, p = features.features(images, 'mnist')
    reference = features.features(measures.subset(data.load('mnist')[0], 200), 'mnist')[0]
    assert numbers['test_back_accuracy'] == pytest.approx((p.argmax(1) == labels[:200]).mean())
    assert numbers['test_back_frechet'] == pytest.approx(measures.frechet_distance(reference, x), rel=1e-3)
    assert numbers['test_l1'] == numbers['test_back_l1'] == numbers['test_cycle_l1'] == 0


def on_pairs(tmp_path, script, steps):
    return forkserver.run(script, '--source', tmp_path / 'x', '--dataset', tmp_path / 'y', '--image-size', 16, '--channels', 3,
                          '--width', 2, '--batch-size', 4, '--steps', steps, '--run-dir', tmp_path / 'run', driven=False,
                          environment={'XDG_CACHE_HOME': str(tmp_path / 'cache')})


@pytest.mark.slow
@pytest.mark.parametrize('script', ['pix2pix', 'cyclegan'])
def test_two_folders_train_and_what_changes_in_either_is_noticed(script, tmp_path):
    for name, seed in ('x', 0), ('y', 100):
        (tmp_path / name).mkdir()
        for number in range(80):
            noise = 128 + 40 * random(16, 16, 3, seed=seed + number).clip(-3, 3)
            iio.imwrite(tmp_path / f'{name}/{number}.png', np.uint8(noise))
    status, out, error = on_pairs(tmp_path, script, 2)
    assert status == 0, error
    assert '8 test pictures are too few for a Frechet distance' in out
    record = savedmodel.runfolder.read(tmp_path / 'run')['settings']
    assert record['SOURCE'] == str(tmp_path / 'x') and record['SOURCE_PICTURES'] != record['PICTURES']
    images, labels = archives.read(tmp_path / 'run/inputs.npz')
    expected, _ = data.load(str(tmp_path / 'x'), 'test', 16, 3)
    np.testing.assert_array_equal(images, expected)
    assert labels is None
    samples = savedmodel.samples(tmp_path / 'run', 3)
    loaded = savedmodel.Loaded(tmp_path / 'run', 'generator')
    np.testing.assert_array_equal(samples, loaded.draw({'images': expected[:3] / np.float32(127.5) - 1}))
    assert ('inverse' in savedmodel.runfolder.read(tmp_path / 'run')['networks']) == (script == 'cyclegan')
    iio.imwrite(tmp_path / 'x/1.png', np.zeros([16, 16, 3], np.uint8))
    status, _, error = on_pairs(tmp_path, script, 4)
    assert status == 2 and f'the pictures in {tmp_path / "x"} have changed' in error
    iio.imwrite(tmp_path / 'y/1.png', np.zeros([16, 16, 3], np.uint8))
    status, _, error = on_pairs(tmp_path, script, 4)
    assert status == 2 and f'the pictures in {tmp_path / "y"} and {tmp_path / "x"} have changed' in error


@pytest.mark.slow
def test_what_is_translated_is_measured_by_the_classes_of_its_test_pictures(tmp_path):
    """A generator that hands its input on, measured on real pictures: both rows of metrics.json are the same."""
    status, _, error = forkserver.run(
        'pix2pix', '--dataset', 'mnist', '--task', 'negative', '--width', 2, '--batch-size', 4, '--steps', 1, '--eval-every', 1,
        '--eval-count', 300, '--run-dir', tmp_path / 'run', '--weight-average', 0, driven=False,
        bomb='import evaluation, translation; from plumbing import judge; judge.EPOCHS = 1; judge.UPDATES = 5; '
             'evaluation.COUNT["mnist"] = 300; translation.unet = lambda x, *rest: -x + 0 * _w(x)\n'
             'import ops, tensorflow.compat.v1 as tf\n'
             'def _w(x): return ops.conv(x, 1, "down1", stride=1)')
    assert status == 0, error
    found = json.loads((tmp_path / 'run/metrics.json').read_text())
    for name in 'frechet_distance', 'gan_test', 'precision', 'recall':
        assert found['model'][name] == pytest.approx(found['real'][name], rel=1e-3), name
    row = scalars(tmp_path / 'run')[-1]
    assert float(row['gan_test']) > 0.97 and float(row['test_l1']) < 1e-5
