"""Trains a script with every combination of settings, from several seeds, and puts them into one table.

    python sweep.py dcgan.py --g-learning-rate 1e-3 2e-3 4e-3 --seeds 3 -j 2
    python sweep.py toy.py --dataset ring grid --packing 1 2 4 --seeds 5 -j 2 --steps 2000

Every flag of the script takes several values. The numbers of a tuple are joined by commas (--hidden 512,256 128,64), and
--flag --no-flag are both values of a switch. Each run is that of a command of its own, in the folder that the command would
fill: the same sweep goes on where it stopped, and does not train again what is finished.
"""
import itertools
import json
import os
import pathlib
import shlex
import sys

from plumbing import files, flags, jobs, naming


def parse(arguments):
    """(the command line, namespaces of the script and of run.py, {constant: [the arguments that set it to a value, ...]})."""
    parser = flags.Parser(__doc__, usage='%(prog)s SCRIPT [--seeds N] [-j N] [--json] [--FLAG VALUE ...] ...')
    parser.add_argument('script', type=flags.path, help='for example dcgan.py; `python dcgan.py --help` lists its flags')
    parser.add_argument('--seeds', type=flags.whole('the number of seeds', 1, 1000), default=1,
                        help="of each combination: the script's SEED and those after it [1]")
    parser.add_argument('-j', '--jobs', type=flags.whole('the number of jobs', 1, 1000), default=1,
                        help='runs at once; they share the processors, but for what OMP_NUM_THREADS and the like say [1]')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    given, rest = parser.parse_known_args(arguments)
    given.script = _script(given.script)
    modules = [flags.written(given.script), flags.written(pathlib.Path(__file__).with_name('run.py'))]
    values = flags.alternatives(modules, rest)
    for name in naming.FREE:
        if len(values.get(name, [])) > 1 or name == 'RUN_DIR' in values:
            parser.error(f'--{name.lower().replace("_", "-")} tells no runs apart: a sweep gives each a folder of its own, '
                         f'runs/SCRIPT-DATASET-FLAG-VALUE{"" if name == "RUN_DIR" else ", and all of them one value of it"}')
    if 'FRESH' in values:
        parser.error('a sweep goes on where it stopped: remove the folders of its runs instead of giving --fresh')
    if given.seeds > 1:
        if 'SEED' in values:
            parser.error('--seed and --seeds both give seeds: leave one of them out')
        values['SEED'] = [[f'--seed={modules[0]["SEED"] + number}'] for number in range(given.seeds)]
    return given, modules, values


def _script(path):
    path = flags.script(path)
    try:
        constants = flags.written(path)
    except (SyntaxError, ValueError):
        constants = ()
    if 'STEPS' not in constants:
        raise files.UserError(f'{path} trains nothing: give a script with constants to try, such as dcgan.py')
    return path


def combinations(modules, values):
    """[(the arguments of a run, {constant: its value, where it is not as in its file})] of all combinations of `values`.

    Exit status 2 and one line, before anything is run, for a value that the script would refuse.
    """
    found = []
    for chosen in itertools.product(*values.values()):
        arguments, tried = list(itertools.chain(*chosen)), [dict(module) for module in modules]
        flags.parse(tried, arguments)
        found.append((arguments, naming.changed(tried), tried[0].get('DATASET')))
    return found


def main(arguments=None):
    with files.one_line_errors():
        given, modules, values = parse(arguments)
        wanted = combinations(modules, values)
        import data
        from plumbing import results

        commands, planned = {}, {}
        for line, changed, dataset in wanted:
            dataset = data.NAMES.get(dataset.lower(), os.path.abspath(files.expanded(dataset)))
            folder, command = pathlib.Path('runs', naming.folder(given.script, dataset, changed)), [given.script, *line]
            if folder in commands and planned[folder] != (dataset, changed):
                raise files.UserError(f'{folder} would be the folder of two runs, {shlex.join(map(str, commands[folder][1:]))} '
                                      f'and {shlex.join(line)}: sweep over one of them at a time')
            commands[folder], planned[folder] = command, (dataset, changed)
        several = f'{len(commands)} runs' if len(commands) > 1 else '1 run'
        print(f'{several} of {given.script.name}, {min(given.jobs, len(commands))} at once', file=sys.stderr, flush=True)
        failed = {}
        for number, (folder, done) in enumerate(jobs.run(commands, given.jobs), 1):
            told = next(iter(done.out.splitlines()[-1:]), '')
            if done.status:
                failed[folder] = f'{shlex.join(map(str, commands[folder]))}: {done.error}'
                told = done.error
            print(files.one_line(f'{number} of {len(commands)}: {folder}: {told}'), file=sys.stderr, flush=True)
        if failed:
            print(files.one_line(f'{len(failed)} failed:'), *map(files.one_line, failed.values()), sep='\n  ', file=sys.stderr)
        runs = results.read_all([folder for folder in commands if folder not in failed])
        if runs:
            tables = results.tables(runs)
            print(json.dumps(results.record(tables), indent=2) if given.json else results.markdown(tables))
        sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
