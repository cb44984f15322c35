"""Every flag of every script at its extremes: each run must train, or end in one line that says what is wrong.

    python -m tests.extremes                          # all scripts, about half an hour on one core
    python -m tests.extremes --only gan_fc --shared   # with the flags that run.py gives to every script
    python -m tests.extremes --whole 1000000000       # whole numbers alone, at other values

A case is a script with one flag at an extreme value, two steps long, on the small data set of drive.py. It holds if its
status is 0, or 2 with one line; it breaks if it ends in a traceback, a signal, or not at all, or takes more than BYTES of
memory on the way. Prints what broke, and every line that was said, to be read: a hint may be wrong though it is one line.
"""
import collections
import importlib
import pathlib
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import run
from plumbing import flags

import forkserver
from conftest import SCRIPTS, as_flags, small

WHOLE = '0', '1', '3', '100', '1000000000', str(2**63 - 1)
REAL = '0', '1e-12', '0.999999', '1', '1e6', 'inf', 'nan', '-1'
TUPLES = ('1',), ('1', '1', '1', '1', '1'), ('0',), ('1000000000',), ('1', '1000000000')
TEXTS = '', 'nonsense', '/nonexistent', 'é'
NEVER = 'RUN_DIR', 'STEPS', 'EPOCHS'  # the cases' own
SECONDS = 90  # after which a case counts as hanging
BYTES = 2**32


def cases(script, shared, whole):
    """(flags, ...) of each case of a script (a module); shared: of run.py's constants too; whole: these whole numbers alone."""
    modules = [vars(script), *([vars(run)] if shared else [])]
    for module in modules:
        comments = flags._comments(module['__file__'])
        for name in [name for name in comments if name not in NEVER and (shared or not name.endswith('_EVERY'))]:
            value, flag = module[name], '--' + name.lower().replace('_', '-')
            if isinstance(value, bool):
                yield from () if whole else ((flag,), (flag.replace('--', '--no-', 1),))
            elif isinstance(value, tuple):
                yield from ((flag, *values) for values in ([(text,) for text in whole] or TUPLES))
            elif isinstance(value, int):
                yield from ((f'{flag}={text}',) for text in whole or WHOLE)
            elif not whole:
                listed = REAL if isinstance(value, float) else (*(flags._choices(comments[name]) or ()), *TEXTS)
                yield from ((f'{flag}={text}',) for text in listed)


def outcome(name, case):
    """('trained', ''), ('refused', its line) or ('broke', what happened)."""
    with tempfile.TemporaryDirectory() as folder:
        given = [*as_flags(small(importlib.import_module(name))), '--steps', '2', '--eval-every', '0', '--grid', '4']
        process, began, peak = forkserver.start(name, '--run-dir', f'{folder}/run', *given, *case), time.monotonic(), 0
        while process.poll() is None and (peak := max(peak, memory(process.pid))) < BYTES and time.monotonic() < began + SECONDS:
            time.sleep(0.02)
        if process.poll() is None:
            process.kill()
        _, error = process.communicate()
        written = pathlib.Path(folder, 'run').exists()
    if process.returncode == -9:
        return 'broke', f'killed after {time.monotonic() - began:.0f} s at {peak / 2**30:.1f} GiB: {error.strip()[-300:]}'
    lines = [line for line in error.splitlines() if line.startswith('error: ')]
    if process.returncode == 0:
        return 'trained', ''
    if process.returncode == 2 and len(lines) == 1 and 'Traceback' not in error:
        return 'refused', lines[0] + (' (with a run folder)' if written else '')
    return 'broke', f'status {process.returncode}: {error.strip()[-300:]}'


def memory(process):
    """The most bytes that a process has held so far, by its number; 0 of one that has ended."""
    try:
        peak = re.search(r'VmHWM:\s+(\d+) kB', pathlib.Path(f'/proc/{process}/status').read_text())
    except OSError:
        peak = None
    return int(peak[1]) * 1024 if peak else 0


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('--only', nargs='+', choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument('--shared', action='store_true', help="the flags of run.py too")
    parser.add_argument('--whole', nargs='+', default=[], help='try only these values, of every flag that is a whole number')
    given = parser.parse_args()
    counts, said = collections.Counter(), collections.defaultdict(list)
    for name in given.only:
        for case in cases(importlib.import_module(name), given.shared, given.whole):
            kind, line = outcome(name, case)
            counts[kind] += 1
            if kind == 'broke':
                print(f'BROKE {name} {" ".join(case)}: {line}', flush=True)
            elif kind == 'refused':
                said[re.sub(r'/\S*|\d+', '…', line)].append(f'{name} {" ".join(case)}')
        print(f'{name}: {dict(counts)}', flush=True)
    for line, examples in sorted(said.items()):
        print(f'{len(examples):4} x {line}   ({examples[0]})')
    sys.exit(bool(counts['broke']))


if __name__ == '__main__':
    main()
