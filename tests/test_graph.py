"""What run.train adds to a graph: averages, and which scalar comes with which update."""
import data
import ops
import run
from plumbing import graph, hardware, networks
from plumbing.files import UserError
from plumbing.sampler import Sampler

import drive
import forkserver
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf

pytestmark = pytest.mark.usefixtures('fresh_graph')


def generator(z, training=True):
    with ops.network('generator'):
        return z * tf.get_variable('w', [], initializer=tf.ones_initializer(), use_resource=True)


NETWORKS = {'generator': run.network(generator, 'images', z=run.normal(1))}


def test_the_average_follows_its_formula_and_the_network_uses_it():
    generator(tf.zeros([1, 1]))
    w, = tf.global_variables()
    averaged = graph.sampling(NETWORKS, 0.6, after=w.assign_add(1.0).op)
    z, images, expected = averaged.inputs['generator']['z'], averaged.outputs['generator'], 1.0
    (average, source), = averaged.averages
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for t in range(20):
            session.run(averaged.advance)
            decay = min(0.6, (1 + t) / (10 + t))
            expected = decay * expected + (1 - decay) * (t + 2)
        assert session.run(average) == pytest.approx(expected, rel=1e-5) and source is w
        assert session.run(images, {z: [[2.0]]}) == pytest.approx(2 * expected, rel=1e-5)
        assert session.run(graph.progress()[0]) == 20
    assert {v.op.name for v in tf.global_variables()} == {'generator/w', 'sampling/generator/w', 'optimizers/step'}


def test_the_averaged_network_has_statistics_of_its_own():
    """Two layers of batch norm with their weights' average: a closed form, then NumPy's from other latents."""
    def normed(z, training):
        with ops.network('generator', ops.normal(1.0)):
            h = ops.batch_norm(ops.dense(z, 6, 'dense1', bias=False), training, 'norm1', activation=tf.nn.relu)
            return ops.batch_norm(ops.dense(h, 5, 'dense2', bias=False), training, 'norm2')[:, None, None, :]

    def statistics(of, norm):
        return tuple(of[f'generator/{norm}/moving_{number}'] for number in ('mean', 'variance'))

    found = {'generator': run.network(normed, 'images', z=run.uniform(4, 0.0, 1.0))}
    normed(tf.random.uniform([8, 4]), training=True)
    w = tf.trainable_variables('generator/dense1')[0]
    averaged = graph.sampling(found, 0.9, after=w.assign(-2.0 * w.read_value(), read_value=False))
    assert [norm.mean.op.name for norm in averaged.norms] == [f'sampling/generator/norm{i}/moving_mean' for i in (1, 2)]
    z = np.random.default_rng(3).random([200_000, 4])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run([average.assign(source) for average, source in averaged.averages])
        sample = Sampler(session, found, averaged, 4, 0, lambda network: networks.typical(network.inputs, 2000))
        before = sample.weights()
        for steps in range(3):
            weights = sample.weights()
            of_weights = weights['generator/dense1/weights']
            assert steps == 0 or np.abs(of_weights - before['generator/dense1/weights']).max() > 0.1
            mean, variance = statistics(weights, 'norm1')
            np.testing.assert_allclose(mean, of_weights.sum(0) / 2, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(variance, (of_weights**2).sum(0) / 12, rtol=1e-3)
            h = np.maximum((z @ of_weights - mean) / np.sqrt(variance + 1e-5), 0) @ weights['generator/dense2/weights']
            mean, variance = statistics(weights, 'norm2')
            assert np.abs((mean - h.mean(0)) / h.std(0)).max() < 0.05
            np.testing.assert_allclose(variance, h.var(0), rtol=0.1)
            session.run(averaged.advance)
        raw = session.run({v.op.name: v for v in tf.global_variables('generator/')})
        assert all((statistics(raw, f'norm{i}')[0] == 0).all() and (statistics(raw, f'norm{i}')[1] == 1).all() for i in (1, 2))


def test_typical_latents_have_the_moments_of_their_distributions():
    inputs = {'z': run.normal(5), 'u': run.uniform(3, -2.0, 6.0), 'long': run.normal(300), 'label': run.label(4)}
    drawn = networks.typical(inputs, 400)
    for name, mean, variance in ('z', 0, 1), ('u', 2, 8**2 / 12):
        z = drawn[name]
        np.testing.assert_allclose(z.mean(0), mean, atol=1e-5)
        np.testing.assert_allclose(z.T @ z / 400 - np.outer(z.mean(0), z.mean(0)), variance * np.eye(z.shape[1]), atol=1e-4)
    np.testing.assert_allclose(drawn['long'].std(0), 1, rtol=1e-4)
    np.testing.assert_array_equal(np.bincount(drawn['label']), 100)
    assert scipy.stats.kstest(drawn['z'].ravel(), 'norm').pvalue > 0.01
    assert scipy.stats.kstest(drawn['u'].ravel(), 'uniform', (-2, 8)).pvalue > 0.01


def test_statistics_are_exact_far_from_zero_and_of_what_differs_between_blocks():
    """Channels around 1000, of one number, and in rising order. As E[x^2] - E[x]^2 in 32 bits they have 1.59, 0.04 and 1.80."""
    def normed(images, training):
        with ops.network('encoder'):
            return tf.reduce_mean(ops.batch_norm(images, training, 'norm'), [1, 2])

    x = np.random.default_rng(2).normal(size=[600, 2, 2, 3]).astype(np.float32)
    x[..., 0] += 1000
    x[..., 1] = 77.7
    x[..., 2] += 3 * np.arange(600)[:, None, None] / 600
    found = {'encoder': run.network(normed, 'codes', images=run.images(2, 3))}
    normed(tf.zeros([8, 2, 2, 3]), training=True)
    averaged = graph.sampling(found, 0.9, after=tf.no_op())
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        sample = Sampler(session, found, averaged, 4, 0, lambda network: {'images': x})
        weights = sample.weights()
        np.testing.assert_allclose(weights['encoder/norm/moving_mean'], x.mean((0, 1, 2), np.float64), rtol=1e-5)
        np.testing.assert_allclose(weights['encoder/norm/moving_variance'], x.var((0, 1, 2), np.float64), rtol=1e-4, atol=1e-6)
        codes = session.run(averaged.outputs['encoder'], {averaged.inputs['encoder']['images']: x[:5]})
        assert np.isfinite(codes).all()


def test_an_encoder_has_the_statistics_of_the_pictures_it_is_given():
    """Not those of the training, which saw zeros."""
    def normed(images, training):
        with ops.network('encoder'):
            return ops.batch_norm(ops.dense(tf.reshape(images, [-1, 4]), 3, 'dense'), training, 'norm')

    found, x = {'encoder': run.network(normed, 'codes', images=run.images(2, 1))}, np.random.default_rng(1).random([600, 2, 2, 1])
    normed(tf.zeros([8, 2, 2, 1]), training=True)
    averaged = graph.sampling(found, 0.9, after=tf.no_op())
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        weights = Sampler(session, found, averaged, 4, 0, lambda network: {'images': x}).weights()
        h = x.reshape(600, 4) @ weights['encoder/dense/weights'] + weights['encoder/dense/bias']
        np.testing.assert_allclose(weights['encoder/norm/moving_mean'], h.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(weights['encoder/norm/moving_variance'], h.var(0), rtol=1e-3)


@pytest.mark.parametrize('decay, output, inputs', [
    (0.0, 'codes', {'z': run.normal(4)}), (0.0, 'codes', {'x': run.images(2, 1)}), (0.9, 'images', {'x': run.images(2, 1)})])
def test_statistics_of_raw_weights_and_of_translators_are_those_of_the_training(decay, output, inputs):
    def normed(x, training):
        with ops.network('generator'):
            return ops.batch_norm(ops.dense(tf.reshape(x, [-1, 4]), 3, 'dense'), training, 'norm')

    normed(tf.zeros([8, 4]), training=True)
    averaged = graph.sampling({'encoder': run.network(normed, output, **inputs)}, decay, after=tf.no_op())
    assert not averaged.norms


def test_without_an_average_the_weights_themselves_are_sampled():
    generator(tf.zeros([1, 1]))
    w, = tf.global_variables()
    averaged = graph.sampling(NETWORKS, 0.0, after=w.assign_add(1.0).op)
    z, images = averaged.inputs['generator']['z'], averaged.outputs['generator']
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for t in range(3):
            session.run(averaged.advance)
            assert session.run(images, {z: [[2.0]]}) == 2 * (t + 2)
    assert [v.op.name for v in tf.global_variables()] == ['generator/w', 'optimizers/step']
    assert averaged.averages[0] == (w, w) and all(average is source for average, source in averaged.averages)


def test_a_network_without_training_mode_is_applied_as_it_is():
    seen = []
    networks = {name: run.network(function, 'images', z=run.normal(2)) for name, function in [
        ('one', lambda z, training: (seen.append(training), z)[1]), ('other', lambda z: (seen.append('none'), z)[1])]}
    averaged = graph.sampling(networks, 0.9, after=tf.no_op())
    assert seen == [False, 'none'] and averaged.outputs['one'].op.name == 'sampling/images'


def test_a_scalar_is_fetched_with_the_last_update_that_draws_its_batches():
    images, _ = drive.load('')
    x, z = data.batches(images, 4), tf.reduce_mean(ops.noise([4]))
    d, g = tf.identity(x * z).op, tf.identity(z).op
    scalars = {'of both': tf.reduce_mean(x) + z, 'of z': z * 2, 'of none': tf.constant(1.0)}
    with tf.variable_scope('other'):
        elsewhere = tf.reduce_mean(data.batches(images, 4))
    assert [names for _, names in graph.fetches([d, g], [d, g], scalars)] == [['of both'], ['of z', 'of none']]
    with pytest.raises(ValueError, match='elsewhere'):
        graph.fetches([d, g], [d, g], {'elsewhere': elsewhere})


def test_a_loss_is_fetched_with_the_update_that_minimizes_it():
    """Three updates draw the same noise: each loss belongs to its own, and what no update needs to the last one."""
    w = tf.get_variable('w', [], initializer=tf.ones_initializer(), use_resource=True)
    z = tf.reduce_mean(ops.noise([4]))
    losses = {name: (w - z - shift) ** 2 for shift, name in enumerate('abc')}
    updates = [ops.minimize(tf.train.GradientDescentOptimizer(0.1), losses[name], '') for name in 'abc']
    fetches = graph.fetches(updates, updates, {**losses, 'seen': 2 * z})
    assert [names for _, names in fetches] == [['a'], ['b'], ['c', 'seen']]
    assert [tensors for tensors, _ in fetches] == [[updates[0], losses['a']], [updates[1], losses['b']],
                                                   [updates[2], losses['c'], fetches[2][0][2]]]
    fetches = graph.fetches([updates[0]] * 2 + updates[1:], [updates[0]] * 2 + updates[1:], losses)
    assert [names for _, names in fetches] == [[], ['a'], ['b'], ['c']]     # of an update that is repeated the last time


def test_parameters_are_counted_by_network():
    for name, units in ('a', 3), ('ab', 4):
        with ops.network(name):
            ops.dense(tf.zeros([1, 300]), units, 'dense')
    tf.get_variable('a/extra', [7], trainable=False)
    assert graph.parameter_counts() == 'a: 903 parameters, ab: 1,204 parameters'


@pytest.mark.parametrize('draws, epochs', [(1, 1), (1, 8), (5, 3), (2, 45)])
def test_an_epoch_is_a_pass_over_the_data(draws, epochs):
    """However many batches a step draws: in `steps` steps at least epochs * 90 pictures are served, in one less not."""
    x = data.batches(np.zeros([90, 2, 2, 1], np.uint8), 16)
    critic, other = tf.identity(x).op, tf.zeros([]).op
    steps = run._steps([critic] * draws + [other], 7, epochs)
    assert steps * draws * 16 >= epochs * 90 > (steps - 1) * draws * 16
    assert run._steps([critic] * draws, 7, 0) == 7
    with pytest.raises(UserError, match='--steps'):
        run._steps([other], 7, 1)


@pytest.mark.parametrize('told, expected', [
    ('vendor_id: AuthenticAMD\nflags: avx512f avx512_bf16', 'mixed'),
    ('vendor_id: GenuineIntel\nflags: avx512_bf16 amx_bf16', 'mixed'),
    ('vendor_id: GenuineIntel\nflags: avx512f avx512_bf16', 'float32'),
    ('vendor_id: AuthenticAMD\nflags: avx512f', 'float32')])
def test_precision_is_mixed_by_itself_where_that_is_faster(told, expected, monkeypatch):
    """An Intel without AMX has the instructions, at half the speed of float32; there it is for whoever asks."""
    monkeypatch.setattr(hardware.pathlib.Path, 'read_text', lambda self: told)
    assert hardware.resolve('auto') == expected and hardware.resolve('auto', images=False) == 'float32'
    if 'bf16' in told:
        assert hardware.resolve('mixed') == 'mixed'


def test_mixed_precision_without_the_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(hardware.pathlib.Path, 'read_text', lambda self: 'flags: sse2')
    assert hardware.resolve('auto') == 'float32'
    with pytest.raises(UserError, match='float32'):
        hardware.resolve('mixed')


def test_the_precision_is_resolved_once_however_many_devices_there_are(monkeypatch):
    """On a GPU, which stands here as a name only, the same answer serves both settings."""
    asked, switched = [], []
    monkeypatch.setattr(hardware, 'resolve', lambda *wanted: asked.append(wanted) or 'mixed')
    monkeypatch.setattr(hardware.tf_config, 'list_physical_devices', lambda kind: ['a GPU'])
    monkeypatch.setattr(hardware.tf_config.experimental, 'enable_op_determinism', lambda: None)
    monkeypatch.setattr(hardware.tf_config.experimental, 'enable_tensor_float_32_execution', switched.append)
    monkeypatch.setattr(hardware.convolutions, 'BFLOAT16', True)
    hardware.prepare('mixed')
    assert asked == [('mixed',)] and switched == [True] and hardware.convolutions.BFLOAT16 is False


# memory

def test_the_memory_is_that_of_the_machine():
    told = [line for line in open('/proc/meminfo') if line.startswith('MemTotal:')]
    assert hardware.memory() == pytest.approx(int(told[0].split()[1]) * 1024, rel=0.01)


def test_what_is_larger_than_the_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(hardware, 'memory', lambda: 4000)
    graph.check_size('w', [10, 100])
    with pytest.raises(UserError, match=r'^generator/dense/weights of the shape \[10, 101\] takes 0.0 GiB, .* smaller$'), \
            ops.network('generator'):
        ops.dense(tf.zeros([1, 10]), 101, 'dense')
    for draw, shape in (ops.noise, [1001]), (ops.uniform, [7, 143]), (ops.noise, [10**9, 2**31]), (ops.uniform, [2**62, 8]):
        with pytest.raises(UserError, match='^named of the shape'):
            draw(shape, 'named')
    ops.noise([500, 2], 'fits')
    assert [v.op.name for v in tf.global_variables()] == ['fits_draws']     # of the others there is nothing


def with_adam(numbers):
    """A graph of a weight w [numbers], its gradient and Adam's two averages of that; Adam's powers are 8 bytes more."""
    w = tf.get_variable('w', [numbers], initializer=tf.zeros_initializer(), use_resource=True)
    ops.minimize(tf.train.AdamOptimizer(), tf.reduce_sum(w ** 2), '')


@pytest.mark.parametrize('memory, complaint', [
    (16_010, None), (15_999, '5 variables, with what optimizers and averages keep, .* the largest tensor'), (3_999, '^w .*1000')])
def test_variables_and_the_largest_tensor_are_counted(memory, complaint, monkeypatch):
    """Three variables of 4,000 bytes and a tensor of as many."""
    with_adam(1000)
    monkeypatch.setattr(hardware, 'memory', lambda: memory)
    if complaint is None:
        graph.check_memory()
        return
    with pytest.raises(UserError, match=complaint):
        graph.check_memory()


def test_a_large_tensor_is_named(monkeypatch):
    with_adam(1000)
    tf.zeros([100, 100], name='activations')
    tf.placeholder(tf.float32, [None, 10**9])                               # of unknown size
    monkeypatch.setattr(hardware, 'memory', lambda: 39_999)
    with pytest.raises(UserError, match=r'^activations of the shape \[100, 100\] takes'):
        graph.check_memory()


@pytest.mark.slow
@pytest.mark.parametrize('name, flag, complaint', [
    ('gan_fc', '--z-dim', 'z of the shape [64, 2147483647] takes 512.0 GiB'),
    ('toy', '--batch-size', 'takes'),
    ('gan_fc', '--d-hidden', 'discriminator/dense1/weights of the shape [784, 2147483647] takes 6,272.0 GiB'),
    ('objectives', '--batch-size', 'z of the shape [2147483647, 64] takes 512.0 GiB'),
    ('improved_gan', '--kernels', 'weights of the shape'), ('sn_gan', '--d-steps', 'D_STEPS is a whole number from 1 to 1000'),
    ('unrolled_gan', '--unroll', 'UNROLL'), ('balanced_gan', '--shown', 'SHOWN'), ('dcgan', '--image-size', 'IMAGE_SIZE')])
def test_more_than_a_machine_holds_is_one_line_and_nothing_is_written(name, flag, complaint, tmp_path):
    status, out, error = forkserver.run(name, '--run-dir', tmp_path / 'run', flag, 2**31 - 1)
    assert status == 2 and error.startswith('error: ') and complaint in error and not list(tmp_path.iterdir())
