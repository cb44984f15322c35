"""The training path of a script, as one process or as a worker of a cluster, whose chief keeps the pace.

    python -m benchmarks.contest.shared common dcgan --batch-size 64 …       # or `own`: batch norm of each worker's own rows
    python -m benchmarks.contest.shared messages dcgan --image-size 64 …     # bytes of what a step sends, without training
"""
import contextlib
import importlib
import json
import os
import sys
import tempfile

import run
from benchmarks.contest.pace import Pace
from plumbing import cluster, graph

import tensorflow.compat.v1 as tf

WARM_UP = 2


class Bar:
    def __init__(self):
        self.pace = Pace(WARM_UP, messages=[])

    def set_postfix_str(self, *values, **options):
        pass

    def update(self):
        self.pace.tick()


def messages(updates):
    """Bytes of each collective that a step of `updates` takes part in."""
    found = [4 * operation.inputs[0].shape[0] for update in updates for operation in graph.ancestors(update)
             if operation.type == 'CollectiveReduceV2']
    return sorted(found, reverse=True)


def count(script, *, updates, **options):
    """In the place of run.train: tells of a step what it sends, and no more."""
    print(json.dumps(messages(updates)))
    sys.exit()


def main():
    what, name, *arguments = sys.argv[1:]
    if what == 'messages':
        run.train = count
        os.environ['TF_CONFIG'] = json.dumps({'cluster': {'worker': ['127.0.0.1:1', '127.0.0.1:2']},
                                              'task': {'type': 'worker', 'index': 0}})
    cluster.COMMON_STATISTICS = what != 'own'
    run.progress.bar = lambda *given: contextlib.nullcontext(Bar())
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = [name, *arguments, '--run-dir', folder + '/run', '--steps', '1000000000', '--eval-every', '0',
                    '--sample-every', '0', '--checkpoint-every', '0']
        tf.logging.set_verbosity(tf.logging.ERROR)
        run.main(vars(importlib.import_module(name)))


if __name__ == '__main__':
    main()
