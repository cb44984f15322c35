"""The same networks the TensorFlow 1 way: placeholders, NumPy batches and noise, two session.run a step.

    python -m benchmarks.contest.tf1 fc|conv BATCH float32|bfloat16
"""
import sys

from benchmarks.contest.pace import Pace
from benchmarks.contest.pictures import pictures

import numpy as np
import tensorflow.compat.v1 as tf

kind, batch, precision = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tf.disable_eager_execution()


def variable(name, shape):
    return tf.get_variable(name, shape, initializer=tf.random_normal_initializer(stddev=0.02))


def dense(x, units, name, bias=True):
    y = tf.matmul(x, variable(name, [x.shape[1], units]))
    return y + tf.get_variable(name + '_bias', [units], initializer=tf.zeros_initializer()) if bias else y


def norm(x, name, activation):
    scale = tf.get_variable(name + '_scale', [x.shape[-1]], initializer=tf.ones_initializer())
    offset = tf.get_variable(name + '_offset', [x.shape[-1]], initializer=tf.zeros_initializer())
    pixels = x if x.shape.ndims == 4 else x[:, None, None, :]
    y, mean, variance = tf.nn.fused_batch_norm(pixels, scale, offset, epsilon=1e-5)
    for moving, value in ('mean', mean), ('variance', variance):
        average = tf.get_variable(f'{name}_{moving}', value.shape, initializer=tf.zeros_initializer(), trainable=False)
        tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, average.assign(0.9 * average + 0.1 * value))
    return activation(tf.reshape(y, [batch, *x.shape[1:]]))


def generator(z):
    with tf.variable_scope('generator', reuse=tf.AUTO_REUSE):
        if kind == 'fc':
            return tf.tanh(dense(tf.nn.relu(dense(z, 128, 'w1')), 784, 'w2'))
        h = norm(dense(z, 256, 'w1', bias=False), 'n1', tf.nn.relu)
        h = norm(dense(h, 6272, 'w2', bias=False), 'n2', tf.nn.relu)
        h = tf.nn.conv2d_transpose(tf.reshape(h, [batch, 7, 7, 128]), variable('w3', [4, 4, 64, 128]), [batch, 14, 14, 64], 2)
        h = norm(h, 'n3', tf.nn.relu)
        h = tf.nn.conv2d_transpose(h, variable('w4', [4, 4, 1, 64]), [batch, 28, 28, 1], 2)
        return tf.tanh(h + tf.get_variable('bias', [1], initializer=tf.zeros_initializer()))


def discriminator(x):
    with tf.variable_scope('discriminator', reuse=tf.AUTO_REUSE):
        if kind == 'fc':
            return dense(tf.nn.relu(dense(x, 128, 'w1')), 1, 'w2')
        h = tf.nn.conv2d(x, variable('w1', [4, 4, 1, 64]), 2, 'SAME')
        h = tf.nn.leaky_relu(h + tf.get_variable('bias', [64], initializer=tf.zeros_initializer()))
        h = norm(tf.nn.conv2d(h, variable('w2', [4, 4, 64, 128]), 2, 'SAME'), 'n1', tf.nn.leaky_relu)
        h = norm(dense(tf.reshape(h, [batch, 6272]), 256, 'w3', bias=False), 'n2', tf.nn.leaky_relu)
        return dense(h, 1, 'w4')


data = pictures(kind)
x, z = tf.placeholder(tf.float32, [batch, *data.shape[1:]]), tf.placeholder(tf.float32, [batch, 100])
real_logits, fake_logits = discriminator(x), discriminator(generator(z))
d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits))
g_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits))
steps = []
for scope, loss in ('discriminator/', d_loss), ('generator/', g_loss):
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS, scope)):
        steps.append(tf.train.AdamOptimizer(2e-4, 0.5).minimize(loss, var_list=tf.trainable_variables(scope)))
config = tf.ConfigProto()
if precision == 'bfloat16':
    rewrite = config.graph_options.rewrite_options
    rewrite.auto_mixed_precision_onednn_bfloat16 = type(rewrite).ON
data = data / np.float32(127.5) - 1
random = np.random.default_rng(0)
with tf.Session(config=config) as session:
    session.run(tf.global_variables_initializer())
    pace = Pace(10)
    while True:
        order = random.permutation(len(data))
        for i in range(len(data) // batch):
            real = data[order[i * batch:(i + 1) * batch]]
            session.run([steps[0], d_loss], {x: real, z: random.standard_normal([batch, 100], np.float32)})
            session.run([steps[1], g_loss], {z: random.standard_normal([batch, 100], np.float32)})
            pace.tick()
