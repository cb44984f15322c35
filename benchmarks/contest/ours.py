"""The real training path of a script: `run.train` itself, whose progress bar keeps the pace.

    python -m benchmarks.contest.ours dcgan --batch-size 64 …
    python -m benchmarks.contest.ours pix2pix --dataset COLOUR …      # a folder of 1,000 colour pictures of 64 pixels
"""
import contextlib
import importlib
import sys
import tempfile

import run
from benchmarks import flops
from benchmarks.contest.pace import Pace
from benchmarks.contest.pictures import written


class Bar:
    def set_postfix_str(self, *values, **options):
        pass

    def update(self):
        pace.tick()


def train(script, *, updates, **options):
    global pace
    pace = Pace(20, flop=sum(flops.count([update]) for update in updates))
    real_train(script, updates=updates, **options)


name, *arguments = sys.argv[1:]
real_train, run.train, run.progress.bar = run.train, train, lambda *given: contextlib.nullcontext(Bar())
with tempfile.TemporaryDirectory() as folder:
    arguments = [str(written(folder + '/pictures')) if word == 'COLOUR' else word for word in arguments]
    sys.argv = [name, *arguments, '--run-dir', folder + '/run', '--steps', '1000000000', '--eval-every', '0',
                '--sample-every', '0', '--checkpoint-every', '0']
    run.main(vars(importlib.import_module(name)))
