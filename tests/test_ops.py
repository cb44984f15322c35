"""Layers against NumPy, noise against its moments and its counters, one optimizer step against the other network."""
import contextlib

import ops
from plumbing import convolutions, files, graph

import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import random, update, with_variables

pytestmark = pytest.mark.usefixtures('fresh_graph')


def numpy_conv(x, kernel, stride, padding):
    """Convolution by its definition; SAME pads total = max((h' - 1) stride + size - h, 0), the smaller half first."""
    size, (batch, h, w, _) = kernel.shape[0], x.shape
    if padding == 'SAME':
        pads = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in (h, w)]
        x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)])
    rows, columns = ((n - size) // stride + 1 for n in x.shape[1:3])
    y = np.zeros([batch, rows, columns, kernel.shape[3]])
    for i in range(rows):
        for j in range(columns):
            y[:, i, j] = np.tensordot(x[:, i * stride:i * stride + size, j * stride:j * stride + size], kernel, 3)
    return y


@pytest.mark.parametrize('gain', [2.0, None])
def test_the_weights_of_a_unit_dense_layer_have_the_length_that_is_asked_for(gain):
    """By eq. 2 of arXiv:1602.07868 in NumPy; its gradient is that of eq. 3, and at right angles to V."""
    x, d = random(5, 7), random(5, 3)
    tensor = ops.unit_dense(tf.constant(x), 3, 'layer', gain)
    v = tf.trainable_variables('layer/weights')[0]
    assert len(tf.trainable_variables('layer/')) == (3 if gain is None else 2)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run([tf.assign(g, [0.5, 1.0, 3.0]) for g in tf.trainable_variables('layer/g')])
        session.run([tf.assign(b, [1.0, 2.0, 3.0]) for b in tf.trainable_variables('layer/bias')])
        found, values, gradient = session.run([tensor, v, tf.gradients(tensor, v, d)[0]])
    g = np.array([0.5, 1.0, 3.0] if gain is None else [gain] * 3)
    lengths = np.linalg.norm(values, axis=0)
    np.testing.assert_allclose(found, x @ (g * values / lengths) + [1, 2, 3], rtol=1e-5, atol=1e-5)
    of_w = x.T @ d                                                    # of the weights w = g v / |v|
    of_g = (of_w * values).sum(0) / lengths
    np.testing.assert_allclose(gradient, g / lengths * of_w - g * of_g / lengths ** 2 * values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((gradient * values).sum(0), 0, atol=1e-5)


def test_dense_is_x_w_plus_b():
    x = random(4, 6)
    y, v = with_variables(ops.dense(tf.constant(x), 3, 'a'))
    np.testing.assert_allclose(y, x @ v['a/weights'] + v['a/bias'], rtol=1e-5)
    assert list(v) == ['a/weights', 'a/bias']


@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
@pytest.mark.parametrize('stride, size', [(1, 3), (2, 4), (2, 5), (3, 2)])
def test_conv_by_definition(stride, size, padding):
    x = random(2, 9, 8, 3)
    y, v = with_variables(ops.conv(tf.constant(x), 5, 'a', size, stride, padding))
    np.testing.assert_allclose(y, numpy_conv(x, v['a/weights'], stride, padding) + v['a/bias'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
@pytest.mark.parametrize('stride, size', [(1, 3), (2, 4), (2, 5), (3, 3)])
def test_conv_transpose_is_the_adjoint_of_conv(stride, size, padding):
    y = random(2, 4, 3, 6)
    x, v = with_variables(ops.conv_transpose(tf.constant(y), 5, 'a', size, stride, padding, bias=False))
    extra = 0 if padding == 'SAME' else size - stride
    assert x.shape == (2, 4 * stride + extra, 3 * stride + extra, 5)
    other = random(*x.shape)
    kernel = v['a/weights'].swapaxes(2, 3)  # of the convolution from x's 5 channels to y's 6
    np.testing.assert_allclose((numpy_conv(other, kernel, stride, padding) * y).sum(), (other * x).sum(), rtol=1e-4)


def test_conv_transpose_of_an_open_batch():
    z = tf.placeholder(tf.float32, [None, 2, 2, 3])
    y = ops.conv_transpose(z, 4, 'a')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert [session.run(y, {z: random(n, 2, 2, 3)}).shape for n in (1, 7)] == [(1, 4, 4, 4), (7, 4, 4, 4)]


@pytest.mark.parametrize('mixed', [False, True])
@pytest.mark.parametrize('shape', [[8, 5], [4, 3, 2, 5]])
def test_batch_norm_training_and_sampling(shape, mixed, monkeypatch):
    monkeypatch.setattr(convolutions, 'BFLOAT16', mixed)     # of 5 channels or 16
    x = 3 * random(*shape) + 7
    pixels = tf.constant(x)
    with ops.network('net'):
        y = ops.batch_norm(pixels, True, 'norm')
        sampled = ops.batch_norm(pixels, False, 'norm')
    norms = [op for op in tf.get_default_graph().get_operations() if op.type == 'FusedBatchNormV3']
    assert [op.inputs[0].shape[-1] for op in norms] == [16 if mixed else 5, 5]   # what is saved stays plain
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        axes = tuple(range(len(shape) - 1))
        mean, variance = x.mean(axes), x.var(axes)
        np.testing.assert_allclose(session.run(y), (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(session.run(sampled), x / np.sqrt(1 + 1e-5), rtol=1e-4)  # averages still 0 and 1
        w = random(*shape)
        normalized = (x - mean) / np.sqrt(variance + 1e-5)      # Ioffe & Szegedy 2015, the gradient of sum(w y)
        expected = (w - w.mean(axes) - normalized * (w * normalized).mean(axes)) / np.sqrt(variance + 1e-5)
        np.testing.assert_allclose(session.run(tf.gradients(w * y, pixels)[0]), expected, rtol=1e-3, atol=1e-5)
        step = update(tf.reduce_sum(y), 'net/')
        for _ in range(2):
            session.run(step)
        n = x.size / 5
        moving = session.run([v for v in tf.global_variables() if 'moving' in v.op.name])
        np.testing.assert_allclose(moving[0], mean * (1 - 0.9 ** 2), rtol=1e-4)
        np.testing.assert_allclose(moving[1], 0.9 ** 2 + variance * n / (n - 1) * (1 - 0.9 ** 2), rtol=1e-4)
        np.testing.assert_allclose(session.run(sampled), (x - moving[0]) / np.sqrt(moving[1] + 1e-5), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('norm, shape, axes', [
    (ops.instance_norm, [3, 5, 4, 2], (1, 2)), (ops.layer_norm, [3, 5, 4, 2], (1, 2, 3)), (ops.layer_norm, [3, 7], (1,))])
def test_norms_of_single_pictures(norm, shape, axes):
    x = random(*shape) * 3 + 1
    y = norm(tf.constant(x), 'norm', tf.negative)
    scale, offset = random(shape[-1]), random(shape[-1])
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5) * scale + offset
    with tf.Session() as session:
        for variable, value in zip(tf.trainable_variables(), (scale, offset), strict=True):
            variable.load(value, session)
        np.testing.assert_allclose(session.run(y), -expected, atol=1e-5)


def test_a_network_applied_twice_updates_its_averages_in_the_order_of_the_calls():
    real, fake = random(8, 2), 5 + random(8, 2)
    ys = []
    for x in real, fake:
        with ops.network('d'):
            ys.append(ops.batch_norm(tf.constant(x), True, 'norm'))
    step = update(tf.reduce_sum(ys[0] + ys[1]), 'd/')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(step)
        expected = 0.9 * (0.1 * real.mean(0)) + 0.1 * fake.mean(0)
        np.testing.assert_allclose(session.run(tf.global_variables('d/norm/moving_mean')[0]), expected, rtol=1e-4)


def test_what_a_network_registers_runs_with_each_of_its_updates_in_order_and_with_no_others():
    """x -> 2 x, then x -> x + 1, by two updates of the network from 0: 1, 3; an update of another network leaves it."""
    variables = {}
    for name in 'a', 'ab':
        with ops.network(name):
            w = tf.get_variable('w', [], initializer=tf.ones_initializer())
            x = variables[name] = tf.get_variable('x', [], initializer=tf.zeros_initializer(), trainable=False, use_resource=True)
            ops.with_update(lambda x=x: x.assign(2 * x.read_value(), read_value=False))
            ops.with_update(lambda x=x: x.assign_add(1.0, read_value=False))
            variables[f'{name} loss'] = w ** 2
    steps = [update(variables['a loss'], 'a/') for _ in range(2)] + [update(variables['ab loss'], 'ab/')]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step, expected in zip(steps, [(1, 0), (3, 0), (3, 1)], strict=True):
            session.run(step)
            assert tuple(session.run([variables['a'], variables['ab']])) == expected


def test_what_a_network_registers_is_skipped_where_its_update_is():
    """Bit for bit; the second of three updates is left out."""
    with ops.network('net'):
        y = ops.batch_norm(ops.noise([8, 3], 'x') + 1, True, 'norm')
    tf.disable_control_flow_v2()
    try:
        wanted = tf.placeholder(tf.bool, [])
        step = tf.cond(wanted, lambda: tf.group(update(tf.reduce_sum(y), 'net/')), tf.no_op)
    finally:
        tf.enable_control_flow_v2()
    averages = [v for v in tf.global_variables() if 'moving' in v.op.name]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        seen = [session.run(averages)]
        for value in True, False, True:
            session.run(step, {wanted: value})
            seen.append(session.run(averages))
    same = [all(np.array_equal(a, b) for a, b in zip(*pair, strict=True)) for pair in zip(seen, seen[1:], strict=False)]
    assert same == [False, True, False]


def test_network_shares_variables_and_its_box_in_the_graph():
    for _ in range(3):
        with ops.network('net'):
            ops.dense(tf.zeros([2, 3]), 4, 'layer')
    assert len(tf.global_variables()) == 2
    assert {op.name.split('/')[0] for op in tf.get_default_graph().get_operations()} <= {'net', 'zeros', 'zeros_1', 'zeros_2'}


def layers(box=None):
    """Builds a network under a name scope, or none."""
    with tf.name_scope(box) if box else contextlib.nullcontext(), ops.network('net'):
        return ops.dropout(ops.dense(tf.ones([2, 3]), 50, 'dense', activation=tf.nn.relu), 0.5, 'dropout')


def test_a_name_scope_around_a_network_is_a_box_inside():
    """Also in a variable scope, which stays outside; 'losses' is no box, and what is opened in it is around the network."""
    layers('real')
    with tf.name_scope('losses'):
        layers()
        layers('unrolled')
        layers('slope/')
    with tf.variable_scope('sampling'):
        layers()
        layers('pictures')
    found = {op.name for op in tf.get_default_graph().get_operations() if op.type == 'Relu'}
    assert found == {f'{box}/dense/Relu' for box in (
        'net/real', 'net', 'losses/unrolled/net', 'net/slope', 'sampling/net', 'sampling/net/pictures')}
    assert [v.op.name for v in tf.trainable_variables()] == [
        f'{scope}/dense/{part}' for scope in ('net', 'sampling/net') for part in ('weights', 'bias')]


def test_boxes_leave_the_random_streams_as_they_are():
    """The same counters, of the same names, and the same numbers as in a graph without boxes."""
    def drawn(*boxes):
        with tf.Graph().as_default():
            tf.set_random_seed(3)
            kept = [layers(box) for box in boxes]
            names = [v.op.name for v in tf.global_variables() if v.op.name.endswith('_draws')]
            return names, with_variables(kept)[0]
    names, plain = drawn(None, None, None)
    assert names == [f'net/dropout{number}/mask_draws' for number in ('', '_1', '_2')]
    for boxes in ('real', 'fake', 'slope'), ('real', None, 'slope'), (None, 'fake', None):
        other, values = drawn(*boxes)
        assert other == names
        np.testing.assert_array_equal(values, plain)


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('layer', [ops.dense, ops.conv, ops.conv_transpose])
def test_an_activation_is_the_end_of_its_layer(layer, bias):
    x = tf.constant(random(4, 6) if layer is ops.dense else random(4, 6, 6, 2))
    with tf.variable_scope('', reuse=tf.AUTO_REUSE):
        before, after = layer(x, 5, 'a', bias=bias), layer(x, 5, 'a', bias=bias, activation=tf.nn.relu)
    (before, value), _ = with_variables([before, after])
    np.testing.assert_array_equal(value, np.maximum(before, 0))
    assert 0 < (value == 0).mean() < 1 and after.op.name == 'a_1/Relu'


def test_batch_norm_of_a_single_number_is_refused():
    """It would be 0, whatever the number is; of a picture with several pixels, or of two numbers, something is left."""
    for shape in [1, 5], [1, 1, 1, 5]:
        with pytest.raises(files.UserError, match='BATCH_SIZE must be 2 or more'):
            ops.batch_norm(tf.zeros(shape), True, f'alone{len(shape)}')
    for number, shape in enumerate([[2, 5], [1, 2, 1, 5]]):
        y, _ = with_variables(ops.batch_norm(tf.constant(random(*shape)), True, f'beside{number}'))
        assert (np.abs(y) > 0.5).all()
    ops.batch_norm(tf.zeros([1, 5]), False, 'sampled')


def test_the_activation_of_batch_norm():
    with tf.variable_scope('', reuse=tf.AUTO_REUSE):
        before, after = (ops.batch_norm(tf.constant(random(8, 5)), True, 'a', activation=f) for f in (None, tf.tanh))
    (before, value), _ = with_variables([before, after])
    np.testing.assert_allclose(value, np.tanh(before), rtol=1e-5)
    assert after.op.name == 'a_1/Tanh'


def test_initial_weights_depend_on_the_seed_and_the_name_not_on_the_order_of_building():
    def build(seed, names):
        with tf.Graph().as_default():
            tf.set_random_seed(seed)
            for name in names:
                ops.dense(tf.zeros([1, 200]), 300, name, bias=False)
            return with_variables(tf.no_op())[1]
    first, second = build(1, ['a', 'b']), build(1, ['b', 'a'])
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert abs(np.corrcoef(first['a/weights'].ravel(), first['b/weights'].ravel())[0, 1]) < 0.02
    assert not np.array_equal(first['a/weights'], build(2, ['a'])['a/weights'])
    assert first['a/weights'].std() == pytest.approx(np.sqrt(2 / 500), rel=0.02)  # Glorot & Bengio 2010, eq. 12


def test_the_scope_initializer_reaches_the_weights_and_only_them():
    with ops.network('net', initializer=ops.normal(0.02)):
        ops.conv(tf.zeros([1, 4, 4, 50]), 60, 'layer')
    _, v = with_variables(tf.no_op())
    assert v['net/layer/weights'].std() == pytest.approx(0.02, rel=0.02)
    assert not v['net/layer/bias'].any()


def test_noise_is_standard_normal_and_new_in_every_call():
    z, u, other = ops.noise([1000, 50]), ops.uniform([1000, 50], 'alpha'), ops.noise([1000, 50], 'other')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        (a, flat, b), (c, _, _) = (session.run([z, u, other]) for _ in range(2))
    assert abs(a.mean()) < 0.02 and a.std() == pytest.approx(1, rel=0.01)
    assert (a ** 4).mean() == pytest.approx(3, rel=0.05)
    assert scipy.stats.kstest(a.ravel(), 'norm').pvalue > 0.01
    assert flat.min() >= 0 and flat.max() < 1 and flat.mean() == pytest.approx(0.5, rel=0.02)
    for x, y in [(a, b), (a, c)]:
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 0.02


def test_noise_goes_on_from_its_counter_in_another_session():
    z = ops.noise([3, 2])
    counter, = tf.global_variables()

    def draws(n, start=0):
        with tf.Session() as session:
            session.run(counter.initializer, {counter.initial_value: start})
            return [session.run(z) for _ in range(n)]
    np.testing.assert_array_equal(draws(4)[2:], draws(2, start=2))


def test_dropout_keeps_the_mean_and_draws_apart_in_each_application():
    def net(x):
        with ops.network('net'):
            return ops.dropout(x, 0.3, 'dropout')
    once, twice = net(tf.ones([100, 100])), net(tf.ones([100, 100]))
    (a, b), _ = with_variables([once, twice])
    for x in a, b:
        assert set(np.unique(x)) == {0, np.float32(1 / 0.7)} and x.mean() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05
    x = tf.ones([2, 2])
    assert ops.dropout(x, 0, 'none') is x


def test_minimize_moves_its_own_network_and_averages_alone():
    def net(name, x):
        with ops.network(name):
            return ops.batch_norm(ops.dense(x, 3, 'dense'), True, 'norm')
    x = tf.constant(random(6, 4))
    loss = tf.reduce_sum(net('d', net('g', x)) ** 3)
    with tf.name_scope('optimizers'):
        step = update(loss, 'd/', 0.1)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before, _, after = session.run(tf.global_variables()), session.run(step), session.run(tf.global_variables())
        changed = {v.op.name for v, a, b in zip(tf.global_variables(), before, after, strict=True) if not np.array_equal(a, b)}
    assert {name.split('/')[0] for name in changed} == {'d'}
    assert {'d/dense/weights', 'd/norm/moving_mean', 'd/norm/moving_variance'} <= changed


@pytest.mark.parametrize('kind', [tf.train.AdamOptimizer, tf.train.RMSPropOptimizer, tf.train.GradientDescentOptimizer])
@pytest.mark.parametrize('as_tensor', [False, True])
def test_a_step_tells_its_learning_rate_and_the_norm_of_its_gradient(kind, as_tensor):
    """Of |w|^2 / 2 the gradient is w. Fetched apart they move nothing, not even what was registered."""
    with ops.network('net'):
        w = tf.get_variable('w', initializer=tf.constant([3.0, 4.0]), use_resource=True)
        count = tf.get_variable('count', [], initializer=tf.zeros_initializer(), trainable=False, use_resource=True)
        ops.with_update(lambda: count.assign_add(1.0, read_value=False))
    with tf.variable_scope('optimizers'):
        step = ops.minimize(kind(tf.constant(0.5) * 0.5 if as_tensor else 0.25), tf.reduce_sum(w ** 2) / 2, 'net/', 'w_step')
    assert step.name == 'optimizers/w_step'
    (name, norm), (same, rate) = tf.get_collection('gradient_norms') + tf.get_collection('learning_rates')
    assert name == same == 'w_step' and norm.op.name.startswith('optimizers/w_step/')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            assert session.run([norm, rate, count]) == [5, 0.25, 0]
        assert session.run([norm, rate, step])[:2] == [5, 0.25]
        assert session.run(count) == 1 and session.run(norm) < 5


@pytest.mark.parametrize('bfloat16', [False, True])
@pytest.mark.parametrize('h, channels, filters, size, stride, padding', [
    (14, 16, 20, 4, 2, 'SAME'), (13, 16, 3, 5, 2, 'SAME'), (28, 1, 16, 4, 2, 'SAME'), (9, 17, 4, 3, 1, 'SAME'),
    (12, 16, 1, 6, 3, 'SAME'), (14, 16, 1, 4, 2, 'SAME'), (13, 16, 3, 5, 2, 'VALID')])
def test_convolutions_and_their_gradients_are_tensorflows(monkeypatch, bfloat16, h, channels, filters, size, stride, padding):
    """The faster ways against tf.nn's own: results, first and second derivatives."""
    monkeypatch.setattr(convolutions, 'BFLOAT16', bfloat16)
    rng = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(rng.normal(size=[5, h, h, channels]), tf.float32)
        forward, back = (layer(x, filters, name, size, stride, padding)
                         for layer, name in ((ops.conv, 'conv'), (ops.conv_transpose, 'transposed')))
        w, v = (kernel for kernel in tf.trainable_variables() if 'weights' in kernel.name)
        plain = (tf.nn.conv2d(x, w, stride, padding),
                 tf.nn.conv2d_transpose(x, tf.transpose(v, [0, 1, 3, 2]), back.shape.as_list(), stride, padding))
        pairs = []
        for mine, theirs, kernel in (forward, plain[0], w), (back, plain[1], v):
            weight = tf.constant(rng.normal(size=theirs.shape), tf.float32)
            both = [[y, *tf.gradients(y, [x, kernel], weight)] for y in (mine, theirs)]
            second = [tf.gradients(tf.reduce_sum(found[1] ** 3), kernel) for found in both]
            pairs += list(zip(both[0] + second[0], both[1] + second[1], strict=True))
        session.run(tf.global_variables_initializer())
        for mine, theirs in session.run(pairs):
            np.testing.assert_allclose(mine, theirs, atol=2e-6 * np.abs(theirs).max())


# linear decay

@pytest.mark.parametrize('total, d_steps', [(4, 1), (5, 3)])
def test_the_rates_of_a_run_fall_along_a_line_for_the_updates_of_both_networks(total, d_steps):
    """1, 1 - 1 / n, ..., 1 / n in n steps, however many updates of D are in one; each slope is 1, so a move is the rate."""
    ws = {}
    for name in 'd', 'g':
        with ops.network(name):
            ws[name] = tf.get_variable('w', [], initializer=tf.zeros_initializer(), use_resource=True)
    with tf.variable_scope('optimizers'):
        updates = {name: update(-w, f'{name}/', ops.linear_decay()) for name, w in ws.items()}
    averaged = graph.sampling({}, 0.0, updates['g'])
    done, steps = graph.progress()
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        session.run(steps.initializer, {steps.initial_value: total})
        rates = []
        for _ in range(total):
            for operation in [updates['d']] * d_steps + [averaged.advance]:
                before = session.run(ws)
                session.run(operation)
                moved = {name: value - before[name] for name, value in session.run(ws).items()}
                rates.append(max(moved.values()))
                assert min(moved.values()) == 0
        assert session.run(done) == total
    np.testing.assert_allclose(rates, np.repeat((total - np.arange(total)) / total, d_steps + 1), rtol=1e-5)
    assert [v.op.name for v in (done, steps)] == ['optimizers/step', 'optimizers/steps']


def test_the_length_of_a_run_is_no_part_of_its_checkpoints():
    ops.linear_decay()
    assert [v.op.name for v in tf.global_variables()] == ['optimizers/step']
    assert [v.op.name for v in tf.local_variables()] == ['optimizers/steps'] and not tf.trainable_variables()
