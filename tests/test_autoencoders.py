"""Auto-encoders and the VAE against NumPy, SciPy and scikit-learn; their runs as a user has them."""
import functools
import importlib
import json
import re
import shutil

import autoencoder
import conv_autoencoder
import data
import ops
import retrieval
import sample
import vae
from plumbing import bounds, files, flags, graph, latents, savedmodel

import drive
import forkserver
import imageio.v3 as iio
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import contents, evaluate, random, scalars, weights
from sklearn.decomposition import PCA

pytestmark = pytest.mark.usefixtures('fresh_graph')
SMALLER = {'autoencoder': ['--hidden', '24', '16', '--code-size', '4', '--noise', '0.2'],
           'conv_autoencoder': ['--width', '3', '--code-size', '4'],
           'vae': ['--hidden', '24', '--z-dim', '2', '--eval-count', '200', '--bound-draws', '50', '--bound-pictures', '30']}

# A bomb: Ctrl-C at the tenth example of those that are measured one by one.
STOPPED = '''
import os, signal
from plumbing import bounds, progress
class Bar:
    count = 0
    __enter__ = lambda self: self
    __exit__ = lambda self, *error: None
    def update(self):
        self.count += 1
        if self.count == 10:
            os.kill(os.getpid(), signal.SIGINT)
bar = progress.bar
progress.bar = lambda start, steps, unit='step': Bar() if unit == 'example' else bar(start, steps)
'''


# layers

def numpy_pool(x, size):
    """(maxima, {place of a pooled number: place of its maximum}), window by window."""
    batch, height, width, channels = x.shape
    pooled, places = np.zeros([batch, height // size, width // size, channels], x.dtype), {}
    for b, i, j, c in np.ndindex(*pooled.shape):
        window = x[b, i * size:(i + 1) * size, j * size:(j + 1) * size, c]
        row, column = np.unravel_index(window.argmax(), window.shape)  # the first of equals
        pooled[b, i, j, c] = window.max()
        places[b, i, j, c] = b, i * size + row, j * size + column, c
    return pooled, places


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('size', [2, 3])
def test_pooling_and_both_ways_back_with_their_gradients(size, ties):
    x, y, weight = random(2, 6, 12, 3), random(2, 6 // size, 12 // size, 3, seed=1), random(2, 6, 12, 3, seed=2)
    x = np.rint(x) if ties else x
    pooled, places = numpy_pool(x, size)
    back, pulled, gathered = np.zeros_like(x), np.zeros_like(x), np.zeros_like(y)
    for small, large in places.items():
        back[large], pulled[large], gathered[small] = y[small], y[small], weight[large]
    x_, y_ = tf.constant(x), tf.constant(y)
    maxima, switches = ops.max_pool(x_, size)
    stood, filled = ops.unpool(y_, size, switches), ops.unpool(y_, size)
    gradients = [tf.gradients(maxima, x_, y_)[0], tf.gradients(stood, y_, tf.constant(weight))[0],
                 tf.gradients(filled, y_, tf.constant(weight))[0]]
    found = evaluate([maxima, stood, filled, *gradients])
    sums = weight.reshape(2, 6 // size, size, 12 // size, size, 3).sum((2, 4))
    expected = [pooled, back, np.kron(y, np.ones([1, size, size, 1])), pulled, gathered, sums]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_pooling_and_unpooling_of_an_open_batch():
    x = tf.placeholder(tf.float32, [None, 4, 4, 2])
    y, switches = ops.max_pool(x)
    back = ops.unpool(y, switches=switches)
    assert back.shape.as_list() == [None, 4, 4, 2]
    for count in 1, 5:
        value = random(count, 4, 4, 2)
        largest = value.reshape(count, 2, 2, 2, 2, 2).max((2, 4)).repeat(2, 1).repeat(2, 2)
        np.testing.assert_array_equal(evaluate(back, {x: value}), np.where(value == largest, value, 0))


def test_a_picture_that_the_squares_do_not_fill_is_refused():
    with pytest.raises(AssertionError, match='cut into squares of 2'):
        ops.max_pool(tf.zeros([1, 7, 8, 1]))


# the variational bound

def test_kl_is_that_of_two_gaussians():
    m, log_var = random(5, 3), random(5, 3, seed=1)
    found = evaluate(vae.kl(tf.constant(m), tf.constant(log_var))).sum(1)
    for value, mean, covariance in zip(found, m, map(np.diag, np.exp(log_var)), strict=True):  # of any two, the second N(0, 1)
        exact = (np.trace(covariance) + mean @ mean - 3 - np.linalg.slogdet(covariance)[1]) / 2
        assert value == pytest.approx(exact, rel=1e-5)


def test_kl_by_monte_carlo_and_at_its_minimum():
    m, log_var = random(1, 4), random(1, 4, seed=1)
    q, p = scipy.stats.norm(m, np.exp(log_var / 2)), scipy.stats.norm(0, 1)
    z = q.rvs([200_000, 4], random_state=0)
    draws = (q.logpdf(z) - p.logpdf(z)).sum(1)
    found, least = evaluate([vae.kl(tf.constant(m), tf.constant(log_var)), vae.kl(tf.zeros([1, 4]), tf.zeros([1, 4]))])
    assert abs(found[0].sum() - draws.mean()) < 4 * draws.std() / len(draws) ** 0.5 and not least.any()


def test_log_likelihood_is_bernoulli_and_stays_finite():
    x, logits = (random(3, 28, 28, 1) > 0).astype(np.float32), 5 * random(3, 28, 28, 1, seed=1)
    found, extreme = evaluate([vae.log_likelihood(tf.constant(x), tf.constant(scale * logits)) for scale in (1, 1e4)])
    exact = scipy.stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits.astype(float)))).sum((1, 2, 3))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert np.isfinite(extreme).all()


def test_the_elbo_falls_short_of_log_p_by_the_kl_from_the_posterior(monkeypatch):
    """log p(x) and the posterior of a one-dimensional code by quadrature; the ELBO by many draws."""
    monkeypatch.setattr(vae, 'Z_DIM', 1)
    monkeypatch.setattr(vae, 'HIDDEN', (6,))
    count, grid = 20_000, np.linspace(-9, 9, 4001, dtype=np.float32)
    x = (drive.load('')[0][3:4] > 0).astype(np.float32)
    tf.set_random_seed(4)
    m, log_var = vae.encoder(tf.constant(x))
    on_grid = vae.log_likelihood(tf.tile(tf.constant(x), [len(grid), 1, 1, 1]), vae.decoder(tf.constant(grid[:, None])))
    bound = tf.subtract(*vae.terms(tf.tile(tf.constant(x), [count, 1, 1, 1]), tf.constant(random(count, 1))))
    larger = [variable.assign(2 * variable) for variable in tf.trainable_variables()]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(larger)
        m, log_var, likelihood, bound = session.run([m, log_var, on_grid, bound])
    joint = likelihood + scipy.stats.norm.logpdf(grid)
    log_p = scipy.special.logsumexp(joint) + np.log(grid[1] - grid[0])
    log_q = scipy.stats.norm.logpdf(grid, m[0, 0], np.exp(log_var[0, 0] / 2))
    gap = np.sum(np.exp(log_q) * (log_q - (joint - log_p))) * (grid[1] - grid[0])
    assert gap > 0.01  # else the next line would say little
    assert abs(bound.mean() - (log_p - gap)) < 5 * bound.std() / count ** 0.5 + 1e-3


@pytest.fixture
def small_picture(monkeypatch):
    """(function of e [k, 2] -> bound, its gap, the ELBO by the terms; log p(x) and the ELBO by quadrature) of 6 x 6 pixels.

    The quadrature: trapezoids over the plane of two-dimensional codes, in NumPy, of the decoder's log p(x|z).
    """
    for constant, value in {'Z_DIM': 2, 'HIDDEN': (12,), 'IMAGE_SIZE': 6}.items():
        monkeypatch.setattr(vae, constant, value)
    monkeypatch.setattr(bounds, 'BLOCK', 36 * 700)                 # blocks of 700 draws, and one of what is left
    x, axis = tf.constant((random(1, 6, 6, 1, seed=2) > 0).astype('f')), np.linspace(-7, 7, 351, dtype='f')
    tf.set_random_seed(4)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    on_grid = vae.log_likelihood(tf.tile(x, [len(grid), 1, 1, 1]), vae.decoder(tf.constant(grid)))
    m, log_var = vae.encoder(x)
    scaled = [variable.assign(scale * variable) for scale, network in ((0.5, 'encoder/'), (3, 'decoder/'))
              for variable in tf.trainable_variables(network)]     # a q(z|x) that is wide, and a posterior that is not
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(scaled)
        likelihood, mean, spread = session.run([on_grid, m, log_var])
        log_q = scipy.stats.norm.logpdf(grid, mean, np.exp(spread / 2)).sum(1)
        joint, area = likelihood + scipy.stats.norm.logpdf(grid).sum(1), (axis[1] - axis[0]) ** 2

        @functools.cache
        def built(k):
            e = tf.placeholder(tf.float32, [k, 2])
            by_terms = tf.subtract(*vae.terms(tf.tile(x, [k, 1, 1, 1]), e))
            return e, [*bounds.importance_weighted(x, m, log_var, vae.decoder, e), tf.reduce_mean(by_terms)]

        def found(e):
            placeholder, tensors = built(len(e))
            return session.run(tensors, {placeholder: e})

        yield found, scipy.special.logsumexp(joint) + np.log(area), np.sum(np.exp(log_q) * (joint - log_q)) * area


def test_the_bound_of_many_draws_is_nearly_log_p_and_above_the_elbo(small_picture):
    found, log_p, elbo = small_picture
    assert log_p - elbo > 1                                        # else the next lines would say little
    bound, gap, by_terms = found(random(5000, 2))
    assert bound == pytest.approx(log_p, abs=0.05)
    assert gap == pytest.approx(log_p - elbo, abs=0.2) and by_terms == pytest.approx(elbo, abs=0.2)


def test_with_one_draw_the_bound_is_the_elbo_in_the_mean_and_it_grows_with_the_draws(small_picture):
    found, log_p, elbo = small_picture
    one, five = (np.array([found(random(k, 2, seed=seed))[:2] for seed in range(600)]) for k in (1, 5))
    assert abs(one[:, 0].mean() - elbo) < 4 * one[:, 0].std() / len(one) ** 0.5 and not one[:, 1].any()
    assert one[:, 0].mean() < five[:, 0].mean() < log_p and (five[:, 1] > 0).all()


def test_blocks_of_draws_bound_the_memory_and_leave_the_result(monkeypatch):
    monkeypatch.setattr(vae, 'HIDDEN', (16,))
    x, e = tf.constant((random(1, 28, 28, 1) > 0).astype('f')), tf.constant(random(777, vae.Z_DIM))
    m, log_var = vae.encoder(x)
    found = []
    for rows in 777, 100:
        monkeypatch.setattr(bounds, 'BLOCK', rows * 784)
        before = set(tf.get_default_graph().get_operations())
        found.append(bounds.importance_weighted(x, m, log_var, vae.decoder, e))
        made = [tensor for op in tf.get_default_graph().get_operations() if op not in before for tensor in op.outputs]
        assert max(map(graph._size, made)) == 4 * bounds.BLOCK
    np.testing.assert_allclose(*evaluate(found), rtol=1e-5)


def test_means_over_examples_are_those_of_numpy_in_32_bits():
    examples, w = random(7, 5, 3), random(15, 2, seed=1)

    def function(x, number):
        y = tf.matmul(tf.reshape(x, [1, 15]), tf.get_variable('net/w', [15, 2]))
        return {'both': y[0] ** 2, 'first': y[0, 0], 'number': number}

    found = bounds.means(function, examples, {'net/w': w, 'other': w})
    y = examples.reshape(7, 15) @ w
    assert found['number'] == 3 and not tf.get_default_graph().get_operations()
    np.testing.assert_allclose(found['both'], (y ** 2).mean(0), rtol=1e-6)
    np.testing.assert_allclose(found['first'], y[:, 0].mean(), rtol=1e-5)


def test_the_weight_of_the_penalty_is_in_the_loss_and_not_in_the_elbo(build, monkeypatch):
    seen, terms = [], vae.terms
    monkeypatch.setattr(vae, 'terms', lambda x, e: seen.append(terms(x, e)) or seen[-1])
    built = build('vae', BETA=4.0)
    update, = built.given['updates']
    with built.session() as session:
        (likelihood, penalty), reported = session.run([seen[0], built.given['scalars']])
    assert reported['elbo'] == pytest.approx((likelihood - penalty).mean(), rel=1e-5)
    assert reported['loss'] == pytest.approx((4 * penalty - likelihood).mean(), rel=1e-5)
    assert built.given['scalars']['loss'].op in graph.ancestors(update)
    assert built.given['scalars']['elbo'].op not in graph.ancestors(update)


def test_the_measures_of_one_picture_have_random_numbers_of_its_own(build):
    built = build('vae', BOUND_PICTURES=3)
    assert list(built.given['scalars']) == ['elbo']                # which is the loss, with the sign turned
    examples, function = built.given['finals']
    with built.session() as session:
        pictures, weights = session.run([examples, {v.op.name: v for v in tf.trainable_variables()}])
    assert pictures.shape == (3, 28, 28, 1) and set(np.unique(pictures)) == {0, 1}
    twice = [bounds.means(function, pictures[:1], weights) for _ in range(2)]
    assert all(np.array_equal(twice[0][name], twice[1][name]) for name in ('kl', 'test_bound', 'bound_gap'))
    again = bounds.means(lambda x, number: function(x, number + 1), pictures[:1], weights)
    assert np.array_equal(again['kl'], twice[0]['kl']) and again['test_bound'] != twice[0]['test_bound']
    assert again['kl'].shape == (vae.Z_DIM,) and again['bound_gap'] > 0


@pytest.mark.parametrize('constant', ['BOUND_DRAWS', 'EVAL_EVERY'])
def test_the_bound_can_be_left_out(constant, build):
    built = build('vae', **{constant: 0})
    with built.session() as session:
        pictures, weights = session.run([built.given['finals'][0], {v.op.name: v for v in tf.trainable_variables()}])
    assert list(bounds.means(built.given['finals'][1], pictures[:2], weights)) == ['kl']


def test_the_generator_shows_the_probabilities_and_the_pixels_have_them():
    z, x = tf.constant(random(4, vae.Z_DIM)), np.full([1, 100, 100, 1], 0.3, np.float32)
    images, logits, drawn = evaluate([vae.generator(z), vae.decoder(z), ops.binary(tf.constant(x), ops.uniform(x.shape, 'u'))])
    np.testing.assert_allclose(images, 2 * scipy.special.expit(logits) - 1, atol=1e-6)
    assert set(np.unique(drawn)) == {0, 1} and drawn.mean() == pytest.approx(0.65, abs=0.02)


def test_the_plane_of_latents_is_cut_into_cells_of_equal_probability():
    z = latents.plane(5).reshape(5, 5, 2)
    middles = np.arange(0.1, 1, 0.2)
    np.testing.assert_allclose(scipy.stats.norm.cdf(z), np.stack(np.meshgrid(middles, middles[::-1]), -1))


def test_a_traversal_replaces_one_number_at_a_time():
    z = latents.traversals(np.array([5.0, 6.0, 7.0]), np.array([2, 0]), np.array([-1.0, 1.0]))
    np.testing.assert_array_equal(z, [[5, 6, -1], [5, 6, 1], [-1, 6, 7], [1, 6, 7]])


# noise and PCA

@pytest.mark.parametrize('channels', [1, 3])
def test_corrupt_turns_a_share_of_the_pixels_black_or_white(channels):
    """Whole pixels: of a coloured one all channels are turned, the same way, or none."""
    x = np.full([1, 200, 200, channels], 0.25, np.float32) + 0.125 * np.arange(channels, dtype=np.float32)
    noisy = evaluate(autoencoder.corrupt(tf.constant(x), 0.4, ops.uniform([1, 200, 200, 1], 'u')))
    assert noisy.shape == x.shape
    kinds = [(noisy == -1).all(3), (noisy == 1).all(3), (noisy == x).all(3)]
    assert np.all(np.sum(kinds, 0) == 1)
    np.testing.assert_allclose([kind.mean() for kind in kinds], [0.2, 0.2, 0.6], atol=0.02)


def test_the_noise_of_the_script_turns_whole_pixels(build, monkeypatch):
    """What the encoder is given while training and while measuring, against the clean targets of the same session call."""
    seen, corrupt = [], autoencoder.corrupt
    monkeypatch.setattr(autoencoder, 'corrupt', lambda x, share, u: seen.append((x, corrupt(x, share, u))) or seen[-1][1])
    built = build('autoencoder', CHANNELS=3, NOISE=0.5)
    with built.session() as session:
        found = session.run(seen)
    assert len(found) == 2
    for (clean, noisy), share in zip(found, [0.5, autoencoder.TEST_NOISE], strict=True):
        turned = noisy != clean
        black, white = (noisy == -1).all(3), (noisy == 1).all(3)
        assert (turned.any(3) <= (black | white)).all()
        bright = (clean > -1).all(3) & (clean < 1).all(3)      # of others one cannot tell
        assert (black | white)[bright].mean() == pytest.approx(share, abs=0.06)


def test_pca_is_the_best_plane_and_the_error_is_of_pixels_from_0_to_1():
    """On the training pictures the squared error is the sum of the singular values left out (Eckart & Young 1936)."""
    images = np.random.default_rng(0).integers(0, 256, [300, 12, 12, 1], np.uint8)
    flat = images.reshape(300, -1) / 255
    left = np.linalg.svd(flat - flat.mean(0), compute_uv=False)[5:]
    found = evaluate(autoencoder.error(images / np.float32(127.5) - 1, autoencoder.pca(images, images, 5).astype('f')))
    assert found == pytest.approx(np.square(left).sum() / flat.size, rel=1e-4)


def test_pca_of_pictures_that_are_too_large_is_of_two(monkeypatch):
    """In the direction from one to the other, so that both are as they were."""
    monkeypatch.setattr(autoencoder, 'PCA_BYTES', 1)
    images = np.random.default_rng(0).integers(0, 256, [5, 12, 12, 1], np.uint8)
    np.testing.assert_allclose(autoencoder.pca(images, images[[0, 4]], 3), images[[0, 4]] / 127.5 - 1, atol=1e-5)


# scripts as graphs

@pytest.mark.parametrize('mode', ['switches', 'repeat'])
def test_the_decoder_sees_the_switches_or_the_code_alone(mode, monkeypatch):
    monkeypatch.setattr(conv_autoencoder, 'UNPOOL', mode)
    code, switches = conv_autoencoder.encoder(tf.constant(random(2, 28, 28, 1)))
    first, second = evaluate(conv_autoencoder.decoder(tf.zeros_like(code) + 1, switches))
    assert np.array_equal(first, second) == (mode == 'repeat') and np.abs([first, second]).max() <= 1


@pytest.mark.parametrize('name, arguments, complaint', [
    ('autoencoder', ['--code-size', '0'], 'CODE_SIZE'), ('autoencoder', ['--noise', '1.5'], 'NOISE must be in [0, 1]'),
    ('autoencoder', ['--noise', '-1'], '--noise'), ('conv_autoencoder', ['--unpool', 'magic'], '--unpool'),
    ('conv_autoencoder', ['--width', '0'], 'WIDTH'), ('vae', ['--z-dim', '1'], 'Z_DIM is a whole number from 2'),
    ('vae', ['--hidden', '0'], 'HIDDEN')])
def test_flags_out_of_range_are_refused(name, arguments, complaint, refused):
    with refused(complaint):
        flags.parse([dict(vars(importlib.import_module(name)))], arguments)


@pytest.mark.parametrize('name, constants, complaint', [
    ('autoencoder', {'CODE_SIZE': 785}, 'CODE_SIZE must be at most 784')])
def test_codes_that_make_no_sense_are_refused(name, constants, complaint, build):
    with pytest.raises(files.UserError, match=complaint):
        build(name, **constants)


# runs

@pytest.fixture(scope='module', params=SMALLER)
def finished(request, tmp_path_factory):
    """(name of the script, folder of an undisturbed run, what it printed)."""
    folder, name = tmp_path_factory.mktemp(request.param) / 'run', request.param
    return name, folder, train(name, folder)


def train(name, folder, *more):
    """What a small run of a script prints."""
    shared = '--batch-size 16 --steps 20 --log-every 5 --sample-every 10 --checkpoint-every 10 --eval-every 10'.split()
    status, out, error = forkserver.run(name, '--run-dir', folder, *shared, *SMALLER[name], *more,
                                        environment={'DRIVE_COUNT': '300'})
    assert status == 0, error
    return out


@pytest.mark.slow
def test_the_folder_of_a_run(finished):
    name, folder, out = finished
    assert {'encoder', 'samples.gif', 'losses.png', 'scalars.csv', 'codes.png', 'projector', 'projector_config.pbtxt'} <= {
        path.name for path in folder.iterdir()}
    assert (folder / 'generator').exists() == (folder / 'generator-best').exists() == (name == 'vae')
    rows = scalars(folder)
    measure = 'test_elbo' if name == 'vae' else 'test_error'
    assert [row['step'] for row in rows if row[measure]] == ['10', '20']
    last = float(rows[-1][measure])
    assert (f'{last:.2f}' if name == 'vae' else f'{last:.5f}') in out.splitlines()[-2 if name == 'vae' else -1]
    picture = iio.imread(folder / 'samples/step-000020.png')
    if name != 'vae':
        rows = 5 if name == 'autoencoder' else 2
        grid = picture[:, -2 * (30 * 16 - 2):]
        assert len(picture) == 2 * (30 * rows - 2) and (picture[:, 0] == 255).all()         # names in a margin
        np.testing.assert_array_equal(grid[:56:2, :56:2], drive.load('')[0][0, :, :, 0])    # the first original
    else:  # a generator like any other, and what its page asks for
        assert '300 samples (real pictures): frechet distance' in out
        for drawn in 'codes.png', 'walk.png', 'traversal.png', 'manifold.png', 'nearest.png':
            assert iio.imread(folder / drawn).std() > 1
        assert iio.imread(folder / 'manifold.png').shape == (560, 560)
        found = json.loads((folder / 'finals.json').read_text())
        assert re.search(rf'first 30 of them: .* 50 samples {found["test_bound"]:.2f}, {found["bound_gap"]:.2f} above', out)
        # two rows of eleven, the number with the larger KL above, and in the middle of a row the value 0
        picture = iio.imread(folder / 'traversal.png')[:, -2 * (11 * 30 - 2):]
        z = np.repeat(savedmodel.Loaded(folder, 'encoder')(images=drive.load('')[0][:1] / np.float32(127.5) - 1), 2, axis=0)
        order = np.argsort(found['kl'])[::-1]
        z[[0, 1], order] = 0
        shown = savedmodel.Loaded(folder, 'generator').draw({'z': z})[..., 0]
        assert len(picture) == 2 * (2 * 30 - 2)
        np.testing.assert_array_equal(np.stack([picture[y:y + 56:2, 300:356:2] for y in (0, 60)]), shown)


@pytest.mark.slow
@pytest.mark.parametrize('finished', ['vae'], indirect=True)
def test_what_is_measured_last_is_made_up_for_and_only_once(finished, tmp_path):
    """Stopped by Ctrl-C in the middle of it a run has all else; the next command measures, and one more does not."""
    _, folder, out = finished
    command = json.loads((folder / 'settings.json').read_text())['settings']
    given = [word for key in ('BATCH_SIZE', 'STEPS', 'LOG_EVERY', 'SAMPLE_EVERY', 'CHECKPOINT_EVERY', 'EVAL_EVERY', 'EVAL_COUNT',
                              'Z_DIM', 'BOUND_DRAWS', 'BOUND_PICTURES')
             for word in (f'--{key.lower().replace("_", "-")}', command[key])]
    copy = shutil.copytree(folder, tmp_path / 'run')
    (copy / 'finals.json').unlink()

    def train(bomb=''):
        return forkserver.run('vae', '--run-dir', copy, '--hidden', 24, *given, environment={'DRIVE_COUNT': '300'}, bomb=bomb)

    status, told, error = train(bomb=STOPPED)
    assert status == 130 and 'stopped by SIGINT' in error and 'measuring example by example' in told
    assert not (copy / 'finals.json').exists() and not list(copy.glob('.new-*'))
    status, told, _ = train()
    assert status == 0 and 'measuring example by example' in told and 'measuring the samples' not in told
    assert (copy / 'finals.json').read_bytes() == (folder / 'finals.json').read_bytes()
    assert told.splitlines()[-2:] == out.splitlines()[-2:]
    before = (copy / 'finals.json').stat()
    status, told, _ = train()
    assert status == 0 and 'measuring' not in told and told.splitlines()[-2:] == out.splitlines()[-2:]
    assert (copy / 'finals.json').stat() == before


@pytest.mark.slow
def test_the_saved_encoder_has_the_averaged_weights(finished):
    name, folder, _ = finished
    encode = savedmodel.Loaded(folder, 'encoder')
    assert encode.inputs['images'].shape == (28, 28, 1) and encode.output == 'codes'
    images = drive.load('')[0][:5] / np.float32(127.5) - 1
    codes = encode(images=images)
    assert codes.shape == (5, 2 if name == 'vae' else 4)
    np.testing.assert_array_equal(encode(images=images[3:4])[0], codes[3])
    if name == 'conv_autoencoder':
        return
    saved = {key.removeprefix('sampling/encoder/'): value for key, value in weights(folder).items()
             if key.startswith('sampling/encoder/')}
    h = images.reshape(5, -1) if name == 'autoencoder' else (images.reshape(5, -1) + 1) / 2
    for layer in ['dense1', 'dense2'] if name == 'autoencoder' else ['dense1']:
        h = np.maximum(h @ saved[f'{layer}/weights'] + saved[f'{layer}/bias'], 0)
    layer = 'm' if name == 'vae' else 'code'
    np.testing.assert_allclose(codes, h @ saved[f'{layer}/weights'] + saved[f'{layer}/bias'], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_projector_that_a_killed_run_lacks_is_made_up_for_once(finished, tmp_path):
    """Codes of the test pictures, in the order of `measures.subset`; test_codes.py has the files as TensorBoard reads them."""
    name, folder, _ = finished
    images, order = np.resize(drive.load('')[0][:10], [300, 28, 28, 1]), np.random.RandomState(0).permutation(300)
    codes = savedmodel.Loaded(folder, 'encoder')(images=images[order] / np.float32(127.5) - 1)
    codes = np.pad(codes, [(0, 0), (0, 1 if name == 'vae' else 0)])       # TensorBoard shows three numbers or more
    np.testing.assert_allclose(np.loadtxt(folder / 'projector/tensors.tsv'), codes, rtol=1e-5)
    if name != 'autoencoder':   # one is enough
        return
    before = contents(folder)
    copy = shutil.copytree(folder, tmp_path / 'copy')
    files.remove(copy / 'projector')
    assert 'resumes at step 20 of 20' in train(name, copy)
    after = contents(copy)
    for path, content in before.items():
        assert after[copy / path.relative_to(folder)] == content or path.name == 'settings.json'     # of another RUN_DIR
    assert 'finished: ' in train(name, copy) and contents(copy) == after


@pytest.mark.slow
def test_what_the_commands_make_of_a_run(finished, tmp_path, monkeypatch, capsys, refused):
    name, folder, _ = finished
    monkeypatch.setattr(data, 'load', drive.load)
    retrieval.main([str(folder), '--png', str(tmp_path / 'curve.png')])
    out = capsys.readouterr().out
    assert '| pixels | 784 | 1.0000 | 0.8625 | 1.0000 |' in out  # six classes of 10, four of 9: (60 x 9 + 36 x 8) / 960
    assert re.search(r'^\| run \| [24] \| ', out, re.M)
    assert iio.imread(folder / 'retrieval.png').shape == (8 * 30 - 2, 22 * 30 - 2)
    assert iio.imread(tmp_path / 'curve.png').std() > 1
    (folder / 'retrieval.png').unlink()
    monkeypatch.setattr(data, 'load', lambda *arguments: (drive.load(*arguments)[0], None))
    retrieval.main([str(folder)])
    assert 'has no classes' in capsys.readouterr().out and (folder / 'retrieval.png').exists()
    if name == 'vae':
        assert savedmodel.samples(folder, 3).shape == (3, 28, 28, 1)
        sample.main([str(folder), '--interpolate', str(tmp_path / 'walk.png')])
    else:
        with refused('holds no generator'):
            sample.main([str(folder)])


@pytest.mark.parametrize('arguments, complaint', [
    (['nowhere'], 'there is no folder'), ([], 'runs'), (['a', '--bogus'], '--bogus')])
def test_retrieval_mistakes_are_one_line_with_status_2(arguments, complaint, refused):
    with refused(complaint):
        retrieval.main(arguments)


def test_codes_of_pca_are_nested():
    """retrieval.py takes the first columns of one PCA for every size."""
    x = random(60, 9)
    np.testing.assert_allclose(np.abs(PCA(6).fit_transform(x)[:, :2]), np.abs(PCA(2).fit_transform(x)), rtol=1e-3, atol=1e-3)
