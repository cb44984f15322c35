"""How long until the pictures are good: seconds from the start of the command to 10, 5 and 2 times real pictures' distance.

    python benchmarks/quality.py results.json --budget 300                        # all recipes, three seeds
    python benchmarks/quality.py results.json --only dcgan common --dataset mnist --seeds 0 --budget 120

Each recipe is its script with flags, run as a program of its own until the budget is over. The Frechet distance is that of
5,000 samples; real pictures' is that of 5,000 test pictures. The clock is the user's: start, drawing and measuring included.
A result that is in the file already, of the same recipe and budget, is not measured again.
"""
import argparse
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import data
import metrics

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
    return metrics.watch(dataset, COUNT)(metrics.draw(data.load(dataset, 'test')[0], COUNT))


def measure(recipe, dataset, seed, budget, steps=None):
    """[(step, seconds from the start, Frechet distance), …] of a run that is stopped after `budget` seconds or at `steps`."""
    command, every = RECIPES[recipe]
    with tempfile.TemporaryDirectory() as folder:
        flags = [*command.split(), '--dataset', dataset, '--seed', str(seed), '--eval-every', str(every), '--eval-count',
                 str(COUNT), '--run-dir', folder + '/run', '--steps', str(steps or 10 ** 9), '--checkpoint-every', '0']
        start = time.time()
        process = subprocess.Popen([sys.executable, *flags], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=budget)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.communicate()
        return [(event.step, event.wall_time - start, value.simple_value)
                for path in pathlib.Path(folder).glob('run/events*') for event in tf.train.summary_iterator(str(path))
                for value in event.summary.value if value.tag.endswith(f'frechet_{COUNT}')]


def first(points, distance):
    return next((seconds for _, seconds, found in points if found <= distance), None)


def table(results):
    """Markdown: median and worst over the seeds; a run that does not get there counts as never."""
    lines = ['| recipe | data | seeds | 10x real: median, worst | 5x real | 2x real | lowest distance |',
             '|---|---|---|---|---|---|---|']
    groups = {}
    for result in results.values():
        groups.setdefault((result['recipe'], result['dataset'], result['budget']), []).append(result)
    for (recipe, dataset, budget), runs in groups.items():
        cells = []
        for multiple in MULTIPLES:
            found = [first(run['points'], multiple * run['real']) for run in runs]
            middle = statistics.median_low(sorted(s if s is not None else float('inf') for s in found))
            worst = None if None in found else max(found)
            cells.append(', '.join(f'{s:.0f} s' if s not in (None, float('inf')) else f'not within {budget:g} s'
                                   for s in ((middle, worst) if len(runs) > 1 else (middle,))))
        low = ', '.join(f'{min((p[2] for p in run["points"]), default=float("nan")):.3f}' for run in runs)
        lines.append(f'| {recipe} | {dataset} | {len(runs)} | {" | ".join(cells)} | {low} (real {runs[0]["real"]:.3f}) |')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
                    points = measure(recipe, dataset, seed, options.budget, options.steps)
                    results[key] = {'recipe': recipe, 'dataset': dataset, 'seed': seed, 'budget': options.budget,
                                    'real': distance, 'points': points}
                    options.path.write_text(json.dumps(results, indent=1) + '\n')
                    print(recipe, dataset, seed, [f'{n}: {s:.0f} s {d:.3f}' for n, s, d in points][::4], flush=True)
    print(table(results))


if __name__ == '__main__':
    main()
