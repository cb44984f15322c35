"""Layers against NumPy, noise against its moments and its counters, one optimizer step against the other network."""
import ops

import convolutions
import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default():
        tf.set_random_seed(3)
        yield


def evaluate(tensor):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        values = session.run([tensor, {v.op.name: v for v in tf.global_variables()}])
    return values


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


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_dense_is_x_w_plus_b():
    x = random(4, 6)
    y, v = evaluate(ops.dense(tf.constant(x), 3, 'a'))
    np.testing.assert_allclose(y, x @ v['a/weights'] + v['a/bias'], rtol=1e-5)
    assert list(v) == ['a/weights', 'a/bias']


@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
@pytest.mark.parametrize('stride, size', [(1, 3), (2, 4), (2, 5), (3, 2)])
def test_conv_by_definition(stride, size, padding):
    x = random(2, 9, 8, 3)
    y, v = evaluate(ops.conv(tf.constant(x), 5, 'a', size, stride, padding))
    np.testing.assert_allclose(y, numpy_conv(x, v['a/weights'], stride, padding) + v['a/bias'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
@pytest.mark.parametrize('stride, size', [(1, 3), (2, 4), (2, 5), (3, 3)])
def test_conv_transpose_is_the_adjoint_of_conv(stride, size, padding):
    y = random(2, 4, 3, 6)
    x, v = evaluate(ops.conv_transpose(tf.constant(y), 5, 'a', size, stride, padding, bias=False))
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


@pytest.mark.parametrize('shape', [[8, 5], [4, 3, 2, 5]])
def test_batch_norm_training_and_sampling(shape):
    x = 3 * random(*shape) + 7
    with ops.network('net'):
        y = ops.batch_norm(tf.constant(x), True, 'norm', decay=0.9)
        sampled = ops.batch_norm(tf.constant(x), False, 'norm')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        axes = tuple(range(len(shape) - 1))
        mean, variance = x.mean(axes), x.var(axes)
        np.testing.assert_allclose(session.run(y), (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(session.run(sampled), x / np.sqrt(1 + 1e-5), rtol=1e-4)  # averages still 0 and 1
        for _ in range(2):
            session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        n = x.size / 5
        moving = session.run(tf.global_variables()[2:])
        np.testing.assert_allclose(moving[0], mean * (1 - 0.9 ** 2), rtol=1e-4)
        np.testing.assert_allclose(moving[1], 0.9 ** 2 + variance * n / (n - 1) * (1 - 0.9 ** 2), rtol=1e-4)
        np.testing.assert_allclose(session.run(sampled), (x - moving[0]) / np.sqrt(moving[1] + 1e-5), rtol=1e-3, atol=1e-4)


def test_a_network_applied_twice_updates_its_averages_in_the_order_of_the_calls():
    real, fake = random(8, 2), 5 + random(8, 2)
    with ops.network('d'):
        ops.batch_norm(tf.constant(real), True, 'norm')
    with ops.network('d'):
        ops.batch_norm(tf.constant(fake), True, 'norm')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
        expected = 0.9 * (0.1 * real.mean(0)) + 0.1 * fake.mean(0)
        np.testing.assert_allclose(session.run(tf.global_variables('d/norm/moving_mean')[0]), expected, rtol=1e-4)


def test_network_shares_variables_and_its_box_in_the_graph():
    for _ in range(3):
        with ops.network('net'):
            ops.dense(tf.zeros([2, 3]), 4, 'layer')
    assert len(tf.global_variables()) == 2
    assert {op.name.split('/')[0] for op in tf.get_default_graph().get_operations()} <= {'net', 'zeros', 'zeros_1', 'zeros_2'}


def test_initial_weights_depend_on_the_seed_and_the_name_not_on_the_order_of_building():
    def build(seed, names):
        with tf.Graph().as_default():
            tf.set_random_seed(seed)
            for name in names:
                ops.dense(tf.zeros([1, 200]), 300, name, bias=False)
            return evaluate(tf.no_op())[1]
    first, second = build(1, ['a', 'b']), build(1, ['b', 'a'])
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert abs(np.corrcoef(first['a/weights'].ravel(), first['b/weights'].ravel())[0, 1]) < 0.02
    assert not np.array_equal(first['a/weights'], build(2, ['a'])['a/weights'])
    assert first['a/weights'].std() == pytest.approx(np.sqrt(2 / 500), rel=0.02)  # Glorot & Bengio 2010, eq. 12


def test_the_scope_initializer_reaches_the_weights_and_only_them():
    with ops.network('net', initializer=ops.normal(0.02)):
        ops.conv(tf.zeros([1, 4, 4, 50]), 60, 'layer')
    _, v = evaluate(tf.no_op())
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
    (a, b), _ = evaluate([once, twice])
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
        step = ops.minimize(tf.train.GradientDescentOptimizer(0.1), loss, 'd/')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before, _, after = session.run(tf.global_variables()), session.run(step), session.run(tf.global_variables())
        changed = {v.op.name for v, a, b in zip(tf.global_variables(), before, after, strict=True) if not np.array_equal(a, b)}
    assert {name.split('/')[0] for name in changed} == {'d'}
    assert {'d/dense/weights', 'd/norm/moving_mean', 'd/norm/moving_variance'} <= changed


def test_minibatch_discrimination_by_definition():
    x = random(5, 6)
    y, v = evaluate(ops.minibatch_discrimination(tf.constant(x), 4, 3, 'a'))
    m = (x @ v['a/weights']).reshape(5, 4, 3)
    close = [[sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(5)) for b in range(4)] for i in range(5)]
    np.testing.assert_allclose(y, np.concatenate([x, close], 1), rtol=1e-4)


def test_minibatch_discrimination_pushes_two_samples_apart():
    """Two samples, one kernel of one dimension, weight w: o = 1 + exp(-|w| |a - b|) for both, and by hand its slope."""
    x = tf.constant([[0.7], [0.2]])
    y = ops.minibatch_discrimination(x, 1, 1, 'a')
    w = tf.trainable_variables('a/')[0]
    closeness, by_x, by_w = [y[:, 1], *tf.gradients(y[0, 1], [x, w])]
    (closeness, by_x, by_w), v = evaluate([closeness, by_x, by_w])
    w = v['a/weights'].item()
    close = np.exp(-abs(w) * 0.5)
    np.testing.assert_allclose(closeness, [1 + close] * 2, rtol=1e-5)
    np.testing.assert_allclose(by_x[:, 0], [-abs(w) * close, abs(w) * close], rtol=1e-5)
    assert by_w.item() == pytest.approx(-np.sign(w) * 0.5 * close, rel=1e-5)


def spectral(x, training, name='a'):
    with ops.spectral_norm(training), ops.network(name):
        return ops.dense(tf.reshape(ops.conv(x, 5, 'conv', 3), [x.shape[0], -1]), 4, 'dense')


def test_spectral_norm_divides_by_the_largest_singular_value():
    """One power iteration an update reaches numpy's value; what the matrix of a layer stretches most, it leaves at its length."""
    x = tf.constant(random(2, 6, 6, 2))
    loss = tf.reduce_sum(spectral(x, True) ** 2)
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, 'a/')
    used = {name: tf.get_collection(f'spectral_norm/True/a/{name}/weights')[0] for name in ('conv', 'dense')}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(100):
            session.run(updates)
        for name, w in session.run(used).items():
            whole = session.run(tf.trainable_variables(f'a/{name}/weights')[0]).reshape(-1, w.shape[-1])
            np.testing.assert_allclose(w.reshape(whole.shape), whole / np.linalg.svd(whole, compute_uv=False)[0], rtol=1e-3)
        assert len(updates) == 2 and {v.op.name for v in tf.trainable_variables()} == {
            'a/conv/weights', 'a/conv/bias', 'a/dense/weights', 'a/dense/bias'}
        assert np.isfinite(session.run(loss))


def test_spectral_norm_learns_by_the_papers_gradient():
    """d(W / sigma) with u and v held (eq. 12): dL/dW = (G - <G, W / sigma> v u') / sigma, at one power iteration."""
    x = random(3, 4)
    with ops.spectral_norm(True), ops.network('a'):
        y = ops.dense(tf.constant(x), 5, 'dense', bias=False)
    slope, = tf.gradients(tf.reduce_sum(y ** 2), tf.trainable_variables('a/'))
    slope, v = evaluate(slope)
    w, u = v['a/dense/weights'].astype(float), v['a/dense/weights/u'][0].astype(float)
    right = w @ u / np.linalg.norm(w @ u)
    left = right @ w / np.linalg.norm(right @ w)
    sigma = right @ w @ left
    by_used = 2 * x.T @ (x @ (w / sigma))
    expected = (by_used - (by_used * w / sigma).sum() * np.outer(right, left)) / sigma
    np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-4)


def test_singular_vectors_turn_with_their_own_network_alone():
    x = ops.noise([4, 6, 6, 2], 'x')
    spectral(x, True), spectral(x, True), spectral(x, True, 'b')
    shown = spectral(x, False)
    steps = [ops.minimize(tf.train.GradientDescentOptimizer(0.1), tf.reduce_sum(spectral(x, True, name) ** 2), f'{name}/')
             for name in 'ab']
    vectors = [v for v in tf.global_variables() if v.op.name.endswith('/u')]
    assert len(vectors) == 4 and len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 4  # once, however often it is applied
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for command, moves in (shown, ''), (steps[0], 'a'), (steps[1], 'b'):
            before = session.run(vectors)
            session.run(command)
            moved = {v.name[0] for v, old, new in zip(vectors, before, session.run(vectors), strict=True) if (old != new).any()}
            assert moved == set(moves)


@pytest.mark.parametrize('bfloat16', [False, True])
@pytest.mark.parametrize('h, channels, filters, size, stride, padding', [
    (14, 16, 20, 4, 2, 'SAME'), (13, 16, 3, 5, 2, 'SAME'), (28, 1, 16, 4, 2, 'SAME'), (9, 17, 4, 3, 1, 'SAME'),
    (12, 16, 1, 6, 3, 'SAME'), (14, 16, 1, 4, 2, 'SAME'), (13, 16, 3, 5, 2, 'VALID')])
def test_convolutions_and_their_gradients_are_tensorflows(monkeypatch, bfloat16, h, channels, filters, size, stride, padding):
    """The faster ways against tf.nn's own: results, first and second derivatives."""
    monkeypatch.setattr(convolutions, 'BFLOAT16', bfloat16)
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(random.normal(size=[5, h, h, channels]), tf.float32)
        forward, back = (layer(x, filters, name, size, stride, padding)
                         for layer, name in ((ops.conv, 'conv'), (ops.conv_transpose, 'transposed')))
        w, v = (kernel for kernel in tf.trainable_variables() if 'weights' in kernel.name)
        plain = (tf.nn.conv2d(x, w, stride, padding),
                 tf.nn.conv2d_transpose(x, tf.transpose(v, [0, 1, 3, 2]), back.shape.as_list(), stride, padding))
        pairs = []
        for mine, theirs, kernel in (forward, plain[0], w), (back, plain[1], v):
            weight = tf.constant(random.normal(size=theirs.shape), tf.float32)
            both = [[y, *tf.gradients(y, [x, kernel], weight)] for y in (mine, theirs)]
            second = [tf.gradients(tf.reduce_sum(found[1] ** 3), kernel) for found in both]
            pairs += list(zip(both[0] + second[0], both[1] + second[1], strict=True))
        session.run(tf.global_variables_initializer())
        for mine, theirs in session.run(pairs):
            np.testing.assert_allclose(mine, theirs, atol=2e-6 * np.abs(theirs).max())
