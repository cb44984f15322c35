"""Layers as plain functions on get_variable + tf.nn, random numbers, and one optimizer step.

Every random number is a pure function of the graph's seed (`tf.set_random_seed`), a name and a counter that
checkpoints keep: a run that is stopped and resumed draws what it would have drawn.
Images are NHWC. Variables are named by the scopes around them, so `generator/` and `discriminator/` partition them.
"""
import contextlib
import functools
import math
import zlib

from plumbing import cluster, convolutions, files, graph

import numpy as np
import tensorflow.compat.v1 as tf


@contextlib.contextmanager
def network(name, initializer=None, constraint=None):
    """Scope of a network: entering it again shares its variables and its box in the TensorBoard graph.

    A name scope around it is a box inside: under tf.name_scope('real') the nodes of D are in discriminator/real/, beside
    those of discriminator/fake/. 'losses' is none, and a scope in it, such as losses/unrolled/, holds the network itself.

    initializer: of all weights, for example `ops.normal(0.02)`; `ops.glorot` if None. constraint: function that an
    optimizer applies to each variable after its update (tf.variable_scope's own does not reach the scopes inside).
    """
    def constrained(getter, *args, **options):
        return getter(*args, **{**options, 'constraint': constraint})

    outer, around = tf.get_variable_scope().name, tf.get_default_graph().get_name_scope()
    inside = list(filter(None, f'{around}/'.removeprefix(f'{outer}/').split('/')))
    with tf.variable_scope(name, initializer=initializer, reuse=tf.AUTO_REUSE, auxiliary_name_scope=False,
                           custom_getter=constrained) as scope:
        box, boxes = '/'.join([scope.name, *inside]), tf.get_collection_ref('boxes')
        if inside[:1] == ['losses']:
            box = scope.name if inside == ['losses'] else f'{around}/{name}'
        boxes.append((box, scope.name))
        try:
            with tf.name_scope(f'{box}/'):
                yield
        finally:
            boxes.pop()


def normal(stddev):
    """Initializer of weights from N(0, stddev^2)."""
    return lambda shape, seed: tf.random.stateless_normal(shape, seed, stddev=stddev)


def glorot(shape, seed):
    """Initializer of weights from N(0, 2 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 12); the default."""
    return tf.random.stateless_normal(shape, seed, stddev=(2 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1]))) ** 0.5)


def weights(shape):
    """Trainable float32 variable of `shape` [..., inputs, outputs], drawn by the scope's initializer.

    Raises UserError if it is larger than the machine's memory.
    """
    scope = tf.get_variable_scope()
    name = f'{scope.name}/weights'
    graph.check_size(name, shape)
    return tf.get_variable('weights', shape, initializer=seeded(scope.initializer or glorot, name))


def seeded(draw, name):
    """Initializer for tf.get_variable of the variable with the full name `name`, from `draw(shape, seed)`."""
    key = _key(name)
    return lambda shape, dtype, partition_info: draw(shape, [key, 0])


# A layer may end in an `activation`, a function from a tensor to a tensor, whose nodes are in the layer's box.

def flat(x):
    """x [B, ...] -> [B, n]."""
    return x if x.shape.ndims == 2 else tf.reshape(x, [-1, math.prod(x.shape[1:])])


def dense(x, units, name, bias=True, activation=None):
    """x [B, ...], `flat` -> [B, units]: activation(x W + b)."""
    with tf.variable_scope(name):
        x = flat(x)
        return _finished(tf.matmul(x, weights([x.shape[1], units])), bias, activation)


def unit_dense(x, units, name, gain=None, activation=None):
    """x [B, ...], `flat` -> [B, units]: activation(g x V / |V| + b), |V| the lengths of V's columns, g so those of the weights.

    Weight normalization (Salimans & Kingma 2016, arXiv:1602.07868, eq. 2). gain: what g stays at; if None, it is trained, from 1.
    """
    with tf.variable_scope(name):
        x = flat(x)
        v = tf.identity(weights([x.shape[1], units]))
        g = tf.get_variable('g', [units], initializer=tf.ones_initializer()) if gain is None else gain
        return _finished(tf.matmul(x, v) * (g / _lengths(v)), True, activation)  # not V is divided, which is larger


@tf.custom_gradient
def _lengths(v):
    """v [n, m] -> the lengths of its columns [m]; TensorFlow's own gradient takes three times as long."""
    lengths = tf.sqrt(tf.reduce_sum(tf.square(v), 0) + 1e-12)
    return lengths, lambda d: v * (d / lengths)


def conv(x, filters, name, size=4, stride=2, padding='SAME', bias=True, activation=None):
    """x [B, h, w, c] -> [B, h', w', filters], h' = ceil(h / stride) for SAME, ceil((h - size + 1) / stride) for VALID."""
    with tf.variable_scope(name):
        y = convolutions.conv(x, weights([size, size, x.shape[3], filters]), stride, padding)
        return _finished(y, bias, activation)


def conv_transpose(x, filters, name, size=4, stride=2, padding='SAME', bias=True, activation=None):
    """x [B, h, w, c] -> [B, h', w', filters], h' = h stride for SAME, (h - 1) stride + max(size, stride) for VALID.

    The gradient of `conv` with respect to its input (Dumoulin & Visin 2016, arXiv:1603.07285, chapter 4).
    """
    with tf.variable_scope(name):
        kernel = tf.transpose(weights([size, size, x.shape[3], filters]), [0, 1, 3, 2])  # outputs before inputs
        extra = max(size - stride, 0) if padding == 'VALID' else 0
        shape = [x.shape[0] or tf.shape(x)[0], x.shape[1] * stride + extra, x.shape[2] * stride + extra, filters]
        y = convolutions.conv_transpose(x, kernel, shape, stride, padding)
        return _finished(y, bias, activation)


def maxout(x, units, pieces, name):
    """x [B, n] -> [B, units]: each unit the maximum of `pieces` linear functions (Goodfellow et al. 2013, arXiv:1302.4389)."""
    return dense(x, units * pieces, name, activation=lambda h: functools.reduce(tf.maximum, tf.split(h, pieces, axis=1)))


def dense_stack(x, units, activation=tf.nn.relu):
    """x [B, ...] through the layers dense1, dense2, ... of `units`, a number for each -> [B, units[-1]]."""
    for number, count in enumerate(units, 1):
        x = dense(x, count, f'dense{number}', activation=activation)
    return x


def norm_stack(x, units, training, activation=tf.nn.relu):
    """x [B, ...] through the layers dense1, norm1, dense2, norm2, ... of `units`, a number for each -> [B, units[-1]]."""
    for number, count in enumerate(units, 1):
        x = dense(x, count, f'dense{number}', bias=False)
        x = batch_norm(x, training, f'norm{number}', activation=activation)
    return x


def dense_images(x, size, channels, activation=None):
    """x [B, n] -> images [B, size, size, channels] by one fully connected layer, `pixels`."""
    return tf.reshape(dense(x, size * size * channels, 'pixels', activation=activation), [-1, size, size, channels])


def conv_stack(x, width, training, activation=tf.nn.leaky_relu):
    """x [B, s, s, c] -> features [B, n], by the convolutions of DCGAN's discriminator (arXiv:1511.06434, section 3).

    Each of the layers conv1, conv2, ... halves the side, until 4 to 7 pixels are left; the first has `width` channels, each
    other twice as many as the one before, and all but the first have batch norm. Raises UserError as `depth` does.
    """
    h = conv(x, width, 'conv1', activation=activation)                           # for 28 pixels: [B, 14, 14, width]
    for number in range(2, depth(x.shape[2]) + 1):
        h = conv(h, width << number - 1, f'conv{number}', bias=False)            # [B, 7, 7, 2 width]
        h = batch_norm(h, training, f'conv{number}_norm', activation=activation)
    return flat(h)


def deconv_stack(h, size, channels, width, training):
    """h [B, n] -> images [B, size, size, channels] in [-1, 1], by the layers of DCGAN's generator (arXiv:1511.06434, figure 1).

    A fully connected layer, then deconv1, deconv2, ..., each of which doubles the side; the last but one has `width` channels.
    Raises UserError as `depth` does.
    """
    count = depth(size, channels)
    side, filters = size >> count, width << count - 1
    h = batch_norm(dense(h, side * side * filters, 'project', bias=False), training, 'project_norm', activation=tf.nn.relu)
    h = tf.reshape(h, [-1, side, side, filters])                                 # for 28 pixels: [B, 7, 7, 2 width]
    for number in range(1, count):
        h = conv_transpose(h, filters >> number, f'deconv{number}', bias=False)  # [B, 14, 14, width]
        h = batch_norm(h, training, f'deconv{number}_norm', activation=tf.nn.relu)
    return conv_transpose(h, channels, f'deconv{count}', activation=tf.tanh)     # [B, 28, 28, channels]


def max_pool(x, size=2):
    """x [B, h, w, c] -> (maxima [B, h / size, w / size, c], where in each picture they were, for `unpool`)."""
    assert x.shape[1] % size == x.shape[2] % size == 0, f'{x.shape} cannot be cut into squares of {size}'
    window = [1, size, size, 1]
    return tf.nn.max_pool_with_argmax(x, window, window, 'VALID', name='pool')


def unpool(x, size=2, switches=None):
    """x [B, h, w, c] -> [B, h size, w size, c]: each number fills a square of size x size.

    switches: the second result of a `max_pool` of this shape: each number goes back to where the maximum was, and the
    rest of its square is 0 (Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1).
    """
    def repeated(y):  # not tf.repeat: behind it the height is unknown to LiteRT's converter
        _, h, w, c = y.shape
        y = tf.reshape(tf.tile(tf.expand_dims(y, 2), [1, 1, size, 1, 1]), [-1, h * size, w, c])
        return tf.reshape(tf.tile(tf.expand_dims(y, 3), [1, 1, 1, size, 1]), [-1, h * size, w * size, c])

    with tf.name_scope('unpool'):
        filled = repeated(x)
        if switches is None:
            return filled
        shape = [1, x.shape[1] * size, x.shape[2] * size, x.shape[3]]
        here = tf.reshape(tf.range(math.prod(shape), dtype=tf.int64), shape)
        return tf.where(tf.equal(repeated(switches), here), filled, tf.zeros_like(filled))


def depth(size, channels=1):
    """How many layers of a DCGAN halve or double the side of its pictures [size, size, channels]: 2 for 28 pixels, 4 for 64.

    Raises UserError for sizes that leave no 4 to 7 pixels, and for other channels than 1 and 3.
    """
    count = (size // 4).bit_length() - 1
    if count < 2 or size % 2 ** count or channels not in (1, 3):
        raise files.UserError('IMAGE_SIZE must be 4 to 7, times 2 at least twice (28, 32, 64, 128, ...), CHANNELS 1 or 3')
    return count


EPSILON = 1e-5  # beside a variance, so that one of 0 does no harm


def batch_norm(x, training, name, affine=True, activation=None):
    """x [B, c] or [B, h, w, c], each channel normalized to mean 0 and variance 1, then scaled and shifted (arXiv:1502.03167).

    affine: a Python bool; False leaves out the scale and the offset.
    training: a Python bool. True uses the batch's statistics, and each update of this network moves the moving averages,
    moving <- 0.9 moving + 0.1 batch (the variance without bias, n / (n - 1)); False uses the moving averages.
    Raises UserError for a batch of one number in each channel, of which nothing would be left.
    """
    if training and x.shape[:-1].num_elements() == cluster.size() == 1:
        raise files.UserError('batch norm of a single number leaves nothing of it: BATCH_SIZE must be 2 or more')
    with tf.variable_scope(name):
        channels = [x.shape[-1]]
        scale, offset = tf.constant(1.0, shape=channels), tf.constant(0.0, shape=channels)
        if affine:
            scale = tf.get_variable('scale', channels, initializer=tf.ones_initializer())
            offset = tf.get_variable('offset', channels, initializer=tf.zeros_initializer())
        mean = tf.get_variable('moving_mean', channels, initializer=tf.zeros_initializer(), trainable=False)
        variance = tf.get_variable('moving_variance', channels, initializer=tf.ones_initializer(), trainable=False)
        pixels = x if x.shape.ndims == 4 else tf.reshape(x, [-1, 1, 1, *channels])
        if not training:
            tf.add_to_collection('norms', (pixels, mean, variance))  # see graph.sampling
            y, _, _ = tf.nn.fused_batch_norm(pixels, scale, offset, mean, variance, EPSILON, is_training=False)
        else:
            of_batch = functools.partial(cluster.batch_norm, epsilon=EPSILON)
            y, batch_mean, batch_variance = convolutions.in_full_channels(of_batch, pixels, scale, offset)
            for moving, batch in (mean, batch_mean), (variance, batch_variance):
                with_update(lambda moving=moving, batch=batch: moving.assign(
                    0.9 * moving.read_value() + (1 - 0.9) * batch, read_value=False))
        return _finished(tf.reshape(y, tf.shape(x)) if x.shape.ndims == 2 else y, False, activation)


def instance_norm(x, name, activation=None):
    """x [B, h, w, c], each channel of each picture normalized to mean 0 and variance 1, then scaled and shifted (Ulyanov et al.
    2016, arXiv:1607.08022). It leaves nothing of maps of one pixel."""
    return _normalized(x, [1, 2], name, activation)


def layer_norm(x, name, activation=None):
    """x [B, c] or [B, h, w, c], all of a picture normalized to mean 0 and variance 1, then each channel scaled and shifted (Ba et
    al. 2016, arXiv:1607.06450)."""
    return _normalized(x, list(range(1, x.shape.ndims)), name, activation)


def _normalized(x, axes, name, activation):
    with tf.variable_scope(name):
        scale = tf.get_variable('scale', [x.shape[-1]], initializer=tf.ones_initializer())
        offset = tf.get_variable('offset', [x.shape[-1]], initializer=tf.zeros_initializer())
        apart = x - tf.reduce_mean(x, axes, keepdims=True)
        y = apart * tf.rsqrt(tf.reduce_mean(tf.square(apart), axes, keepdims=True) + EPSILON) * scale + offset
        return _finished(y, False, activation)


@contextlib.contextmanager
def spectral_norm(training):
    """Divides all weights that are used inside by an estimate of their largest singular value (Miyato et al. 2018,
    arXiv:1802.05957, algorithm 1).

    A kernel counts as the matrix W [h w inputs, outputs]. One power iteration, v = W u / |W u|, then u = W' v / |W' v|, turns
    the saved vector u towards the singular vector: sigma = v' W u. training: a Python bool; with True each update of the
    network saves the new u, with False nothing does. A weight is divided once in a graph, however often its network is
    applied.
    """
    def divided(getter, name, *args, **options):
        w = getter(name, *args, **options)
        if not name.endswith('/weights'):
            return w
        known = tf.get_collection_ref(f'spectral_norm/{training}/{name}')
        if not known:
            size = w.shape[-1]
            u = getter(f'{name}/u', **{**options, 'shape': [1, size], 'trainable': False, 'constraint': None,
                                       'initializer': seeded(normal(1.0), f'{name}/u')})
            with tf.name_scope(f'{name}/spectral_norm/'):  # a getter starts without a name scope
                matrix = tf.reshape(w, [-1, size])
                v = tf.stop_gradient(_unit(tf.matmul(u.read_value(), matrix, transpose_b=True)))   # [1, h w inputs]
                turned = tf.stop_gradient(_unit(tf.matmul(v, matrix)))                             # [1, outputs]
                known.append(w / tf.reduce_sum(tf.matmul(v, matrix) * turned))
                if training:
                    with_update(lambda: u.assign(turned, read_value=False))
        return known[0]

    with tf.variable_scope(tf.get_variable_scope(), custom_getter=divided, auxiliary_name_scope=False):
        yield


def dropout(x, rate, name):
    """x [B, n], each number set to 0 with probability `rate` in [0, 1), the others divided by 1 - rate (arXiv:1207.0580)."""
    if not rate:
        return x
    with tf.variable_scope(name):
        kept = uniform(tf.shape(x), 'mask') >= rate
        return tf.where(kept, x / (1 - rate), tf.zeros_like(x))


def noise(shape, name='z'):
    """Float32 tensor of `shape` (known beforehand) from N(0, 1); every session call that reads it draws anew.

    The two coordinates of points in the plane (Box & Muller 1958), from half the uniform numbers of
    tf.random.stateless_normal: it takes half the time.
    Raises UserError if it is larger than the machine's memory.
    """
    graph.check_size(name, shape)
    def drawn(shape):
        count = math.prod(shape)
        u, v = tf.unstack(tf.random.stateless_uniform([2, -(-count // 2)], _seed(draws)))
        radius, angle = tf.sqrt(-2 * tf.math.log(1 - u)), 2 * math.pi * v
        return tf.reshape(tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 0)[:count], shape)

    draws = _draws(name)
    with tf.name_scope(name):
        return cluster.rows(shape, drawn)


def batch_mean(x):
    """The mean of x [B, ...] over the batch of all workers, which no gradient goes through."""
    found, = cluster.mean([tf.reduce_mean(x)])
    return found


def noisy(x, stddev, training, name='noise'):
    """x and, while training (a Python bool), noise from N(0, stddev^2)."""
    return x + stddev * noise(x.shape, name) if training and stddev else x


def binary(x, u):
    """Pictures x in [-1, 1] -> 0 or 1, with the grey as the probability of 1, by u of the same shape from U[0, 1)."""
    with tf.name_scope('binary'):
        return tf.cast(u < (x + 1) / 2, tf.float32)


def uniform(shape, name, low=0.0, high=1.0):
    """Float32 tensor of `shape` from U[low, high); every session call that reads it draws anew.

    Raises UserError if a `shape` that is known beforehand is larger than the machine's memory.
    """
    if not tf.is_tensor(shape):
        graph.check_size(name, shape)
    draws = _draws(name)
    with tf.name_scope(name):
        u = cluster.rows(shape, lambda shape: tf.random.stateless_uniform(shape, _seed(draws)))
        return u if (low, high) == (0.0, 1.0) else low + (high - low) * u


def category(batch_size, count, name):
    """One-hot y [batch_size, count] of categories that are equally likely; every session call that reads it draws anew."""
    with tf.name_scope(name):
        return tf.one_hot(tf.cast(count * uniform([batch_size], 'u'), tf.int32), count)


def in_blocks(function, x, size=500):
    """`function` of x [N, ...] to float32 [N, ...], `size` rows at a time: all at once would take gigabytes."""
    count = x.shape[0]
    rows = tf.reshape(tf.range(-(-count // size) * size) % count, [-1, size])
    applied = tf.autograph.experimental.do_not_convert(lambda some: function(tf.gather(x, some)))
    found = tf.map_fn(applied, rows, parallel_iterations=1, fn_output_signature=tf.float32)
    return tf.reshape(found, [-1, *found.shape[2:]])[:count]


def outside(function, x):
    """Scalar float32: `function` of x as an array, computed outside of the graph, which so holds nothing of what it knows."""
    return tf.reshape(tf.numpy_function(lambda array: np.float32(function(array)), [x], tf.float32), [])


def linear_decay():
    """Scalar tensor: the share of the steps of the run that are left, 1 at the first step and 1 / STEPS at the last."""
    done, total = graph.progress()
    with tf.name_scope('optimizers/linear_decay/'):
        return tf.nn.relu(1 - tf.cast(done.read_value(), tf.float32) / tf.cast(tf.maximum(total, 1), tf.float32))


def with_update(assign):
    """Has `assign`, a function that builds an assignment, run with each update of the network that is being built.

    Where an update is left out, so is the assignment. Assignments run in the order of their registration: a network that
    is applied twice moves its averages twice, in the order of the calls.
    """
    name_scope = tf.get_default_graph().get_name_scope()

    def scoped():
        with tf.name_scope(f'{name_scope}/' if name_scope else None):
            return assign()

    tf.add_to_collection('with_update', (f'{tf.get_variable_scope().name}/', scoped))


def minimize(optimizer, loss, scope, name='update'):
    """One step of `optimizer` on `loss` for the trainable variables under `scope`: 'generator/', or several in a tuple.

    What the networks under `scope` registered by `with_update`, such as their moving averages, is run too; what others
    registered is not. The operation and the box of its gradients have the `name`. For reports the collections
    'gradient_norms' and 'learning_rates' get (name, scalar tensor); a step inside tf.cond, which cannot be fetched, has none.
    """
    with tf.name_scope(name) as box:
        gradients = optimizer.compute_gradients(loss, [v for v in tf.trainable_variables() if v.op.name.startswith(scope)])
        gradients = list(zip(cluster.mean([gradient for gradient, _ in gradients]), [v for _, v in gradients], strict=True))
        norm = tf.linalg.global_norm([gradient for gradient, _ in gradients], 'gradient_norm')
        rate = optimizer._lr if isinstance(optimizer, tf.train.AdamOptimizer) else optimizer._learning_rate
        rate = tf.convert_to_tensor(rate, tf.float32, name='learning_rate')
    if tf.get_default_graph().is_fetchable(norm):
        tf.add_to_collection('gradient_norms', (name, norm))
        tf.add_to_collection('learning_rates', (name, rate))
    else:
        cluster.refuse_condition(name)
    updates = []
    for network, assign in tf.get_collection('with_update'):
        if network.startswith(scope):
            with tf.control_dependencies(updates[-1:]):
                updates.append(assign())
    with tf.control_dependencies([loss, *updates]):  # every report is of the weights before the step
        return optimizer.apply_gradients(gradients, name=box)


def _finished(y, bias, activation):
    if bias:
        y = tf.nn.bias_add(y, tf.get_variable('bias', [y.shape[-1]], initializer=tf.zeros_initializer()))
    return activation(y) if activation else y


def _draws(name):
    """A saved variable [], how often the numbers `name` were drawn; its name is the key of their random stream.

    Not get_variable: a network that draws and is applied twice has two counters and two streams. Their names do not have the
    boxes of `network` in them, so that a stream does not depend on how the picture of the graph is arranged.
    """
    counter = functools.partial(tf.Variable, 0, trainable=False, name=f'{name}_draws', dtype=tf.int64)
    scope, (box, network) = tf.get_default_graph().get_name_scope(), (tf.get_collection('boxes') or [('', '')])[-1]
    if box == network or not f'{scope}/'.startswith(f'{box}/'):
        return counter()
    layer = scope.removeprefix(box)[1:]
    with tf.name_scope(f'{network}/'), tf.name_scope(layer) if layer else contextlib.nullcontext():
        return counter()


def _seed(draws):
    """Seed int64 [2] of a stateless random operation, another one in every session call."""
    return tf.stack([tf.constant(_key(draws.op.name), tf.int64), draws.assign_add(1)])


def _unit(x):
    return x / tf.sqrt(tf.reduce_sum(x ** 2) + 1e-12)


def _key(name):
    return ((tf.get_default_graph().seed or 0) & 0x7FFFFFFF) << 32 | zlib.crc32(name.encode())
