"""How long until the pictures are good: seconds from the start of the command to 10, 5 and 2 times real pictures' distance.

    python -m benchmarks.quality results.json --budget 300                        # all recipes, three seeds
    python -m benchmarks.quality results.json --only dcgan common --dataset mnist --seeds 0 --budget 120

Each recipe is its script with flags, run as a program of its own until the budget is over. The Frechet distance is that of
5,000 samples; real pictures' is that of 5,000 test pictures. The clock is the user's: start, drawing and measuring included.
A result that is in the file already, of the same recipe and budget, is not measured again.
"""
import json
import math
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import data
import evaluation
from plumbing import flags, measures

import tensorflow.compat.v1 as tf

ROOT = pathlib.Path(__file__).parent.parent
COUNT = 5000
MULTIPLES = 10, 5, 2
PLAIN = '--no-batch-norm --dropout 0 --beta1 0.9 --weight-average 0 '
RECIPES = {             # name: (script and flags, steps between measurements)
    'dcgan': ('dcgan.py', 250),
    'dcgan-float32': ('dcgan.py --precision float32', 250),
    'gan_fc': ('gan_fc.py', 1000),
    'wgan_gp': ('wgan_gp.py', 100),
    'common': ('dcgan.py --batch-size 128 --d-learning-rate 2e-4 --g-learning-rate 2e-4 --weight-average 0', 100),
    'wide-64': ('dcgan.py --image-size 64 --width 128 --batch-size 100 --d-learning-rate 2e-4 --g-learning-rate 2e-4 '
                '--weight-average 0', 20),
    'fc-256': ('gan_fc.py --z-dim 128 --g-hidden 256 --d-hidden 256 --batch-size 500 --d-learning-rate 2e-4 '
               '--g-learning-rate 2e-4 ' + PLAIN, 1000),
    'fc-128': ('gan_fc.py --z-dim 100 --g-hidden 128 --d-hidden 128 --activation relu --batch-size 256 '
               '--d-learning-rate 1e-3 --g-learning-rate 1e-3 ' + PLAIN, 1000)}


def real(dataset):
    """The Frechet distance of COUNT test pictures."""
    watch = evaluation.Watch(dataset, COUNT)
    return watch(measures.subset(data.load(dataset, 'test')[0], COUNT))[watch.columns[0]]


def measure(recipe, dataset, seed, budget, steps=None):
    """A run that is stopped after `budget` seconds or at `steps`, seconds counted from its start.

    Returns points [(step, seconds, Frechet distance), …] and memory [(seconds, MB resident), …].
    """
    command, every = RECIPES[recipe]
    memory = []
    with tempfile.TemporaryDirectory() as folder, open(f'{folder}/log', 'w+') as log:
        arguments = [*command.split(), '--dataset', dataset, '--seed', str(seed), '--eval-every', str(every), '--eval-count',
                 str(COUNT), '--run-dir', folder + '/run', '--steps', str(steps or 10 ** 9), '--checkpoint-every', '0']
        start = time.time()
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None and time.time() < start + budget:
            status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
            memory += [(time.time() - start, int(line.split()[1]) // 1024) for line in status.splitlines() if 'VmRSS' in line]
            time.sleep(2)
        process.send_signal(signal.SIGTERM)
        process.wait()
        points = [(event.step, event.wall_time - start, value.simple_value)
                  for path in pathlib.Path(folder).glob('run/events*') for event in tf.train.summary_iterator(str(path))
                  for value in event.summary.value if value.tag.endswith(f'frechet_{COUNT}')]
        if not points:
            log.seek(0)
            print(log.read()[-500:])
        return points, memory


def steady(run):
    """'a, b' steps a second between measurements of the first minute and of the last, then MB resident at both ends."""
    points, memory = run['points'], run['memory']
    minutes = [[p for p in points if p[1] <= points[0][1] + 60], [p for p in points if p[1] >= points[-1][1] - 60]]
    if min(len(minute) for minute in minutes) < 2:
        return ' | '
    rates = [(minute[-1][0] - minute[0][0]) / (minute[-1][1] - minute[0][1]) for minute in minutes]
    sizes = [min(memory, key=lambda pair: abs(pair[0] - minute[-1][1]))[1] for minute in minutes]
    return f'{rates[0]:.3g}, {rates[1]:.3g} | {sizes[0]}, {sizes[1]}'


def table(results):
    """Markdown; of several seeds the fastest is first, the slowest last: the median is in the middle."""
    lines = [f'| recipe | data | seeds | {" | ".join(f"{n}x real, s" for n in MULTIPLES)} | lowest distance '
             '| steps/s, first and last minute | resident MB |', '|---' * (6 + len(MULTIPLES)) + '|']
    groups = {}
    for result in results.values():
        groups.setdefault((result['recipe'], result['dataset']), []).append(result)
    for (recipe, dataset), runs in groups.items():
        cells = []
        for multiple in MULTIPLES:
            times = [next((seconds for _, seconds, distance in run['points'] if distance <= multiple * run['real']), math.inf)
                     for run in runs]
            cells.append(', '.join(f'{time:.0f}' if time < math.inf else f'not in {run["budget"]:g}'
                                   for time, run in sorted(zip(times, runs, strict=True), key=lambda pair: pair[0])))
        lowest = ', '.join(f'{min((point[2] for point in run["points"]), default=math.nan):.3f}' for run in runs)
        lines.append(f'| {recipe} | {dataset} | {len(runs)} | {" | ".join(cells)} | {lowest} (real {runs[0]["real"]:.3f}) '
                     f'| {steady(runs[0])} |')
    return '\n'.join(lines)


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('path', type=pathlib.Path, help='JSON file of the results')
    parser.add_argument('--only', nargs='+', choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument('--dataset', nargs='+', choices=['mnist', 'fashion_mnist'], default=['mnist'])
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--budget', type=float, default=300, help='seconds of a run')
    parser.add_argument('--steps', type=int, help='end a run there, to compare at equal steps')
    options = parser.parse_args()
    results = json.loads(options.path.read_text()) if options.path.exists() else {}
    for dataset in options.dataset:
        distance = real(dataset)
        for recipe in options.only:
            for seed in options.seeds:
                key = f'{RECIPES[recipe]} {dataset} {seed} {options.budget:g} {options.steps}'
                if key not in results:
                    points, memory = measure(recipe, dataset, seed, options.budget, options.steps)
                    results[key] = {'recipe': recipe, 'dataset': dataset, 'seed': seed, 'budget': options.budget,
                                    'real': distance, 'points': points, 'memory': memory}
                    options.path.write_text(json.dumps(results, indent=1) + '\n')
                    print(recipe, dataset, seed, [f'{n}: {s:.0f} s {d:.3f}' for n, s, d in points][::4], flush=True)
    print(table(results))


if __name__ == '__main__':
    main()
