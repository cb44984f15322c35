"""Which objectives and remedies collapse? Trains each row of a table on each data set, from several seeds, and writes it.

    python -m benchmarks.collapse docs/collapse
    python -m benchmarks.collapse docs/collapse --only 'plain GAN' 'packing 4' --datasets grid --seeds 5 --jobs 2

docs/collapse.json keeps every cell that was measured, with its command, so that the same command goes on where it stopped, and
only cells whose commands have changed are measured again; docs/collapse.md is the table of what there is. All rows have
the same networks, data, updates, batches, latents and learning rates, those of COMMON, unless a row says otherwise. A script
with networks of its own, which take pictures alone, has a row on pictures.
"""
import collections
import csv
import json
import pathlib

import objectives
from benchmarks import cells
from plumbing import files, flags

COMMON = {  # flags of every run on a data set; a row's own come after them and win
    'plane': '--steps 8000 --batch-size 100 --z-dim 2 --d-learning-rate 3e-4 --g-learning-rate 3e-4 --beta1 0.5 '
             '--decay --weight-average 0 --eval-every 8000',
    'mnist': '--steps 1000 --batch-size 64 --z-dim 100 --d-learning-rate 2e-4 --g-learning-rate 1e-3 --beta1 0.5 '
             '--weight-average 0.99 --eval-every 1000',
    'stacked_mnist': '--steps 1500 --batch-size 64 --z-dim 100 --d-learning-rate 2e-4 --g-learning-rate 1e-3 --beta1 0.5 '
                     '--weight-average 0.99 --eval-every 1500',
}
QUIET = '--sample-every 0 --checkpoint-every 0 --log-every 100'
# planes, pictures: more flags, for one kind of data; planes is None where the script takes pictures alone
Row = collections.namedtuple('Row', 'script flags planes pictures', defaults=['', '', ''])
REMEDIES = {
    'plain GAN': Row('toy.py'),
    'packing 2': Row('toy.py', '--packing 2'),
    'packing 4': Row('toy.py', '--packing 4'),
    'unrolled, 5 updates': Row('unrolled_gan.py', '--unroll 5 --g-loss saddle'),
    'unrolled, 5 updates, non-saturating': Row('unrolled_gan.py', '--unroll 5 --g-loss non-saturating'),
    'minibatch discrimination': Row('improved_gan.py', '--minibatch --real-label 1'),
    'feature matching': Row('improved_gan.py', '--no-minibatch --feature-matching --real-label 1'),
    'historical averaging': Row('improved_gan.py', '--no-minibatch --historical-averaging 0.1 --real-label 1'),
    'label smoothing': Row('improved_gan.py', '--no-minibatch --real-label 0.9'),
    'spectral normalisation, hinge': Row('sn_gan.py'),
    'two time scales (arXiv:1706.08500): D at five times the rate': Row(
        'toy.py', planes='--d-learning-rate 1.5e-3', pictures='--d-learning-rate 1e-3'),
    'minibatch discrimination, averaged weights, 24,000 steps on the plane': Row(
        'improved_gan.py', '--minibatch --kernels 16 --dimensions 4 --real-label 1 --weight-average 0.999',
        '--g-learning-rate 5e-4 --d-learning-rate 5e-4 --steps 24000 --eval-every 24000'),
    'D2GAN, both D at five times the rate': Row('d2gan.py', planes='--d-learning-rate 1.5e-3'),
    'VEEGAN, D at twice the rate': Row('veegan.py', '', '--d-learning-rate 6e-4', '--z-dim 10 --d-learning-rate 4e-4'),
    'MAD-GAN, 8 generators, D at five times the rate': Row('mad_gan.py', '--generators 8', '--d-learning-rate 1.5e-3'),
    'MAD-GAN, the same, averaged weights, 16,000 steps on the plane': Row(
        'mad_gan.py', '--generators 8 --weight-average 0.999', '--d-learning-rate 1.5e-3 --steps 16000 --eval-every 16000'),
}
PENALTIES = {f'{name} {value}': Row('objectives.py', f'--objective non-saturating --penalty {name} {flag} {value}')
             for name, flag, value in [('gradient-penalty', '--weight', '1'), ('dragan', '--weight', '1'),
                                       ('r1', '--weight', '0.1'), ('instance-noise', '--noise', '0.1'),
                                       ('lipschitz-penalty', '--weight', '1'), ('js-regularizer', '--weight', '0.1')]}
PENALTIES['wasserstein, lipschitz-penalty'] = Row('objectives.py', '--objective wasserstein --penalty lipschitz-penalty')
OBJECTIVES = {name if found.penalty == 'none' else f'{name}, {found.penalty}': Row('objectives.py', f'--objective {name}')
              for name, found in objectives.OBJECTIVES.items() if name != 'non-saturating'}
ENERGIES = {  # their networks are their own: D is an auto-encoder, with twice the work
    'energy of an auto-encoder (EBGAN-PT)': Row('ebgan.py', '', None, '--d-learning-rate 1e-3 --no-decay'),
    'energy of an auto-encoder, without the pulling-away term (EBGAN)': Row(
        'ebgan.py', '--pull-away 0', None, '--d-learning-rate 1e-3 --no-decay'),
    'energy of an auto-encoder, in balance (BEGAN)': Row('began.py', '', None, '--d-learning-rate 1e-3'),
}
ROWS = {**REMEDIES, **PENALTIES, **OBJECTIVES, **ENERGIES}
COLUMNS = {  # data set: {what is measured: (head of its column, format)}
    'ring': {'modes': ('modes of 8', '.1f'), 'quality': ('high quality', '.1%'), 'reverse_kl': ('reverse KL', '.2f')},
    'grid': {'modes': ('modes of 25', '.1f'), 'quality': ('high quality', '.1%'), 'reverse_kl': ('reverse KL', '.2f')},
    'mnist': {'frechet_distance': ('Fréchet distance', '.2f'), 'coverage': ('coverage', '.2f')},
    'stacked_mnist': {'modes': ('modes of 1000', '.0f'), 'mode_kl': ('KL', '.2f')},
}
PUBLISHED = '''
| published | ring: modes | high quality | grid: modes | high quality | stacked MNIST: modes | KL |
|---|---|---|---|---|---|---|
| GAN (DCGAN) | 6.3 | 98.2% | 17.3 | 94.8% | 99 | 3.40 |
| unrolled GAN | | | | | 48.7 | 4.32 |
| VEEGAN | 8 | 52.9% | 24.6 | 40% | 150 | 2.95 |
| WGAN-GP | | | | | 959 | 0.73 |
| PacGAN, packing 4 (2 for pictures) | 7.8 | 95.9% | 24.8 | 93.6% | 1000 | 0.06 |
'''


def command(name, dataset, seed):
    """The arguments of a run, without its folder; None where there is no such row, or not on this data set."""
    if name not in ROWS or not takes(name, dataset):
        return None
    row, plane = ROWS[name], dataset in ('ring', 'grid')
    given = [COMMON['plane' if plane else dataset], QUIET, row.flags, row.planes if plane else row.pictures]
    if dataset == 'stacked_mnist' and 'CHANNELS' in flags.written(cells.ROOT / row.script):
        given.append('--channels 3')
    return [row.script, '--dataset', dataset, '--seed', str(seed), *' '.join(given).split()]


def takes(name, dataset):
    """Whether a row's script takes a data set."""
    return dataset not in ('ring', 'grid') or ROWS[name].planes is not None


def measured(arguments, done, run, cell):
    """{measure: number} of a cell whose run has ended, or `cells.diverged` of it, which raises RuntimeError.

    arguments: of its command. done: jobs.Done. run: its folder.
    """
    if failed := cells.diverged(arguments, done):
        return failed
    _, dataset, _ = cell
    found = [*csv.DictReader((run / 'scalars.csv').read_text().splitlines())][-1]
    if dataset not in ('ring', 'grid'):
        found = json.loads((run / 'metrics.json').read_text())['model']
    return {name: float(found[name]) for name in COLUMNS[dataset]}


def table(found):
    """found: {(row, data set, seed): measures} -> the page, in Markdown."""
    shown_sets = [dataset for dataset in COLUMNS if any(dataset == of for _, of, _ in found)]
    heads = [(dataset, name, head, form) for dataset in shown_sets for name, (head, form) in COLUMNS[dataset].items()]
    lines = ['| | seeds | ' + ' | '.join(f'{dataset.replace("_", " ")}: {head}' for dataset, _, head, _ in heads) + ' |',
             '|---|---|' + '---|' * len(heads)]
    for row in ROWS:
        of = {dataset: [cell for (r, d, _), cell in sorted(found.items()) if (r, d) == (row, dataset)] for dataset in shown_sets}
        if any(of.values()):
            seeds = ', '.join(str(len(some)) for some in of.values())
            told = ' | '.join(cells.shown(of[dataset], name, form) for dataset, name, _, form in heads)
            lines.append(f'| {row} | {seeds} | {told} |')
    return '\n'.join(lines)


def page(found):
    commands = '\n'.join(f'    {dataset}: {flags}' for dataset, flags in COMMON.items())
    own = '\n'.join(f'| {name} | {f"{row.script} {row.flags}".strip()} | {planes} | {row.pictures} |'
                    for name, row in ROWS.items() for planes in ['not run' if row.planes is None else row.planes])
    return f'''# Objectives and remedies, measured

Written by `python -m benchmarks.collapse docs/collapse` ({cells.machines(found)}). Mean ± standard
deviation over as many seeds as the second column says, one number for each data set; – was not measured. Each run has one
thread: with more of them sums are rounded otherwise, and a seed is another run. Ring and grid: data and measures of the
published tables (2,500 samples, see `plane.measures`; real data have 98.9% of high quality), but networks, learning
rates and lengths of our own. MNIST: 10,000 samples, under the classifier of metrics.py. Stacked MNIST: 26,000 samples. The
runs on pictures are short, so that they show how a row begins.

Rows of energies have pictures alone: their networks are those of their scripts, in which D is an auto-encoder of pictures with
about twice the work. An objective is named with what its paper bounds the critic with, which is updated once in a step here,
for all rows alike. On pictures toy.py, unrolled_gan.py, d2gan.py, veegan.py and mad_gan.py let their learning rates fall
to 0, which is their default; improved_gan.py, sn_gan.py and objectives.py do not. A cell is measured again only when its
command has changed: older ones come from the code of their time.

{table(found)}

What others have published (arXiv:1712.04086 and there cited). Their runs on ring and grid are longer, 400,000 updates, and their
networks three times as wide:
{PUBLISHED}
Flags of every row:

{commands}

and of each:

| row | script | ring and grid, too | pictures, too |
|---|---|---|---|
{own}
'''


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('path', type=pathlib.Path, help='of the .json with the cells and the .md with the table, without suffix')
    parser.add_argument('--only', nargs='+', choices=list(ROWS), default=list(ROWS), metavar='ROW', help='rows [all]')
    parser.add_argument('--datasets', nargs='+', choices=list(COLUMNS), default=list(COLUMNS), metavar='NAME',
                        help=f'{", ".join(COLUMNS)} [all]')
    parser.add_argument('--seeds', type=int, default=3, help='runs of each cell [3]')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, each with one thread [1]')
    args = parser.parse_args()
    store = args.path.with_suffix('.json')

    def write():
        with files.replacing(args.path.with_suffix('.md')) as temporary:
            temporary.write_text(page(cells.current(store, command)))

    wanted = [(name, dataset, seed) for seed in range(args.seeds) for name in args.only for dataset in args.datasets
              if takes(name, dataset)]
    cells.fill(store, wanted, command, measured, args.jobs, write)
    write()


if __name__ == '__main__':
    with files.one_line_errors():
        main()
