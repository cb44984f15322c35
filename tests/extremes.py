"""Every flag of every script at its extremes: each run must train, or end in one line that says what is wrong.

    python -m tests.extremes                          # all scripts, about half an hour on one core
    python -m tests.extremes --only gan_fc --shared   # with the flags that run.py gives to every script

A case is a script with one flag at an extreme value, two steps long, on the small data set of drive.py. It holds if its
status is 0, or 2 with one line; it breaks if it ends in a traceback, a signal, or not at all. Prints what broke, and every line
that was said, to be read: a hint may be wrong though it is one line.
"""
import collections
import importlib
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import run
from plumbing import flags

import forkserver
from conftest import SCRIPTS, as_flags, small

WHOLE = '0', '1', '3', '100'
REAL = '0', '1e-12', '0.999999', '1', '1e6', 'inf', 'nan', '-1'
TUPLES = ('1',), ('1', '1', '1', '1', '1'), ('0',)
TEXTS = '', 'nonsense', '/nonexistent', 'é'
NEVER = 'RUN_DIR', 'STEPS', 'EPOCHS'  # the cases' own
SECONDS = 90  # after which a case counts as hanging


def cases(script, shared):
    """(flags, ...) of each case of a script (a module); shared: of run.py's constants too."""
    modules = [vars(script), *([vars(run)] if shared else [])]
    for module in modules:
        comments = flags._comments(module['__file__'])
        for name in [name for name in comments if name not in NEVER and (shared or not name.endswith('_EVERY'))]:
            value, flag = module[name], '--' + name.lower().replace('_', '-')
            if isinstance(value, bool):
                yield from ((flag,), (flag.replace('--', '--no-', 1),))
            elif isinstance(value, tuple):
                yield from ((flag, *values) for values in TUPLES)
            else:
                choices = flags._choices(comments[name])
                listed = WHOLE if isinstance(value, int) else REAL if isinstance(value, float) else (*(choices or ()), *TEXTS)
                yield from ((f'{flag}={value}',) for value in listed)


def outcome(name, case):
    """('trained', ''), ('refused', its line) or ('broke', what happened)."""
    with tempfile.TemporaryDirectory() as folder:
        given = [*as_flags(small(importlib.import_module(name))), '--steps', '2', '--eval-every', '0', '--grid', '4']
        process = forkserver.start(name, '--run-dir', f'{folder}/run', *given, *case)
        try:
            _, error = process.communicate(timeout=SECONDS)
        except TimeoutError as hang:
            return 'broke', str(hang)
    lines = [line for line in error.splitlines() if line.startswith('error: ')]
    if process.returncode == 0:
        return 'trained', ''
    if process.returncode == 2 and len(lines) == 1 and 'Traceback' not in error:
        return 'refused', lines[0]
    return 'broke', f'status {process.returncode}: {error.strip()[-300:]}'


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('--only', nargs='+', choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument('--shared', action='store_true', help="the flags of run.py too")
    given = parser.parse_args()
    counts, said = collections.Counter(), collections.defaultdict(list)
    for name in given.only:
        for case in cases(importlib.import_module(name), given.shared):
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
