"""Where a step's time goes: kernel time by operation, from TensorFlow's own timeline (RunMetadata).

    python -m benchmarks.kernels dcgan --batch-size 128 --precision mixed

Kernels run at the same time on several threads: their sum may exceed the wall time, which includes the tracing here.
"""
import collections
import importlib
import sys
import time

import run
from benchmarks import flops
from plumbing import hardware

import tensorflow.compat.v1 as tf

STEPS = 5
ROWS = 25


def train(script, *, updates, **options):
    """In the place of run.train: traces STEPS steps of the updates, without the averaged weights."""
    config = hardware.session_config(hardware.resolve(run.PRECISION))
    traced = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    spent, calls, wall = collections.Counter(), collections.Counter(), 0
    with tf.Session(config=config) as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for number in range(STEPS + 2):                 # the first two compile and warm up
            for update in updates:
                found, start = tf.RunMetadata(), time.perf_counter()
                session.run(update, options=traced, run_metadata=found)
                if number >= 2:
                    wall += time.perf_counter() - start
                    for node in (node for device in found.step_stats.dev_stats for node in device.node_stats):
                        _, _, kernel = node.timeline_label.partition(' = ')
                        kernel = kernel.partition('(')[0] or node.node_name
                        spent[kernel] += node.op_end_rel_micros - node.op_start_rel_micros
                        calls[kernel] += 1
    print(f'a step: {sum(flops.count([update]) for update in updates) / 1e9:.3g} GFLOP, {wall / STEPS * 1e3:.1f} ms traced, '
          f'{sum(spent.values()) / STEPS / 1e3:.1f} ms in {sum(calls.values()) // STEPS} kernels')
    for kernel, micros in spent.most_common(ROWS):
        print(f'{micros / STEPS / 1e3:8.2f} ms {calls[kernel] // STEPS:4d} x {kernel}')
    sys.exit()              # before the script does anything with the results of a run


if __name__ == '__main__':
    name, *sys.argv[1:] = sys.argv[1:]
    sys.argv[0] = name
    run.train = train
    run.main(vars(importlib.import_module(name)))
