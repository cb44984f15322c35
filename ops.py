"""Layers as plain functions on get_variable + tf.nn, seeded noise, and one optimizer step.

Every random number is a pure function of the graph's seed (`tf.set_random_seed`), a name and a counter that
checkpoints keep: a run that is stopped and started again draws what it would have drawn.
Images are NHWC. Variables are named by the scopes around them, so `generator/` and `discriminator/` partition them.
"""
import contextlib
import functools
import math
import zlib

import convolutions

import tensorflow.compat.v1 as tf


@contextlib.contextmanager
def network(name, initializer=None, constraint=None):
    """Scope of a network: calling it again shares its variables and draws into the same box of the TensorBoard graph.

    initializer: of all weights, for example `ops.normal(0.02)`; `ops.glorot` if None. constraint: function that an
    optimizer applies to each variable after its update (tf.variable_scope's own does not reach the scopes inside).
    """
    def constrained(getter, *args, **options):
        return getter(*args, **{**options, 'constraint': constraint})

    outer = tf.get_default_graph().get_name_scope()
    with tf.variable_scope(name, initializer=initializer, reuse=tf.AUTO_REUSE, auxiliary_name_scope=False,
                           custom_getter=constrained):
        with tf.name_scope(f'{outer}/{name}/' if outer else f'{name}/'):
            yield


@contextlib.contextmanager
def substituted(values):
    """Inside, networks take `values` {name of a variable: tensor} for these variables of theirs, which are not touched."""
    def substitute(getter, name, *args, **options):
        variable = getter(name, *args, **options)
        return values.get(name, variable)

    with tf.variable_scope(tf.get_variable_scope(), custom_getter=substitute, auxiliary_name_scope=False):
        yield


def normal(stddev):
    """Initializer of weights from N(0, stddev^2)."""
    return lambda shape, seed: tf.random.stateless_normal(shape, seed, stddev=stddev)


def glorot(shape, seed):
    """Initializer of weights from N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12); the default."""
    area = 1
    for size in shape[:-2]:
        area *= size
    return tf.random.stateless_normal(shape, seed, stddev=(2 / (area * (shape[-2] + shape[-1]))) ** 0.5)


def weights(shape, name='weights'):
    """Trainable float32 variable of `shape` [..., inputs, outputs], drawn by the scope's initializer."""
    scope = tf.get_variable_scope()
    key = _key(f'{scope.name}/{name}')
    draw = scope.initializer or glorot
    return tf.get_variable(name, shape, initializer=lambda shape, dtype, partition_info: draw(shape, [key, 0]))


def dense(x, units, name, bias=True):
    """x [B, n] -> [B, units]: x W + b."""
    with tf.variable_scope(name):
        x = tf.matmul(x, weights([x.shape[1], units]))
        return _add_bias(x) if bias else x


def conv(x, filters, name, size=4, stride=2, padding='SAME', bias=True):
    """x [B, h, w, c] -> [B, h', w', filters], h' = ceil(h / stride) for SAME, ceil((h - size + 1) / stride) for VALID."""
    with tf.variable_scope(name):
        x = convolutions.conv(x, weights([size, size, x.shape[3], filters]), stride, padding)
        return _add_bias(x) if bias else x


def conv_transpose(x, filters, name, size=4, stride=2, padding='SAME', bias=True):
    """x [B, h, w, c] -> [B, h', w', filters], h' = h stride for SAME, (h - 1) stride + max(size, stride) for VALID.

    The gradient of `conv` with regard to its input (Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4).
    """
    with tf.variable_scope(name):
        kernel = tf.transpose(weights([size, size, x.shape[3], filters]), [0, 1, 3, 2])  # outputs before inputs
        extra = max(size - stride, 0) if padding == 'VALID' else 0
        shape = [x.shape[0] or tf.shape(x)[0], x.shape[1] * stride + extra, x.shape[2] * stride + extra, filters]
        y = convolutions.conv_transpose(x, kernel, shape, stride, padding)
        return _add_bias(y) if bias else y


def maxout(x, units, pieces, name):
    """x [B, n] -> [B, units]: each unit the maximum of `pieces` linear functions (Goodfellow et al. 2013, arXiv:1302.4389)."""
    linear = tf.split(dense(x, units * pieces, name), pieces, axis=1)
    return functools.reduce(tf.maximum, linear)


def pack(x, packing):
    """x [B, n] -> [B / packing, packing n], [B, h, w, c] -> [B / packing, h, w, packing c]: so many samples in a row are one.

    A discriminator of packs sees whether samples differ as much as data do (Lin et al. 2018, arXiv:1712.04086, section 2).
    """
    if x.shape.ndims == 2:
        return tf.reshape(x, [-1, packing * x.shape[1]])
    _, h, w, c = x.shape
    return tf.reshape(tf.transpose(tf.reshape(x, [-1, packing, h, w, c]), [0, 2, 3, 1, 4]), [-1, h, w, packing * c])


def max_pool(x, size=2):
    """x [B, h, w, c] -> (maxima [B, h / size, w / size, c], where in each picture they were, for `unpool`)."""
    assert x.shape[1] % size == x.shape[2] % size == 0, f'{x.shape} cannot be cut into squares of {size}'
    window = [1, size, size, 1]
    return tf.nn.max_pool_with_argmax(x, window, window, 'VALID')


def unpool(x, size=2, switches=None):
    """x [B, h, w, c] -> [B, h size, w size, c]: each number fills its square, or stands alone in it on 0.

    switches: the second result of a `max_pool` of this shape: each number goes back to where the maximum was
    (Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1).
    """
    def repeated(y):
        return tf.repeat(tf.repeat(y, size, axis=1), size, axis=2)

    filled = repeated(x)
    if switches is None:
        return filled
    shape = [1, x.shape[1] * size, x.shape[2] * size, x.shape[3]]
    here = tf.reshape(tf.range(math.prod(shape), dtype=tf.int64), shape)
    return tf.where(tf.equal(repeated(switches), here), filled, tf.zeros_like(filled))


def batch_norm(x, training, name, decay=0.9, epsilon=1e-5):
    """x [B, c] or [B, h, w, c], each channel to mean 0 and variance 1, then scaled and shifted (arXiv:1502.03167).

    training: a Python bool. True uses the batch's statistics and adds to UPDATE_OPS the updates of the moving
    averages, moving <- decay moving + (1 - decay) batch (the variance without bias, n / (n - 1)); False uses the averages.
    """
    with tf.variable_scope(name):
        channels = [x.shape[-1]]
        scale = tf.get_variable('scale', channels, initializer=tf.ones_initializer())
        offset = tf.get_variable('offset', channels, initializer=tf.zeros_initializer())
        mean = tf.get_variable('moving_mean', channels, initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable('moving_variance', channels, initializer=tf.ones_initializer(), trainable=False)
        pixels = x if x.shape.ndims == 4 else x[:, None, None, :]
        if not training:
            y, _, _ = tf.nn.fused_batch_norm(pixels, scale, offset, mean, variance, epsilon, is_training=False)
        else:
            y, batch_mean, batch_variance = tf.nn.fused_batch_norm(pixels, scale, offset, epsilon=epsilon)
            for moving, batch in (mean, batch_mean), (variance, batch_variance):
                earlier = [op for op in tf.get_collection(tf.GraphKeys.UPDATE_OPS) if op.inputs[0] is moving.handle]
                with tf.control_dependencies(earlier):  # a network applied twice: the order of its updates is fixed
                    update = moving.assign(decay * moving.read_value() + (1 - decay) * batch, read_value=False)
                tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return tf.reshape(y, tf.shape(x)) if x.shape.ndims == 2 else y


def minibatch_discrimination(x, kernels, dimensions, name):
    """x [B, n] -> [B, n + kernels]: x, and how close each sample is to the others (Salimans et al. 2016, arXiv:1606.03498, 3.2).

    M = x T [B, kernels, dimensions]; what is added is o_i = sum over j of exp(-|M_i - M_j|_1), j = i included.
    """
    with tf.variable_scope(name):
        m = tf.reshape(tf.matmul(x, weights([x.shape[1], kernels * dimensions])), [-1, kernels, dimensions])
        apart = tf.reduce_sum(tf.abs(m[:, None] - m[None]), 3)                # [B, B, kernels]
        return tf.concat([x, tf.reduce_sum(tf.exp(-apart), 1)], 1)


@contextlib.contextmanager
def spectral_norm(training):
    """Divides all weights that are used inside by their largest singular value (Miyato et al. 2018, arXiv:1802.05957, alg. 1).

    A kernel counts as the matrix W [h w inputs, outputs]. One power iteration, v = W u / |W u|, then u = W' v / |W' v|, turns
    the saved vector u towards the singular vector: sigma = v' W u. training: a Python bool; True adds the new u to UPDATE_OPS,
    False leaves the saved one. A weight is divided once in a graph, however often its network is applied.
    """
    def divided(getter, name, *args, **options):
        w = getter(name, *args, **options)
        if not name.endswith('/weights'):
            return w
        known = tf.get_collection_ref(f'spectral_norm/{training}/{name}')
        if not known:
            key, size = _key(f'{name}/u'), w.shape[-1]
            u = getter(f'{name}/u', **{**options, 'shape': [1, size], 'trainable': False, 'constraint': None, 'initializer':
                       lambda shape, dtype, partition_info: tf.random.stateless_normal(shape, [key, 0])})
            with tf.name_scope(f'{name}/spectral_norm/'):  # a getter starts without a name scope
                matrix = tf.reshape(w, [-1, size])
                v = tf.stop_gradient(_unit(tf.matmul(u.read_value(), matrix, transpose_b=True)))   # [1, h w inputs]
                turned = tf.stop_gradient(_unit(tf.matmul(v, matrix)))                             # [1, outputs]
                known.append(w / tf.reduce_sum(tf.matmul(v, matrix) * turned))
                if training:
                    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, u.assign(turned, read_value=False))
        return known[0]

    with tf.variable_scope(tf.get_variable_scope(), custom_getter=divided, auxiliary_name_scope=False):
        yield


def dropout(x, rate, name):
    """x [B, n] with each number set to 0 with probability `rate`, the others divided by 1 - rate (arXiv:1207.0580)."""
    if not rate:
        return x
    with tf.variable_scope(name):
        kept = uniform(tf.shape(x), 'mask') >= rate
        return tf.where(kept, x / (1 - rate), tf.zeros_like(x))


def noise(shape, name='z'):
    """Float32 tensor of `shape` (known beforehand) from N(0, 1); every session call that reads it draws anew.

    The two coordinates of points in the plane (Box & Muller 1958): half the time of tf.random.stateless_normal.
    """
    count = math.prod(shape)
    u, v = tf.unstack(tf.random.stateless_uniform([2, -(-count // 2)], _draw(name)))
    radius, angle = tf.sqrt(-2 * tf.math.log(1 - u)), 2 * math.pi * v
    return tf.reshape(tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 0)[:count], shape, name=name)


def uniform(shape, name):
    """Float32 tensor of `shape` from U[0, 1); every session call that reads it draws anew."""
    return tf.random.stateless_uniform(shape, _draw(name), name=name)


def share_left(name, updates):
    """Scalar tensor: 1 at the first update of the network `name`, then falling along a line to 0 after so many updates."""
    with network(name):
        done = tf.get_variable('updates', [], initializer=tf.zeros_initializer(), trainable=False)
        before = done.read_value()
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, done.assign(before + 1, read_value=False))
        return tf.nn.relu(1 - before / updates)


def minimize(optimizer, loss, scope):
    """One step of `optimizer` on `loss` for the trainable variables under `scope`, for example 'generator/'.

    The moving averages under `scope` are updated with it, those of other networks are not.
    """
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)
    gradients = optimizer.compute_gradients(loss, tf.trainable_variables(scope))
    with tf.control_dependencies([loss, *updates]):  # every report is of the weights before the step
        return optimizer.apply_gradients(gradients)


def _unit(x):
    return x / tf.sqrt(tf.reduce_sum(x ** 2) + 1e-12)


def _add_bias(x):
    return tf.nn.bias_add(x, tf.get_variable('bias', [x.shape[-1]], initializer=tf.zeros_initializer()))


def _key(name):
    return ((tf.get_default_graph().seed or 0) & 0x7FFFFFFF) << 32 | zlib.crc32(name.encode())


def _draw(name):
    # Not get_variable: a network that draws and is applied twice has two counters and two streams.
    draws = tf.Variable(0, trainable=False, name=f'{name}_draws', dtype=tf.int64)
    return tf.stack([tf.constant(_key(draws.op.name), tf.int64), draws.assign_add(1)])
