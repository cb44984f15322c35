"""The time of collectives of given sizes, alone: a worker of a cluster, of which each runs the same rounds.

    python -m benchmarks.contest.reduction '{"name": [bytes, …], …}' rounds
"""
import json
import statistics
import sys
import time

from plumbing import cluster, coordination

import tensorflow.compat.v1 as tf


def main():
    kinds, rounds = json.loads(sys.argv[1]), int(sys.argv[2])
    tf.disable_eager_execution()
    cluster.join({'BATCH_SIZE': 2})
    worker, calls, spent = cluster.here(), {}, {name: [] for name in kinds}
    for name, sizes in kinds.items():
        dtype = tf.bfloat16 if 'bfloat16' in name else tf.float32
        sent = [tf.get_local_variable(f'v{len(calls)}_{i}', [size // 4], initializer=tf.ones_initializer(), use_resource=True)
                for i, size in enumerate(sizes)]
        with tf.control_dependencies([cluster.reduced(worker, tf.cast(v.read_value(), dtype)) for v in sent]):
            calls[name] = tf.no_op()
    with coordination.find_team().session(tf.ConfigProto(), {}) as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for number in range(rounds + 2):
            for name, call in calls.items():
                began = time.perf_counter()
                session.run(call)
                if number >= 2:
                    spent[name].append(time.perf_counter() - began)
    print('@' + json.dumps({name: statistics.median(times) for name, times in spent.items()}), flush=True)


if __name__ == '__main__':
    main()
