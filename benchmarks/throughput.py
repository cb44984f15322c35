"""Steps a second of the scripts, and of the same networks in TensorFlow 1 style, PyTorch and JAX, on this machine.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.throughput docs/throughput-table.md
    python -m benchmarks.throughput table.md --only conv-64 --rounds 3

A step is one update of D, then one of G, each with noise of its own. All contestants are started first; then each runs
for a few seconds in turn while the others wait, round after round, so that a machine that slows down does so for all.
Ratios and shares of the matmul peak are taken within a round. The script's own path is `run.train` with its logging and its
averaged weights, which the others do without.
"""
import argparse
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
FC = ('gan_fc --z-dim 100 --g-hidden 128 --d-hidden 128 --activation relu --no-batch-norm --dropout 0 '
      '--batch-size 256 --weight-average 0 --precision ')
PEAKS = {'matmul float32': 'peak float32', 'matmul bfloat16': 'peak bfloat16'}
WORKLOADS = {           # name: (title, {contestant: file and arguments})
    'fc-256': ('Fully connected GAN 100-128-784, batch 256', {
        'this project, float32': 'ours ' + FC + 'float32',
        'this project, mixed': 'ours ' + FC + 'mixed',
        'TF 1 style, float32': 'tf1 fc 256 float32',
        'TF 1 style, bf16 rewrite': 'tf1 fc 256 bfloat16',
        'PyTorch eager, float32': 'pytorch fc 256 float32 eager',
        'PyTorch compile, float32': 'pytorch fc 256 float32 compile',
        'PyTorch eager, bf16 autocast': 'pytorch fc 256 bfloat16 eager',
        'PyTorch compile, bf16 autocast': 'pytorch fc 256 bfloat16 compile',
        'JAX jit + scan, float32': 'jax_scan fc 256 float32 products',
        'JAX jit + scan, bf16': 'jax_scan fc 256 bfloat16 products'})}
for batch in 64, 128:
    WORKLOADS[f'conv-{batch}'] = (f'Convolutional GAN of dcgan.py, batch {batch}', {
        'this project, float32': f'ours dcgan --batch-size {batch} --precision float32',
        'this project, mixed': f'ours dcgan --batch-size {batch} --precision mixed',
        'TF 1 style, float32': f'tf1 conv {batch} float32',
        'TF 1 style, bf16 rewrite': f'tf1 conv {batch} bfloat16',
        'PyTorch eager, float32': f'pytorch conv {batch} float32 eager',
        'PyTorch compile, float32': f'pytorch conv {batch} float32 compile',
        'PyTorch eager, bf16 autocast': f'pytorch conv {batch} bfloat16 eager',
        'PyTorch compile, bf16 autocast': f'pytorch conv {batch} bfloat16 compile',
        'JAX jit + scan, float32': f'jax_scan conv {batch} float32 products',
        'JAX jit + scan, bf16': f'jax_scan conv {batch} bfloat16 products'})
WORKLOADS['pix2pix-64'] = ('pix2pix.py, grey into colour, 64 pixels, batch 32', {
    **{f'this project, {precision}': 'ours pix2pix --dataset COLOUR --task colour --image-size 64 --channels 3 --batch-size 32 '
                                     f'--precision {precision}' for precision in ('float32', 'mixed')},
    'PyTorch eager, float32': 'pytorch_pix2pix 32 float32',
    'PyTorch eager, bf16 autocast': 'pytorch_pix2pix 32 bfloat16'})


def heard(process, errors):
    """The next message of a program of benchmarks/contest, JSON behind an @; without one, SystemExit with its last `errors`."""
    for line in process.stdout:
        if line.startswith('@'):
            return json.loads(line[1:])
    errors.seek(0)
    raise SystemExit(errors.read()[-2000:])


class Contestant:
    """A program that is told how many seconds to run, again and again."""

    def __init__(self, command):
        name, *arguments = command.split()
        self.errors = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen([sys.executable, '-m', f'benchmarks.contest.{name}', *arguments], text=True, cwd=ROOT,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '2'})
        self.facts, self.rates = heard(self.process, self.errors), []

    def run(self, seconds):
        print(seconds, file=self.process.stdin, flush=True)
        self.facts.update(heard(self.process, self.errors))
        self.rates.append(self.facts['steps'] / self.facts['seconds'])

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def in_turns(starts, rounds, seconds):
    """{name: contestant} that were started one by one and then took turns; starts: {name: function that starts it}."""
    contestants = {}
    try:
        for name, start in starts.items():
            contestants[name] = start()
            print(f'{name} is ready', file=sys.stderr, flush=True)
        for number in range(rounds):
            for contestant in contestants.values():
                time.sleep(0.3)         # threads of the one before may still spin
                contestant.run(seconds)
            print(f'round {number + 1} of {rounds}', file=sys.stderr, flush=True)
    finally:
        for contestant in contestants.values():
            contestant.end()
    return contestants


def measure(commands, rounds, seconds):
    """{contestant: (steps a second of each round, facts)} of contestants that take turns."""
    starts = {name: functools.partial(Contestant, command) for name, command in {**PEAKS, **commands}.items()}
    return {name: (contestant.rates, contestant.facts) for name, contestant in in_turns(starts, rounds, seconds).items()}


def table(title, found):
    """Markdown of what `measure` found."""
    ours = [name for name in found if name.startswith('this project')]
    flop = found[ours[0]][1]['flop']
    peaks = {kind: [rate * found[name][1]['flop'] for rate in found[name][0]]
             for kind, name in (('float32', 'matmul float32'), ('mixed', 'matmul bfloat16'))}
    lines = [f'### {title}', '',
             f'{flop / 1e9:.3g} GFLOP of products a step; matmul peak {statistics.median(peaks["float32"]) / 1e9:.0f} GFLOP/s in '
             f'float32, {statistics.median(peaks["mixed"]) / 1e9:.0f} in bfloat16.', '',
             '| | steps/s, median | lowest to highest | GFLOP/s | share of the peak | ours float32 / it | ours mixed / it '
             '| peak memory, MB |',
             '|---|---|---|---|---|---|---|---|']
    for name, (rates, facts) in found.items():
        if name.startswith('matmul'):
            continue
        peak = peaks['float32' if name.endswith('float32') else 'mixed']
        share = statistics.median(rate * flop / most for rate, most in zip(rates, peak, strict=True))
        ratios = [statistics.median(a / b for a, b in zip(found[our][0], rates, strict=True)) for our in ours]
        lines.append(f'| {name} | {statistics.median(rates):.4g} | {min(rates):.4g} to {max(rates):.4g} '
                     f'| {statistics.median(rates) * flop / 1e9:.0f} | {share:.0%} | {ratios[0]:.2f} | {ratios[1]:.2f} '
                     f'| {facts["peak_mb"]:.0f} |')
    return '\n'.join(lines) + '\n'


def machine():
    """A line about this machine and the versions."""
    info = pathlib.Path('/proc/cpuinfo').read_text()
    model = next(line.split(': ')[1] for line in info.splitlines() if line.startswith('model name'))
    words = [word for word in ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16') if word in info]
    versions = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in ('tensorflow', 'torch', 'jax', 'numpy'))
    return f'{os.cpu_count()} cores, {model} ({", ".join(words)}); Python {platform.python_version()}, {versions}.'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('path', help='Markdown file to write')
    parser.add_argument('--only', nargs='+', choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--seconds', type=float, default=2.0, help='of a contestant in a round')
    options = parser.parse_args()
    text = f'{machine()} {options.rounds} rounds of {options.seconds:g} s each.\n'
    for name in options.only:
        title, commands = WORKLOADS[name]
        text += '\n' + table(title, measure(commands, options.rounds, options.seconds))
    print(text)
    pathlib.Path(options.path).write_text(text)


if __name__ == '__main__':
    main()
