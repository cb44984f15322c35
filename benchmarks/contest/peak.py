"""The matmul peak of this machine: one large product after the other through TensorFlow. Argument: float32 or bfloat16."""
import sys

from benchmarks.contest.pace import Pace

import tensorflow.compat.v1 as tf

SIZE = 2048

kind = tf.as_dtype(sys.argv[1])
tf.disable_eager_execution()
a, b = (tf.get_variable(name, use_resource=True, initializer=tf.cast(tf.random.stateless_normal([SIZE, SIZE], [0, i]), kind))
        for i, name in enumerate('ab'))
product = tf.matmul(a.read_value(), b.read_value())
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    call = session.make_callable(product.op)
    pace = Pace(3, flop=2 * SIZE ** 3)
    while True:
        call()
        pace.tick()
