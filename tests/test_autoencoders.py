"""Auto-encoders and the VAE against NumPy, SciPy and scikit-learn; their runs as a user has them."""
import csv
import importlib
import os
import pathlib
import subprocess
import sys
import time

import autoencoder
import conv_autoencoder
import data
import ops
import retrieval
import run
import sample
import vae

import drive
import imageio.v3 as iio
import numpy as np
import pytest
import runfolder
import scipy.stats
import tensorflow.compat.v1 as tf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

ROOT = pathlib.Path(__file__).parent.parent
SMALL = '--batch-size 16 --steps 30 --log-every 5 --sample-every 10 --checkpoint-every 5 --eval-every 10'.split()
SMALLER = {'autoencoder': ['--hidden', '24', '16', '--code-size', '4', '--noise', '0.2'],
           'conv_autoencoder': ['--width', '3', '--code-size', '4'],
           'vae': ['--hidden', '24', '--z-dim', '2', '--eval-count', '200']}


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


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
    with tf.Graph().as_default(), tf.Session() as session:
        x_, y_ = tf.constant(x), tf.constant(y)
        maxima, switches = ops.max_pool(x_, size)
        stood, filled = ops.unpool(y_, size, switches), ops.unpool(y_, size)
        gradients = [tf.gradients(maxima, x_, y_)[0], tf.gradients(stood, y_, tf.constant(weight))[0],
                     tf.gradients(filled, y_, tf.constant(weight))[0]]
        found = session.run([maxima, stood, filled, *gradients])
    sums = weight.reshape(2, 6 // size, size, 12 // size, size, 3).sum((2, 4))
    expected = [pooled, back, np.kron(y, np.ones([1, size, size, 1])), pulled, gathered, sums]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_pooling_and_unpooling_of_an_open_batch():
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 4, 4, 2])
        y, switches = ops.max_pool(x)
        back = ops.unpool(y, switches=switches)
        assert back.shape.as_list() == [None, 4, 4, 2]
        for count in 1, 5:
            value = random(count, 4, 4, 2)
            largest = value.reshape(count, 2, 2, 2, 2, 2).max((2, 4)).repeat(2, 1).repeat(2, 2)
            np.testing.assert_array_equal(session.run(back, {x: value}), np.where(value == largest, value, 0))


def test_a_picture_that_the_squares_do_not_fill_is_refused():
    with tf.Graph().as_default(), pytest.raises(AssertionError, match='cut into squares of 2'):
        ops.max_pool(tf.zeros([1, 7, 8, 1]))


# the variational bound

def test_kl_is_that_of_two_gaussians():
    m, sigma = random(5, 3), random(5, 3, seed=1)
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(vae.kl(tf.constant(m), tf.constant(sigma)))
    for value, mean, covariance in zip(found, m, map(np.diag, np.exp(sigma)), strict=True):  # of any two, with the second N(0, 1)
        exact = (np.trace(covariance) + mean @ mean - 3 - np.linalg.slogdet(covariance)[1]) / 2
        assert value == pytest.approx(exact, rel=1e-5)


def test_kl_by_monte_carlo_and_at_its_minimum():
    m, sigma = random(1, 4), random(1, 4, seed=1)
    q, p = scipy.stats.norm(m, np.exp(sigma / 2)), scipy.stats.norm(0, 1)
    z = q.rvs([200_000, 4], random_state=0)
    draws = (q.logpdf(z) - p.logpdf(z)).sum(1)
    with tf.Graph().as_default(), tf.Session() as session:
        found, least = session.run([vae.kl(tf.constant(m), tf.constant(sigma)), vae.kl(tf.zeros([1, 4]), tf.zeros([1, 4]))])
    assert abs(found[0] - draws.mean()) < 4 * draws.std() / len(draws) ** 0.5 and least[0] == 0


def test_log_likelihood_is_bernoulli_and_stays_finite():
    x, logits = (random(3, 28, 28, 1) > 0).astype(np.float32), 5 * random(3, 28, 28, 1, seed=1)
    with tf.Graph().as_default(), tf.Session() as session:
        found, extreme = session.run([vae.log_likelihood(tf.constant(x), tf.constant(logits)),
                                      vae.log_likelihood(tf.constant(x), tf.constant(1e4 * logits))])
    exact = scipy.stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits.astype(float)))).sum((1, 2, 3))
    np.testing.assert_allclose(found, exact, rtol=1e-5)
    assert np.isfinite(extreme).all()


def test_the_elbo_falls_short_of_log_p_by_the_kl_from_the_posterior(monkeypatch):
    """log p(x) and the posterior of a one-dimensional code by quadrature; the ELBO by many draws."""
    monkeypatch.setattr(vae, 'Z_DIM', 1)
    monkeypatch.setattr(vae, 'HIDDEN', (6,))
    count, grid = 20_000, np.linspace(-9, 9, 4001, dtype=np.float32)
    x = (drive.load('')[0][3:4] > 0).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(4)
        m, sigma = vae.encoder(tf.constant(x))
        on_grid = vae.log_likelihood(tf.tile(tf.constant(x), [len(grid), 1, 1, 1]), vae.decoder(tf.constant(grid[:, None])))
        bound = vae.elbo(tf.tile(tf.constant(x), [count, 1, 1, 1]), tf.constant(random(count, 1)))
        larger = [variable.assign(2 * variable) for variable in tf.trainable_variables()]
        session.run(tf.global_variables_initializer())
        session.run(larger)
        m, sigma, likelihood, bound = session.run([m, sigma, on_grid, bound])
    joint = likelihood + scipy.stats.norm.logpdf(grid)
    log_p = scipy.special.logsumexp(joint) + np.log(grid[1] - grid[0])
    log_q = scipy.stats.norm.logpdf(grid, m[0, 0], np.exp(sigma[0, 0] / 2))
    gap = np.sum(np.exp(log_q) * (log_q - (joint - log_p))) * (grid[1] - grid[0])
    assert gap > 0.01  # else the next line would say little
    assert abs(bound.mean() - (log_p - gap)) < 5 * bound.std() / count ** 0.5 + 1e-3


def test_the_generator_shows_the_probabilities_and_the_pixels_have_them():
    z, x = random(4, vae.Z_DIM), np.full([1, 100, 100, 1], 0.3, np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        images, logits = vae.generator(tf.constant(z)), vae.decoder(tf.constant(z))
        drawn = vae.binary(tf.constant(x), ops.uniform(x.shape, 'u'))
        session.run(tf.global_variables_initializer())
        images, logits, drawn = session.run([images, logits, drawn])
    np.testing.assert_allclose(images, 2 * scipy.special.expit(logits) - 1, atol=1e-6)
    assert set(np.unique(drawn)) == {0, 1} and drawn.mean() == pytest.approx(0.65, abs=0.02)


# noise and PCA

def test_corrupt_turns_a_share_of_the_pixels_black_or_white():
    x = np.full([1, 200, 200, 1], 0.25, np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        noisy = autoencoder.corrupt(tf.constant(x), 0.4, ops.uniform(x.shape, 'u'))
        session.run(tf.global_variables_initializer())
        noisy = session.run(noisy)
    shares = [(noisy == value).mean() for value in (-1, 1, np.float32(0.25))]
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.6], atol=0.02)


def test_pca_is_the_best_plane_and_the_error_is_of_pixels_from_0_to_1():
    """On the training pictures the squared error is the sum of the singular values left out (Eckart & Young 1936)."""
    images = np.random.default_rng(0).integers(0, 256, [900, 28, 28, 1], np.uint8)
    flat = images.reshape(900, -1) / 255
    left = np.linalg.svd(flat - flat.mean(0), compute_uv=False)[5:]
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(autoencoder.error(images / np.float32(127.5) - 1, autoencoder.pca(images, images, 5).astype('f')))
    assert found == pytest.approx(np.square(left).sum() / flat.size, rel=1e-4)


# retrieval

def test_nearest_and_precision():
    x = random(1203, 7)
    expected = NearestNeighbors(n_neighbors=11).fit(x).kneighbors(x, return_distance=False)
    found = retrieval.nearest(x)
    assert (found == expected[:, 1:]).mean() > 0.999  # near ties may fall either way
    assert not (found == np.arange(len(x))[:, None]).any()
    labels = np.array([0, 0, 0, 1])
    assert retrieval.precision(np.array([[1, 2], [0, 3], [3, 3], [0, 1]]), labels) == 3 / 8


# scripts as graphs

@pytest.fixture(params=SMALLER)
def built(request, monkeypatch):
    """(module of the script, what it gives to run.train) in a fresh graph."""
    script, given = importlib.import_module(request.param), {}

    class Stop(Exception):
        pass

    def train(script, **arguments):
        given.update(arguments)
        raise Stop

    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(run, 'train', train)
    monkeypatch.setattr(script, 'BATCH_SIZE', 8)
    with tf.Graph().as_default():
        with pytest.raises(Stop):
            script.main()
        yield script, given


def test_one_update_moves_both_networks_and_all_of_them(built):
    _, given = built
    trainable = tf.trainable_variables()
    assert {v.name.split('/')[0] for v in trainable} == {'encoder', 'decoder'}
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        before = session.run(trainable)
        for update in given['updates'] * 2:
            session.run(update)
        assert not any(np.array_equal(a, b) for a, b in zip(before, session.run(trainable), strict=True))


def test_what_is_drawn_and_measured_draws_nothing_at_random_and_has_averages_of_every_weight(built):
    script, given = built
    network = [given.get(name) for name in ('pictures', 'encoder', 'measures')]
    count = len(tf.trainable_variables())
    _, _, _, images, averages, measured = run._sampling(given.get('generator'), given.get('z_dim', 0), 0.9,
                                                        given['updates'][-1], *network)
    assert len(averages) == count == len(tf.trainable_variables())
    assert {node.name.split('/')[0] for node in tf.get_default_graph().as_graph_def().node} == \
        {'data', 'encoder', 'decoder', 'losses', 'optimizers', 'sampling'}
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        fetched = [measured, *([images] if given.get('pictures') else [])]
        first, second = session.run(fetched), session.run(fetched)
        for a, b in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
            np.testing.assert_array_equal(a, b)
        assert all(np.isfinite(value) for value in first[0].values())
        if given.get('pictures'):
            assert first[1].ndim == 5 and np.abs(first[1]).max() <= 1 + 1e-6 or script is autoencoder  # PCA leaves the range


def test_importing_a_script_builds_nothing():
    with tf.Graph().as_default() as graph:
        for name in SMALLER:
            importlib.reload(importlib.import_module(name))
        assert not graph.get_operations()


@pytest.mark.parametrize('mode', ['switches', 'repeat'])
def test_the_decoder_sees_the_switches_or_the_code_alone(mode, monkeypatch):
    monkeypatch.setattr(conv_autoencoder, 'UNPOOL', mode)
    with tf.Graph().as_default(), tf.Session() as session:
        code, switches = conv_autoencoder.encoder(tf.constant(random(2, 28, 28, 1)))
        images = conv_autoencoder.decoder(tf.zeros_like(code) + 1, switches)
        session.run(tf.global_variables_initializer())
        first, second = session.run(images)
        assert np.array_equal(first, second) == (mode == 'repeat')


# runs

def start(name, folder, *flags):
    command = [sys.executable, 'tests/drive.py', name, '--run-dir', str(folder), *SMALL, *SMALLER[name], *flags]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, 'PYTHONPATH': str(ROOT), 'DRIVE_COUNT': '300'})


def train(name, folder, *flags):
    process = start(name, folder, *flags)
    out, error = process.communicate(timeout=300)
    assert 'Traceback' not in error, error
    return process.returncode, out, error.strip().splitlines()[-1]


def weights(folder):
    reader = tf.train.load_checkpoint(str(folder / 'checkpoints/step-000030'))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope='module', params=SMALLER)
def finished(request, tmp_path_factory):
    """(name of the script, folder of an undisturbed run, what it printed)."""
    folder = tmp_path_factory.mktemp(request.param) / 'run'
    status, out, _ = train(request.param, folder)
    assert status == 0
    return request.param, folder, out


def test_the_folder_of_a_run(finished):
    name, folder, out = finished
    assert {'encoder', 'samples.gif', 'losses.png', 'scalars.csv'} <= {path.name for path in folder.iterdir()}
    assert (folder / 'generator').exists() == (folder / 'generator-best').exists() == (name == 'vae')
    rows = list(csv.DictReader((folder / 'scalars.csv').read_text().splitlines()))
    measure = 'test_elbo' if name == 'vae' else 'test_error'
    assert [row['step'] for row in rows if row[measure]] == ['10', '20', '30']
    last = float(rows[-1][measure])
    assert (f'{last:.2f}' if name == 'vae' else f'{last:.5f}') in out.splitlines()[-1]
    shape = iio.imread(folder / 'samples/step-000030.png').shape
    if name != 'vae':
        rows = 5 if name == 'autoencoder' else 2
        assert shape == (2 * (30 * rows - 2), 2 * (30 * 16 - 2))
        top = iio.imread(folder / 'samples/step-000030.png')[:56:2, :56:2]
        np.testing.assert_array_equal(top, drive.load('')[0][0, :, :, 0])  # the first original


def test_killed_and_started_again_it_ends_with_the_same_bits(finished, tmp_path):
    name, folder, _ = finished
    process = start(name, tmp_path / 'run')
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob('run/checkpoints/step-000010.index')) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    status, _, _ = train(name, tmp_path / 'run')
    ours, theirs = weights(tmp_path / 'run'), weights(folder)
    assert status == 0 and ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    assert (tmp_path / 'run/scalars.csv').read_bytes() == (folder / 'scalars.csv').read_bytes()
    status, out, _ = train(name, tmp_path / 'run')
    assert status == 0 and 'finished' in out


def test_the_saved_encoder_has_the_averaged_weights(finished):
    name, folder, _ = finished
    encode, shape = runfolder.network(folder, 'encoder')
    assert shape == [28, 28, 1]
    images = drive.load('')[0][:5] / np.float32(127.5) - 1
    codes = encode(images)
    assert codes.shape == (5, 2 if name == 'vae' else 4)
    np.testing.assert_array_equal(encode(images[3:4])[0], codes[3])
    if name == 'conv_autoencoder':
        return
    saved = {key.removeprefix('sampling/encoder/'): value for key, value in weights(folder).items()
             if key.startswith('sampling/encoder/')}
    h = images.reshape(5, -1) if name == 'autoencoder' else (images.reshape(5, -1) + 1) / 2
    for layer in ['dense1', 'dense2'] if name == 'autoencoder' else ['dense1']:
        h = np.maximum(h @ saved[f'{layer}/weights'] + saved[f'{layer}/bias'], 0)
    layer = 'm' if name == 'vae' else 'code'
    np.testing.assert_allclose(codes, h @ saved[f'{layer}/weights'] + saved[f'{layer}/bias'], rtol=1e-4, atol=1e-4)


def test_retrieval_of_a_run(finished, tmp_path, monkeypatch, capsys):
    _, folder, _ = finished
    monkeypatch.setattr(data, 'load', drive.load)
    retrieval.main([str(folder), '--png', str(tmp_path / 'curve.png')])
    out = capsys.readouterr().out
    assert 'by pixels 0.8625' in out and '| run |' in out  # six classes of 10 pictures, four of 9: (60 x 9 + 36 x 8) / 960
    assert iio.imread(folder / 'retrieval.png').shape == (8 * 30 - 2, 22 * 30 - 2)
    assert iio.imread(tmp_path / 'curve.png').std() > 1


def test_the_vae_is_a_generator_like_any_other_and_draws_what_the_notes_ask_for(tmp_path):
    folder = tmp_path / 'run'
    status, out, _ = train('vae', folder)
    assert status == 0 and '300 samples (real pictures): frechet distance' in out
    assert sample.draw(folder, 3).shape == (3, 28, 28, 1) and (folder / 'metrics.json').exists()
    sample.main([str(folder), '--interpolate', str(tmp_path / 'walk.png')])
    for name in 'codes.png', 'walk.png', 'manifold.png', 'nearest.png':
        assert iio.imread(folder / name).std() > 1
    assert iio.imread(folder / 'manifold.png').shape == (560, 560)


@pytest.mark.parametrize('name, flags, complaint', [
    ('autoencoder', ['--code-size', '0'], 'CODE_SIZE'), ('autoencoder', ['--code-size', '785'], 'CODE_SIZE'),
    ('autoencoder', ['--noise', '1.5'], 'NOISE'), ('autoencoder', ['--noise', '-1'], '--noise'),
    ('conv_autoencoder', ['--unpool', 'magic'], '--unpool'), ('conv_autoencoder', ['--width', '0'], 'WIDTH'),
    ('vae', ['--z-dim', '0'], 'Z_DIM'), ('vae', ['--hidden', '0'], 'HIDDEN')])
def test_mistakes_are_one_line_with_status_2_and_leave_nothing(name, flags, complaint, tmp_path):
    status, _, error = train(name, tmp_path / 'run', *flags)
    assert status == 2 and error.startswith('error: ') and complaint in error
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('arguments, complaint', [(['nowhere'], 'holds no encoder'), ([], 'runs'), (['a', '--bogus'], '--bogus')])
def test_retrieval_mistakes_are_one_line_with_status_2(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as caught:
        retrieval.main(arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count('\n') == 1 and complaint in error


def test_codes_of_pca_are_nested():
    """retrieval.py takes the first columns of one PCA for every size."""
    x = random(60, 9)
    np.testing.assert_allclose(np.abs(PCA(6).fit_transform(x)[:, :2]), np.abs(PCA(2).fit_transform(x)), rtol=1e-3, atol=1e-3)
