"""A bound of log p(x) that takes long, and the mean of such measures over examples, once a run has ended."""
import math

from plumbing import graph, hardware, progress

import numpy as np
import tensorflow.compat.v1 as tf

BLOCK = 2**21  # numbers of a tensor, about, for which draws are taken together


def importance_weighted(x, m, log_var, decoder, e):
    """log 1/k sum p(x, z) / q(z|x) over k draws z = m + exp(log_var / 2) e: Burda et al. 2015, arXiv:1509.00519, eq. 8.

    Of one image x [1, H, W, C], whose pixels are Bernoulli with the logits decoder(z) [B, H, W, C]; q(z|x) has the mean m and
    the log-variance log_var [1, n], p(z) is N(0, 1), and e [k, n] is drawn from it.
    Returns (the bound [], its gap from the ELBO of the same draws [], which is 0 or more). The expectation of the bound is the
    ELBO for k = 1, and grows to log p(x) with k.
    """
    pixels, logs = math.prod(x.shape), []
    for start in range(0, e.shape[0], max(1, BLOCK // pixels)):
        with tf.control_dependencies(logs[-1:]):                                             # one block at a time in memory
            some = e[start:start + max(1, BLOCK // pixels)]
            z = m + tf.exp(log_var / 2) * some
            logits = tf.reshape(decoder(z), [-1, pixels])
            likelihood = tf.linalg.matvec(logits, tf.reshape(x, [pixels])) - tf.reduce_sum(tf.nn.softplus(logits), 1)
            logs.append(likelihood + tf.reduce_sum(tf.square(some) + log_var - tf.square(z), 1) / 2)  # log p(z) - log q(z|x)
    logs = tf.concat(logs, 0)
    bound = tf.reduce_logsumexp(logs) - math.log(e.shape[0])
    return bound, bound - tf.reduce_mean(logs)


def means(function, examples, weights):
    """{name: the mean of function(example, its number)[name] over all examples, an array}.

    function: of x [1, ...] and a whole number [], which may key random numbers, to {name: tensor}. It applies networks, whose
    variables are `weights`, {name: array}: in a graph of its own, and in 32 bits, whatever the training computes in.
    examples: float32 [N, ...].
    """
    with tf.Graph().as_default(), tf.Session(config=hardware.session_config('float32')) as session:
        x, number = tf.placeholder(tf.float32, [1, *examples.shape[1:]]), tf.placeholder(tf.int32, [])
        found = function(x, number)
        graph.check_memory()
        variables = tf.global_variables()
        session.run([v.initializer for v in variables], {v.initial_value: weights[v.op.name] for v in variables})
        sums = dict.fromkeys(found, 0.0)
        with progress.bar(0, len(examples), 'example') as bar:
            for i in range(len(examples)):
                for name, value in session.run(found, {x: examples[i:i + 1], number: i}).items():
                    sums[name] = sums[name] + np.asarray(value, float)
                bar.update()
    return {name: total / len(examples) for name, total in sums.items()}
