"""What are few labels good for? Errors on the test set of each classifier with each number of labels, from several splits.

    python -m benchmarks.semi docs/semi --jobs 2
    python -m benchmarks.semi docs/semi --only 'semi_gan.py' --labels 100 --seeds 1

A split is another draw of the labelled pictures and another seed. The table in docs/semi.md is that of the cells there are, which
docs/semi.json keeps with their commands: the same command goes on where it stopped, and runs again what has another command.
docs/semi/ has samples of each row, of its first split with 100 labels.
"""
import collections
import csv
import pathlib
import re
import shutil

from benchmarks import cells
from plumbing import files, flags

LABELS = 20, 50, 100, 200, 1000
SPLITS = {100: 5}       # labels: splits; others have three
PICTURED = 100          # labels of the run of which samples are shown
END = '--sample-every 1000000 --eval-every 1000000 --checkpoint-every 0 --log-every 100'     # all of it at the end
Row = collections.namedtuple('Row', 'script flags published', defaults=['', {}])    # published: {labels: errors in 10,000}
ROWS = {
    'supervised, the networks of semi_gan.py': Row('semi_gan.py', '--unlabelled 0 --steps 4000'),
    'supervised, and turned': Row('semi_gan.py', '--unlabelled 0 --steps 4000 --turn 0.25'),
    'semi_gan.py': Row('semi_gan.py', '', {20: '1677 ± 452', 50: '221 ± 136', 100: '93 ± 6.5', 200: '90 ± 4.2'}),
    'catgan.py, the paper': Row('catgan.py', '--invariance 0 --turn 0', {100: '191 ± 10, convolutions 139 ± 28'}),
    'catgan.py, turned, invariance 2': Row('catgan.py', '--invariance 2 --steps 6000'),
    'catgan.py, turned, invariance 2, longer': Row('catgan.py', '--invariance 2 --turn 0.2 --weight-average 0.999 --steps 12000'),
    'sgan.py, the paper': Row('sgan.py', '--invariance 0 --turn 0 --d-learning-rate 2e-4 --g-learning-rate 2e-4 --steps 1500',
                              {50: '1170', 100: '720', 1000: '360'}),
    'sgan.py, turned, invariance 1': Row('sgan.py'),
    'cluster_aae.py': Row('cluster_aae.py', '--z-dim 10 --invariance 4 --turn 0.25 --wait 0 --steps 3000',
                          {100: '190 ± 10', 1000: '160 ± 8'}),
}
BEGIN, CLOSE = '<!-- semi -->', '<!-- /semi -->'


def command(name, labels, split):
    """The arguments of a run, without its folder; None where there is no such row."""
    if name not in ROWS:
        return None
    row = ROWS[name]
    return [row.script, '--dataset', 'mnist', '--labels', str(labels), '--label-seed', str(split), '--seed', str(split),
            *f'{END} {row.flags}'.split()]


def measured(arguments, done, run, cell, pictures):
    """{'errors': in 10,000 test pictures, 'minutes'} of a cell whose run has ended, or `cells.diverged` of it.

    pictures: the folder that gets the samples of some cells.
    """
    if failed := cells.diverged(arguments, done):
        return failed
    name, labels, split = cell
    if (labels, split) == (PICTURED, 0) and '--unlabelled' not in arguments:    # where G learns, too
        pictures.mkdir(parents=True, exist_ok=True)
        shutil.copy(max((run / 'samples').glob('step-*.png')), pictures / picture(name))
    found = [*csv.DictReader((run / 'scalars.csv').read_text().splitlines())][-1]
    return {'errors': round(10000 * float(found['test_error']), 1),
            'minutes': float(re.search(r'^trained to step \d+ in ([\d.]+) minutes$', done.out, re.M)[1])}


def picture(name):
    """The file name of a row's samples."""
    return re.sub(r'\W+', '-', name).strip('-') + '.png'


def table(found, pictures):
    """found: {(row, labels, split): measures}; pictures: the folder of the samples, beside the page -> lines in Markdown."""
    lines = ['| | ' + ' | '.join(f'{labels:,}' for labels in LABELS) + ' | minutes |', '|---|' + '---|' * (len(LABELS) + 1)]
    for name, row in ROWS.items():
        of = {labels: [found[cell] for cell in sorted(found) if cell[:2] == (name, labels)] for labels in LABELS}
        if not any(of.values()):
            continue
        told = [f'{cells.shown(some, "errors", ".0f")}{f" ({len(some)})" if some else ""}' for some in of.values()]
        minutes = max((cell['minutes'] for some in of.values() for cell in some if 'minutes' in cell), default=None)
        lines.append(f'| {name} | {" | ".join(told)} | {"–" if minutes is None else f"{minutes:.0f}"} |')
        if row.published:
            lines.append(f'| its paper | {" | ".join(row.published.get(labels, "") for labels in LABELS)} | |')
    lines += ['', '| row | command, with `--labels`, `--label-seed` and `--seed` |', '|---|---|',
              *(f'| {name} | `{f"python {row.script} {row.flags}".strip()}` |' for name, row in ROWS.items())]
    shown = [name for name in ROWS if (pictures / picture(name)).exists()]
    for name in shown:
        lines += ['', f'{name}, {PICTURED} labels:', '', f'![samples of {name}]({pictures.name}/{picture(name)})']
    if found:
        lines += ['', f'{cells.machines(found)}.']
    return '\n'.join(lines)


def put(page, lines):
    """Puts the table between BEGIN and CLOSE of a page."""
    found = re.fullmatch(rf'(.*^{BEGIN}\n).*(^{CLOSE}$.*)', page.read_text() if page.exists() else '', re.S | re.M)
    if not found:
        raise files.UserError(f'{page} has no lines {BEGIN} and {CLOSE} for the table to be between')
    with files.replacing(page) as temporary:
        temporary.write_text(f'{found[1]}{lines}\n{found[2]}')


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('path', type=pathlib.Path, help='of the .json with the cells and the .md with the table, without suffix')
    parser.add_argument('--only', nargs='+', choices=list(ROWS), default=list(ROWS), metavar='ROW', help='rows [all]')
    parser.add_argument('--labels', nargs='+', type=int, choices=LABELS, default=LABELS, metavar='N',
                        help=f'{", ".join(map(str, LABELS))} [all]')
    parser.add_argument('--seeds', type=flags.whole('the number of splits', 1, 1000),
                        help='splits of each cell [3, and 5 with 100 labels]')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, each with one thread [1]')
    args = parser.parse_args()
    store, page, pictures = args.path.with_suffix('.json'), args.path.with_suffix('.md'), args.path

    def write():
        put(page, table(cells.current(store, command), pictures))

    write()                                                         # before a run: the page may be another one
    splits = {labels: args.seeds or SPLITS.get(labels, 3) for labels in args.labels}
    wanted = [(name, labels, split) for split in range(max(splits.values())) for name in args.only for labels in args.labels
              if split < splits[labels]]
    cells.fill(store, wanted, command, lambda *run: measured(*run, pictures), args.jobs, write)


if __name__ == '__main__':
    with files.one_line_errors():
        main()
