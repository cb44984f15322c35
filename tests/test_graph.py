"""What run.train adds to a graph: averages, and which scalar comes with which update."""
import data
import ops
import run
from plumbing import graph, hardware
from plumbing.files import UserError

import drive
import numpy as np
import pytest
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


def test_mixed_precision_without_the_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(hardware.pathlib.Path, 'read_text', lambda self: 'flags: sse2')
    assert hardware.resolve('auto') == 'float32'
    with pytest.raises(UserError, match='float32'):
        hardware.resolve('mixed')
