"""Attacks on everything that is read, written, typed, killed or shared: each case must end well, or in one line.

    python -m tests.attack --cases 10000 --seed 1 -j 2     # all kinds, in the shares of KINDS: about 40 minutes on two cores
    python -m tests.attack --only kill --cases 1000        # a thousand kills
    python -m tests.attack --only export --case 17         # one case again; its number is printed where it breaks

A case makes a whole artefact (a copy of one that is made once), damages it, lets the real reader or the real command loose on
it in a process of its own, and judges. It breaks where
- the exit status is not 0, not 2, and not that of a signal it was sent;
- a status of 2 comes without exactly one line `error: ...`, which must be the last one on stderr, or such a line without 2;
- there is a traceback, a Python warning or TensorFlow's abort on either stream. Other lines on stderr are notes, progress
  bars, and what TensorFlow's C++ says about the machine;
- a file appears, changes or goes outside the run's folder and the cache (~/.keras/keras.json is TensorFlow's);
- it takes more than BYTES of memory, or does not end in SECONDS;
- it succeeds, and the result is neither that of the whole artefact, nor was the damage told on stderr and mended.
Prints a table of the kinds; status 1 if a case broke.
"""
import collections
import concurrent.futures
import multiprocessing
import pathlib
import random
import sys
import time
import traceback
import typing

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from plumbing import flags

import attack_readers as readers
import attack_runs as runs
from judged import Broke, made, place_of


class Kind(typing.NamedTuple):
    share: int       # of 10,000 cases
    case: object     # function (random.Random, Place); raises Broke
    needs: tuple = ()
    per: int = 1     # attacks in a case


RUNS = 'gan_fc', 'autoencoder'
PICTURES, FOLDER, MANY = ('pictures',), ('gan_fc', 'on_pictures'), ('gan_fc', 'on_pictures', *runs.OTHERS)
KINDS = {
    # readers: about a tenth of a second each
    'idx': Kind(1000, readers.digits_case('idx')),
    'gzip': Kind(1000, readers.digits_case('gzip')),
    'npz': Kind(1200, readers.digits_case('npz')),
    'wheel': Kind(1200, readers.digits_case('wheel')),
    'pictures': Kind(1760, readers.picture_case, PICTURES),
    'cache': Kind(1100, readers.cache_case, PICTURES),
    'archive': Kind(1200, readers.archive_case),
    # files of a finished run: 3 seconds; a hostile network takes a third of one
    'checkpoint': Kind(160, runs.run_case('checkpoints', 'checkpoints/*', damages=runs.checkpoint_damage), RUNS),
    'export': Kind(160, runs.run_case('generator*', 'encoder', '*/saved_model.pb', '*/SHA256SUMS', '*/variables/*'), RUNS),
    'record': Kind(200, runs.run_case('settings.json', 'completed.json', 'scalars.csv'), RUNS),
    'report': Kind(60, runs.run_case('samples', 'samples/*', 'samples.gif', '*.png', 'metrics.json', 'events*', '.lock',
                                      'projector', 'projector/*'), RUNS),
    'hostile': Kind(400, runs.hostile_case, RUNS),
    # what happens to programs: 3 to 10 seconds
    'kill': Kind(60, runs.kill_case, MANY, runs.KILLS),
    'signal': Kind(40, runs.signal_case, MANY, runs.KILLS),
    'point': Kind(50, runs.point_case, MANY),
    'disk': Kind(30, runs.disk_case, FOLDER),
    'two': Kind(20, runs.two_case, FOLDER),
    'flag': Kind(300, runs.flag_case, FOLDER),
    'name': Kind(30, runs.name_case, FOLDER),
    'stream': Kind(30, runs.stream_case, FOLDER)}


def attack(kind, number, seed):
    """One case: '' if it held, else what happened."""
    draw = random.Random(f'{seed} {kind} {number}')
    with place_of(f'{kind}-{number}') as place:
        try:
            KINDS[kind].case(draw, place)
        except Broke as error:
            return str(error)
        except Exception:                      # the attack's own mistake, or a result so odd that it cannot be compared
            return traceback.format_exc()
    return ''


def cases(kinds, count):
    """[(kind, number)] of so many attacks, in the shares of the kinds, each kind spread over the whole."""
    total = sum(KINDS[kind].share for kind in kinds)
    numbers = {kind: max(1, round(count * KINDS[kind].share / total / KINDS[kind].per)) for kind in kinds}
    chosen = [(kind, number) for kind in kinds for number in range(numbers[kind])]
    return sorted(chosen, key=lambda case: (case[1] + 0.5) / numbers[case[0]])


def prepare(kinds):
    """Makes the artefacts, and starts the fork server, before the processes of the cases are forked."""
    made('matplotlib')
    for name in dict.fromkeys(name for kind in kinds for name in KINDS[kind].needs):
        made(name)
    if any(RUNS[0] in KINDS[kind].needs for kind in kinds):
        for name in RUNS if any('autoencoder' in KINDS[kind].needs for kind in kinds) else RUNS[:1]:
            for steps in 20, 30:
                runs.expected(name, steps)
            for how in runs.READERS:
                if (how == 'retrieval') == (name == 'autoencoder'):
                    runs.expected_reading(name, how)


def _one(case):
    began = time.monotonic()
    return attack(*case), time.monotonic() - began


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('--cases', type=flags.whole('the number of cases', 1), default=10000)
    parser.add_argument('--seed', type=flags.whole('the seed'), default=1)
    parser.add_argument('--only', nargs='+', choices=KINDS, default=list(KINDS), metavar='KIND', help=', '.join(KINDS))
    parser.add_argument('--case', type=flags.whole('the case'), help='this one alone, of the one kind')
    parser.add_argument('-j', dest='jobs', type=flags.whole('the number of processes', 1, 64), default=1)
    given = parser.parse_args()
    chosen = cases(given.only, given.cases) if given.case is None else [(kind, given.case) for kind in given.only]
    prepare(given.only)
    held, broke, took = collections.Counter(), collections.Counter(), collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(given.jobs, multiprocessing.get_context('fork')) as pool:
        found = {pool.submit(_one, (*case, given.seed)): case for case in chosen}
        for future in concurrent.futures.as_completed(found):
            (kind, number), (complaint, seconds) = found[future], future.result()
            took[kind] += seconds
            (broke if complaint else held)[kind] += KINDS[kind].per if not complaint else 1
            held[kind] += KINDS[kind].per - 1 if complaint else 0
            if complaint:
                print(f'BROKE {kind} (--only {kind} --case {number} --seed {given.seed}): {complaint}\n', flush=True)
    print(f'{"kind":12}{"cases":>8}{"held":>8}{"broke":>8}{"s each":>8}')
    for kind in [*given.only, 'all']:
        h, b, t = (sum(c.values()) if kind == 'all' else c[kind] for c in (held, broke, took))
        print(f'{kind:12}{h + b:8}{h:8}{b:8}{t / max(1, h + b):8.2f}')
    sys.exit(bool(broke))


if __name__ == '__main__':
    main()
