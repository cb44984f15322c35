"""The same networks in JAX: data on the device, many steps in one compiled scan, weights donated.

    python -m benchmarks.contest.jax_scan fc|conv BATCH float32|bfloat16 convolution|products

Convolutions of stride 2 as XLA has them, or as products of shifted slices, whichever is faster there.
"""
import functools
import sys

from benchmarks.contest.pace import Pace
from benchmarks.contest.pictures import pictures

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

kind, batch, precision, how = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
low = jnp.dtype(precision)
CHUNK = 60000 // batch if kind == 'fc' else 8       # steps in a call; an epoch of convolutions would be a minute

random = np.random.default_rng(0)


def weight(*shape):
    return jnp.asarray(random.normal(0, 0.02, shape), jnp.float32)


def dot(x, w):
    return jnp.dot(x.astype(low), w.astype(low)).astype(jnp.float32)


def conv(x, w):                 # w [4, 4, in, out]
    if how == 'convolution':
        return lax.conv_general_dilated(x.astype(low), w.astype(low), (2, 2), 'SAME',
                                        dimension_numbers=('NHWC', 'HWIO', 'NHWC')).astype(jnp.float32)
    b, h, _, c = x.shape
    x = jnp.pad(x.astype(low), [(0, 0), (1, 1), (1, 1), (0, 0)])
    taps = [x[:, i:i + h:2, j:j + h:2] for i in range(4) for j in range(4)]
    return dot(jnp.concatenate(taps, 3).reshape(-1, 16 * c), w.reshape(16 * c, -1)).reshape(b, h // 2, h // 2, -1)


def deconv(x, w):               # w [4, 4, in, out]
    if how == 'convolution':
        return lax.conv_transpose(x.astype(low), w.astype(low), (2, 2), 'SAME').astype(jnp.float32)
    b, h, _, c = x.shape
    y = dot(x.reshape(-1, c), w.transpose(2, 0, 1, 3).reshape(c, -1)).reshape(b, h, h, 2, 2, 2, 2, -1)
    out = 0                     # y[…, i, k, j, l, …] lands in the square (row + i, column + j), pixel (k, l)
    for i in range(2):
        for j in range(2):
            out += jnp.pad(y[:, :, :, i, :, j], [(0, 0), (i, 1 - i), (j, 1 - j), (0, 0), (0, 0), (0, 0)])
    return out.transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h + 2, 2 * h + 2, -1)[:, 1:-1, 1:-1]


def norm(x, p, name, averages):
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    averages[name] = (mean, variance)
    return (x - mean) * (lax.rsqrt(variance + 1e-5) * p[name][0]) + p[name][1]


def generator(p, z, averages):
    if kind == 'fc':
        return jnp.tanh(dot(jax.nn.relu(dot(z, p['w1']) + p['b1']), p['w2']) + p['b2'])
    h = jax.nn.relu(norm(dot(z, p['w1']), p, 'n1', averages))
    h = jax.nn.relu(norm(dot(h, p['w2']), p, 'n2', averages)).reshape(-1, 7, 7, 128)
    h = jax.nn.relu(norm(deconv(h, p['w3']), p, 'n3', averages))
    return jnp.tanh(deconv(h, p['w4']) + p['b4'])


def discriminator(p, x, averages):
    if kind == 'fc':
        return dot(jax.nn.relu(dot(x, p['w1']) + p['b1']), p['w2']) + p['b2']
    h = jax.nn.leaky_relu(conv(x, p['w1']) + p['b1'], 0.2)
    h = jax.nn.leaky_relu(norm(conv(h, p['w2']), p, 'n1', averages), 0.2).reshape(-1, 6272)
    h = jax.nn.leaky_relu(norm(dot(h, p['w3']), p, 'n2', averages), 0.2)
    return dot(h, p['w4']) + p['b4']


def fresh(n):
    return jnp.stack([jnp.ones(n), jnp.zeros(n)])


if kind == 'fc':
    g = {'w1': weight(100, 128), 'b1': jnp.zeros(128), 'w2': weight(128, 784), 'b2': jnp.zeros(784)}
    d = {'w1': weight(784, 128), 'b1': jnp.zeros(128), 'w2': weight(128, 1), 'b2': jnp.zeros(1)}
else:
    g = {'w1': weight(100, 256), 'n1': fresh(256), 'w2': weight(256, 6272), 'n2': fresh(6272),
         'w3': weight(4, 4, 128, 64), 'n3': fresh(64), 'w4': weight(4, 4, 64, 1), 'b4': jnp.zeros(1)}
    d = {'w1': weight(4, 4, 1, 64), 'b1': jnp.zeros(64), 'w2': weight(4, 4, 64, 128), 'n1': fresh(128),
         'w3': weight(6272, 256), 'n2': fresh(256), 'w4': weight(256, 1), 'b4': jnp.zeros(1)}


def adam(p, gradient, m, v, t):
    m = jax.tree.map(lambda m, g: 0.5 * m + 0.5 * g, m, gradient)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
    rate = 2e-4 * jnp.sqrt(1 - 0.999 ** t) / (1 - 0.5 ** t)
    return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), p, m, v), m, v


def d_loss(d, g, x, z):
    averages = {}
    fake = lax.stop_gradient(generator(g, z, {}))
    real = jax.nn.softplus(-discriminator(d, x, averages)).mean()
    return real + jax.nn.softplus(discriminator(d, fake, averages)).mean(), averages


def g_loss(g, d, z):
    averages = {}
    return jax.nn.softplus(-discriminator(d, generator(g, z, averages), {})).mean(), averages


def moved(moving, batch):
    return jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, moving, batch)


def step(state, _):
    d, dm, dv, g, gm, gv, d_moving, g_moving, key, t = state
    key, k1, k2, k3 = jax.random.split(key, 4)
    t += 1
    x = data[jax.random.randint(k3, [batch], 0, len(data))].astype(jnp.float32) / 127.5 - 1
    (dl, averages), gradient = jax.value_and_grad(d_loss, has_aux=True)(d, g, x, jax.random.normal(k1, [batch, 100]))
    d, dm, dv = adam(d, gradient, dm, dv, t)
    d_moving = moved(d_moving, averages)
    (gl, averages), gradient = jax.value_and_grad(g_loss, has_aux=True)(g, d, jax.random.normal(k2, [batch, 100]))
    g, gm, gv = adam(g, gradient, gm, gv, t)
    return (d, dm, dv, g, gm, gv, d_moving, moved(g_moving, averages), key, t), (dl, gl)


@functools.partial(jax.jit, donate_argnums=0)
def epoch(state):
    return lax.scan(step, state, None, CHUNK)


def zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


def means(names):
    return {name: (jnp.zeros(net[name].shape[1]), jnp.ones(net[name].shape[1])) for net, name in names if name in net}


data = jnp.asarray(pictures(kind))
state = (d, zeros(d), zeros(d), g, zeros(g), zeros(g), means([(d, 'n1'), (d, 'n2')]),
         means([(g, 'n1'), (g, 'n2'), (g, 'n3')]), jax.random.key(0), jnp.zeros(()))
pace = Pace(2 * CHUNK)
while True:
    state, scalars = epoch(state)
    jax.block_until_ready(scalars)
    pace.tick(CHUNK)
