"""What a second worker is worth: steps and samples a second, what a step sends, and what a network would allow.

    python -m benchmarks.cluster

The ceiling is that of two trainings side by side that know nothing of each other: they share the memory and the caches, no more.
Two workers on this machine against one process, with one thread each, on two processors that nothing else uses. Contestants are
started first; then each runs in turn while the others wait, and ratios are taken within a round. The estimate for networks is
arithmetic on these figures, not a measurement.
"""
import argparse
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import launch
from benchmarks import throughput
from plumbing import jobs

ROOT = pathlib.Path(__file__).parents[1]
FC, CONV = 'gan_fc --precision float32 --batch-size', 'dcgan --precision float32 --batch-size'
ALONE = 'two trainings of their own, batch 64 each'
CONTESTANTS = {     # name: (workers, arguments of benchmarks.contest.shared[, whether they train together])
    'gan_fc.py': {'one, batch 64': (1, f'common {FC} 64'), 'two, global 64': (2, f'common {FC} 64'),
                  'two, global 128': (2, f'common {FC} 128'), 'two, global 64, own statistics': (2, f'own {FC} 64')},
    'dcgan.py': {'one, batch 64': (1, f'common {CONV} 64'), ALONE: (2, f'common {CONV} 64', False),
                 'two, global 64': (2, f'common {CONV} 64'),
                 'two, global 128': (2, f'common {CONV} 128'), 'two, global 64, own statistics': (2, f'own {CONV} 64'),
                 'two, global 128, own statistics': (2, f'own {CONV} 128')}}
LARGER = {'dcgan.py, 64 x 64': 'dcgan --precision float32 --batch-size 64 --image-size 64',      # of the estimate
          'dcgan.py, 128 x 128': 'dcgan --precision float32 --batch-size 16 --image-size 128'}
NETWORKS, LATENCY = {1: 0.117e9, 10: 1.17e9, 100: 11.7e9}, 50e-6   # GbE: bytes a second of payload; seconds of a message, assumed


class Team:
    """Processes that train together, of which the first one, the chief, is told how many seconds to run; or each by itself."""

    def __init__(self, workers, arguments, together=True):
        self.errors, self.rates = tempfile.TemporaryFile('w+'), []
        places, told = launch.environments(workers) if workers > 1 and together else [{}] * workers, 1 if together else workers
        self.processes = [subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.contest.shared', *arguments.split()], text=True, cwd=ROOT, stderr=self.errors,
            **dict.fromkeys(('stdin', 'stdout'), subprocess.PIPE if rank < told else subprocess.DEVNULL),
            env={**os.environ, **place, **dict.fromkeys(jobs.THREADS, '1'), 'GAN_PATIENCE': '100000'})
            for rank, place in enumerate(places)]
        self._told = self.processes[:told]
        self._hear()

    def _hear(self):
        return [throughput.heard(process, self.errors) for process in self._told]

    def run(self, seconds):
        for process in self._told:
            print(seconds, file=process.stdin, flush=True)
        self.rates.append(statistics.mean(heard['steps'] / heard['seconds'] for heard in self._hear()))

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


def measure(contestants, rounds, seconds):
    """{name: steps a second in each round} of contestants, {name: (workers, arguments)}, that take turns."""
    starts = {name: functools.partial(Team, *given) for name, given in contestants.items()}
    return {name: contestant.rates for name, contestant in throughput.in_turns(starts, rounds, seconds).items()}


def output(*arguments):
    """What a program of benchmarks/contest prints as its last line, as JSON."""
    done = subprocess.run([sys.executable, '-m', *arguments], cwd=ROOT, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def reduction(kinds, rounds=30):
    """{name: median seconds of a call} of two workers that reduce messages, {name: [bytes, ...]}, and do nothing else."""
    command = [sys.executable, '-m', 'benchmarks.contest.reduction', json.dumps(kinds), str(rounds)]
    processes = [subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  env={**os.environ, **place, **dict.fromkeys(jobs.THREADS, '1')})
                 for place in launch.environments(2)]
    out = [process.communicate()[0] for process in processes]
    return json.loads(next(line[1:] for line in out[0].splitlines() if line.startswith('@')))


def scaling(title, rates):
    """Markdown of one script: `rates` of `measure`, whose first contestant is one process with a batch of 64."""
    first = next(iter(rates))
    lines = [f'### {title}', '', '| | steps/s, median | lowest to highest | steps against one | samples against one |',
             '|---|---|---|---|---|']
    for name, found in rates.items():
        ratio = statistics.median(ours / base for ours, base in zip(found, rates[first], strict=True))
        times = 2 if 'global 128' in name or name == ALONE else 1
        lines.append(f'| {name} | {statistics.median(found):.3g} | {min(found):.3g} to {max(found):.3g} | {ratio:.2f} '
                     f'| {ratio * times:.2f} |')
    return '\n'.join(lines) + '\n'


def estimate(steps, sent, rate):
    """Markdown: the share of a step that is left for computing when each worker has one process's batch (weak scaling).

    steps: {network: seconds of a step of one process}; sent: {network: [bytes of a message, ...]}; rate: bytes a second that
    the collective itself has reached here, which bounds it on any network.
    """
    lines = ['| | step of one process, s | sent in a step, MB in messages | workers | '
             + ' | '.join(f'{name} GbE' for name in NETWORKS) + ' |', '|---|---|---|---|' + '---|' * len(NETWORKS)]
    for name, seconds in steps.items():
        size = sum(sent[name])
        for workers in 2, 8, 32:
            cells = []
            for bandwidth in NETWORKS.values():
                wire = 2 * (workers - 1) / workers * size / min(bandwidth, rate)
                cells.append(f'{seconds / (seconds + wire + 2 * (workers - 1) * LATENCY * len(sent[name])):.0%}')
            lines.append(f'| {name} | {seconds:.3g} | {size / 1e6:.3g} in {len(sent[name])} | {workers} | {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=4.0, help='of a contestant in a round')
    parser.add_argument('--no-larger', action='store_true', help='leave out 64 and 128 pixels, which take minutes')
    options = parser.parse_args()
    steps, sent, costs = {}, {}, {}
    for title in options.only:
        contestants = CONTESTANTS[title]
        rates = measure(contestants, options.rounds, options.seconds)
        print(scaling(title, rates), flush=True)
        steps[title] = 1 / statistics.median(rates['one, batch 64'])
        sent[title] = output('benchmarks.contest.shared', *contestants['one, batch 64'][1].replace('common', 'messages').split())
        whole, rest = sent[title][:2], sent[title][2:]      # the gradients of two updates are the largest
        kinds = {'as they are': sent[title], 'the gradients alone': whole, 'what batch norm sends alone': rest,
                 'the gradients in bfloat16': whole, 'the gradients in one message': [sum(whole)],
                 'the gradients in eight messages each': [m // 8 // 4 * 4 for m in whole for _ in range(8)]}
        kinds = {name: sizes for name, sizes in kinds.items() if sizes}
        costs[title] = reduction(kinds)
        step = 1 / statistics.median(rates['two, global 64'])
        print(f'### What a step of {title} sends\n\n| | MB | messages | ms | of a step of two workers, global 64 |')
        print('|---|---|---|---|---|')
        for name, seconds in costs[title].items():
            size = sum(kinds[name]) / (2 if 'bfloat16' in name else 1)
            print(f'| {name} | {size / 1e6:.3g} | {len(kinds[name])} | {1e3 * seconds:.3g} | {seconds / step:.0%} |')
        print(flush=True)
    for name, arguments in [] if options.no_larger else LARGER.items():
        rate, = measure({name: (1, f'common {arguments}')}, 2, 1.0).values()
        steps[name] = 1 / statistics.median(rate)
        sent[name] = output('benchmarks.contest.shared', 'messages', *arguments.split())
    title = options.only[-1]
    whole = sum(sent[title][:2])
    print('### Estimate: the share of a step that is left for computing, each worker with the batch of one process\n')
    print(estimate(steps, sent, whole / costs[title]['the gradients alone']))


if __name__ == '__main__':
    main()
