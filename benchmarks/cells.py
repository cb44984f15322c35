"""A table whose cells are runs: each is kept with its command, and only what is missing, or has another command, is run."""
import collections
import json
import pathlib
import re
import statistics
import tempfile

from plumbing import files, jobs

import tensorflow as tf

ROOT = pathlib.Path(__file__).parent.parent


def current(store, command):
    """{cell: {measure: number, 'command': text, 'machine': text}} of a .json file, of the cells that still have that command.

    A cell is a tuple of texts, the last ones numbers where they look like it; command: function of its parts -> the arguments of
    its run, without a folder, or None where there is no such cell.
    """
    kept = json.loads(store.read_text()) if store.exists() else {}
    cells = {tuple(int(part) if part.isdigit() else part for part in key.split('/')): value for key, value in kept.items()}
    return {cell: value for cell, value in cells.items() if (found := command(*cell)) and value['command'] == ' '.join(found)}


def fill(store, wanted, command, measured, at_once, after):
    """Runs the `wanted` cells that `store` lacks, each with one thread, and keeps each as it ends.

    measured: function (arguments, jobs.Done, folder of the run, cell) -> {measure: number or text}; after: function of nothing,
    called once a cell is kept.
    """
    known = current(store, command)
    wanted = [cell for cell in wanted if cell not in known]
    with tempfile.TemporaryDirectory() as folder:
        runs = {cell: pathlib.Path(folder, str(number)) for number, cell in enumerate(wanted)}
        commands = {cell: [ROOT / arguments[0], *arguments[1:], '--run-dir', runs[cell]]
                    for cell in wanted for arguments in [command(*cell)]}
        for number, (cell, done) in enumerate(jobs.run(commands, at_once, threads=1), 1):
            arguments = command(*cell)
            found = {**measured(arguments, done, runs[cell], cell), 'command': ' '.join(arguments), 'machine': machine()}
            kept = json.loads(store.read_text()) if store.exists() else {}
            kept['/'.join(map(str, cell))] = found
            files.remove(runs[cell])
            files.write_json(store, dict(sorted(kept.items())))
            told = ', '.join(f'{name} {value:.3g}' for name, value in found.items() if isinstance(value, float))
            print(f'{number} of {len(wanted)}: {" / ".join(map(str, cell))}: {told or found.get("failed")}', flush=True)
            after()


def diverged(arguments, done):
    """{'failed': why} of a run that diverged, {} of one that has ended well; RuntimeError if it ended otherwise.

    arguments: of its command. done: jobs.Done.
    """
    if done.status == 2 and (found := re.search(r'(\S+ is \S+|weights are no longer finite) at step \d+', done.error)):
        return {'failed': found[0]}
    if done.status:
        raise RuntimeError(f'{" ".join(arguments)}: {done.error}')
    return {}


def shown(cells, name, form):
    """Mean and standard deviation of a measure over cells, as text."""
    values = [cell[name] for cell in cells if name in cell]
    failed = f'{len(cells) - len(values)} of {len(cells)} diverged' if len(cells) > len(values) else ''
    if not values:
        return failed or '–'
    text = f'{statistics.mean(values):{form}}'
    if len(values) > 1:
        text += f' ± {100 * statistics.stdev(values):.1f}' if '%' in form else f' ± {statistics.stdev(values):{form}}'
    return f'{text} ({failed})' if failed else text


def machines(found):
    """Where cells were run: 'AMD EPYC, TensorFlow 2.21.0', or of several machines 'A (30 of 42 runs); B (12 of 42 runs)'.

    found: as `current` gives it.
    """
    counts = collections.Counter(cell.get('machine', 'an unknown machine') for cell in found.values()).most_common()
    return '; '.join(f'{name} ({count} of {len(found)} runs)' if len(counts) > 1 else name for name, count in counts)


def machine():
    """The processor and the version of TensorFlow, as text."""
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    models = [line.split(':')[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith('model name')] \
        if cpuinfo.exists() else ['unknown processor']
    return f'{models[0]}, TensorFlow {tf.__version__}'
