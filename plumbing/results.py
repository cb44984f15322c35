"""What runs came to: their numbers, curves and pictures, read from their folders, and the tables that compare them."""
import csv
import dataclasses
import json
import math
import os
import pathlib
import re
import statistics
import typing

from plumbing import files, measures, plane, recorder, runfolder

import numpy as np

PLACES = 'RUN_DIR', 'DATA_DIR'                    # settings that say where things are, and so nothing of the run
TESTED = re.compile(r'test_\w+|\w+_error')        # columns of scalars.csv whose last value is a result
WATCHED = re.compile(r'frechet_(\d+)')            # Frechet distances along the training, of so many samples
ARROWS = {'low': '↓', 'high': '↑', 'near 1': '→ 1', None: ''}


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What is in a run's folder. It equals nothing but itself, and so can be a key of a dict."""
    folder: pathlib.Path
    name: str            # the folder's, in printable characters
    script: str          # dcgan.py
    settings: dict       # {constant: value}
    versions: dict       # {package: version}, and processor and threads, that it was trained with last
    step: int            # how far it got
    final: dict          # {name: number} at the end; of a run that is not measured what scalars.csv tells
    real: dict           # {name: the same number of real pictures, or of a distribution in the plane}
    along: dict          # {column of curves: the same number of real pictures}, where the run has it
    measured: str        # what `final` was measured with: '10,000 samples, evaluator-mnist-v1'; '' where there is no metrics.json
    count: int           # samples that were measured; 0 where that is not said
    curves: dict         # {column of scalars.csv: (steps, values)}, arrays [n]; cells that are empty are left out
    pictures: list       # [(step, path)] in the order of the steps

    @property
    def finished(self):
        """Whether it got to the last of its STEPS."""
        return self.step >= self.steps

    @property
    def steps(self):
        steps = self.settings.get('STEPS')
        return steps if isinstance(steps, int) else 0

    @property
    def missing(self):
        """'at step 1,200 of 4,000; no metrics.json' of a run that is not finished; '' where nothing is missing."""
        missing = [] if self.finished else [f'at step {self.step:,} of {self.steps:,}']
        return '; '.join([*missing, *([] if self.measured else ['no metrics.json'])])


class Column(typing.NamedTuple):
    name: str
    aim: str | None      # 'low', 'high' or 'near 1'; None where it is not known
    decimals: int        # that all values are written with


class Row(typing.NamedTuple):
    kind: str            # 'run', 'mean' (of runs that differ in SEED only) or 'real'
    name: str
    runs: list           # those that the numbers are of; [] of real pictures
    numbers: dict        # {column: value, or mean}
    deviations: dict     # {column: standard deviation over seeds, of n - 1 degrees of freedom}, of means
    counts: dict         # {column: number of runs in the mean}
    best: set            # columns in which it is the best


class Table(typing.NamedTuple):
    """The final numbers of the runs that compare with each other."""
    data: str            # the data set and how it was measured: 'mnist, 10,000 samples, evaluator-mnist-v1'
    columns: list
    rows: list           # of the runs, with the mean after those that it is of, and last of real pictures

    def number(self, row, column):
        """A value as text, '0.0709'; '' where there is none."""
        return _text(row.numbers[column.name], column.decimals) if column.name in row.numbers else ''

    def deviation(self, row, column):
        """A standard deviation as text; '' where there is none."""
        return f'{row.deviations[column.name]:.{column.decimals}f}' if column.name in row.deviations else ''


# reading

def read(folder):
    """The Run of a folder. Reads only.

    Raises files.UserError as `runfolder.read` does, and for a metrics.json, finals.json or scalars.csv that is damaged. A last
    line of scalars.csv that is still being written is left out.
    """
    folder = pathlib.Path(folder)
    record = runfolder.read(folder)
    curves, last = _curves(folder / 'scalars.csv')
    pictures = [(recorder.step_of(path), path) for path in recorder.pictures(folder)]
    completed = runfolder.Completed(folder).step if (folder / 'completed.json').exists() else 0
    final, real, along, count, measured = _metrics(folder / 'metrics.json', record['settings']['DATASET'])
    final |= _metrics(folder / 'finals.json', '')[0]
    for name, (_, values) in curves.items():
        if len(values) and name not in final and (TESTED.fullmatch(name) or not measured and WATCHED.fullmatch(name)):
            final[name] = float(values[-1])
    return Run(folder, files.one_line(folder.resolve().name), files.one_line(record['script']), record['settings'],
               {name: version for name, version in record['versions'][-1].items() if name != 'step'},
               max(last, completed, *(step for step, _ in pictures[-1:])), final, real, along, measured, count, curves,
               pictures)


def read_all(folders):
    """The Runs of several folders, each once, in that order; those whose folders have one name are called by their paths."""
    once = {}
    for folder in folders:
        once.setdefault(os.path.realpath(folder), folder)
    runs = list(map(read, once.values()))
    names = [run.name for run in runs]
    return [dataclasses.replace(run, name=files.one_line(run.folder)) if names.count(run.name) > 1 else run for run in runs]


def _metrics(path, dataset):
    """(final, real, along, count, measured) of a metrics.json or finals.json; ({}, {}, {}, 0, '') where there is none."""
    try:
        record = json.loads(files.content(path))
        model, real, count = (record['model'], record['real'], record.get('count', 0)) if 'model' in record else (record, {}, 0)
        if not isinstance(count, int):
            raise ValueError
        measured = f'{count:,} samples, {record.get("evaluator", "")}' if count else 'at the end'
        return (_numbers(model), _numbers(real) or _of_plane(dataset), _numbers(record.get('real_along', {})), count,
                files.one_line(measured))
    except FileNotFoundError:
        return {}, {}, {}, 0, ''
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise files.UserError(f'{path} is damaged: rerun the command of that run, which measures it again') from None


def _numbers(record):
    return {files.one_line(name): value for name, value in record.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)}


def _of_plane(dataset):
    """What samples of the distribution itself would measure, were there any number of them; {} of pictures."""
    if dataset not in plane.PLANES:
        return {}
    centres, modes, _, _ = plane.PLANES[dataset]
    real = {'modes': int(modes[-1]) + 1, 'reverse_kl': 0.0}
    return real | ({'quality': 1 - math.exp(-9 / 2)} if len(centres) == real['modes'] else {})


def _curves(path):
    """({column: (steps, values)}, the last step) of a scalars.csv; ({}, 0) where there is none."""
    try:
        lines = files.content(path, most=2**30).decode(errors='replace').split('\n')
    except FileNotFoundError:
        return {}, 0
    except OSError as error:
        raise files.UserError(f'{path} cannot be read: {files.reason(error)}') from None
    steps, rows, names = [], [], None
    for number, line in enumerate(lines[:-1], 1):        # what follows the last line break is still being written
        try:
            if names is None:
                first, *names = map(files.one_line, next(csv.reader([line])))
                good = first == 'step' and len(set(names)) == len(names)
            else:
                row = line.rstrip('\r').split(',')
                steps.append(int(row[0]))
                rows.append([float(cell or 'nan') for cell in row[1:]])
                good = len(rows[-1]) == len(names) and steps[-1] > max([-1, *steps[-2:-1]]) and steps[-1] < 2**53
        except (ValueError, csv.Error):
            good = False
        if not good:
            raise files.UserError(f'{path} is damaged at line {number}: put back a copy of it, or remove what is not a row')
    steps, values = np.array(steps, np.int64), np.array(rows, float).reshape(len(rows), len(names or []))
    seen = np.isfinite(values)
    return ({name: (steps[seen[:, i]], values[seen[:, i], i]) for i, name in enumerate(names or [])},
            int(steps[-1]) if len(steps) else 0)


# comparing

def differing(runs):
    """The names of the settings that are not the same in all runs, in their order; those in PLACES do not count."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in PLACES)
    return [name for name in names if len({_key(run.settings.get(name, ...)) for run in runs}) > 1]


def groups(runs):
    """Lists of runs of one script and with the same settings but for SEED and the like, in the order of their first ones."""
    found = {}
    for run in runs:
        settings = {name: value for name, value in run.settings.items() if name not in (*PLACES, 'SEED', 'EPOCHS')}
        for name, pictures in runfolder.FOLDERS.items():
            if pictures in settings:
                del settings[name]                        # the same pictures may be in another place
        found.setdefault(_key([run.script, settings]), []).append(run)
    return list(found.values())


def group_name(group):
    """What the names of a group's runs have in common: 'cgan-mnist' of cgan-mnist and cgan-mnist-seed-1, or of cgan-mnist-0 and
    cgan-mnist-1.
    """
    names = {re.sub(r'-seed-\d+', '', run.name) for run in group}
    return re.sub(r'[\W_]+$|[\W_]+\d*$', '', os.path.commonprefix([*names])) or group[0].name \
        if len(names) > 1 else names.pop()


def aim(column):
    """'low', 'high' or 'near 1': what to hope for of a column's values; None where that is not known."""
    if WATCHED.fullmatch(column):
        return 'low'
    if column in measures.AIM or not TESTED.fullmatch(column):
        return measures.AIM.get(column)
    return 'high' if column.endswith(('elbo', 'bound')) else 'low' if column.endswith(('error', 'loss')) else None


def real_level(run, column):
    """The value of real pictures that a column of scalars.csv compares with, or None.

    metrics.json has those of as many pictures as are measured along the training. Else numbers that shrink or grow with the
    number of samples compare only if EVAL_COUNT is that of metrics.json; `gan_test` is a share, and those of the plane are of
    the distribution itself.
    """
    if column in run.along:
        return run.along[column]
    watched = WATCHED.fullmatch(column)
    if run.count and column != 'gan_test' and run.count != (int(watched[1]) if watched else run.settings.get('EVAL_COUNT')):
        return None
    return run.real.get('frechet_distance' if watched else column)


def tables(runs):
    """The Tables of the runs' final numbers, one for each data set: with the means over seeds, and with the real pictures'.

    Only finished runs count in means. The best of a column is marked among the means, and the finished runs that are in none;
    or among the runs, where all are of one mean.
    """
    return [_table(data, members) for data, members in _by_data(runs).items()]


def _table(data, runs):
    found = {name: None for run in runs for name in run.final}
    names = [name for name in measures.AIM if name in found]
    names += [name for name in found if name not in names]
    rows = []
    for group in groups(runs):
        rows += [Row('run', run.name, [run], _shown(run, names), {}, {}, set()) for run in group]
        if len(finished := [run for run in group if run.finished and run.final]) > 1:
            rows.append(_mean(finished, names))
    rows = [*_marked(rows, names), *_real(runs, names)]
    return Table(data, [Column(name, aim(name), _decimals(name, rows)) for name in names], rows)


def _by_data(runs):
    """{what runs compare with: those}: the data set and how it was measured; runs that are not measured join others."""
    found, labels = {}, {}
    for run in sorted(runs, key=lambda run: not run.measured):
        size = [run.settings.get(name, default) for name, default in (('IMAGE_SIZE', 28), ('CHANNELS', 1))]
        data = _key([run.settings.get('PICTURES') or run.settings['DATASET'], *size])
        key = data, run.measured
        if not run.measured:
            key = next((other for other, members in found.items() if other[0] == data and _comparable(run, members)), key)
        found.setdefault(key, []).append(run)
        name = files.one_line(pathlib.PurePath(run.settings['DATASET']).name or 'pictures')
        labels.setdefault(key, f'{name}, {run.measured}' if run.count else name)
    blocks = {}
    for key, members in sorted(found.items(), key=lambda item: min(map(runs.index, item[1]))):
        label = labels[key]
        same = sum(label == other or other.startswith(f'{label} (') for other in blocks)
        blocks[f'{label} ({same + 1})' if same else label] = sorted(members, key=runs.index)
    return blocks


def _comparable(run, others):
    """Whether a run that is not measured has a number that others have had too, or none at all."""
    return not run.final or any(run.final.keys() & {*other.final, *other.curves} for other in others)


def _shown(run, names):
    """The numbers of a row: the final ones, and of Frechet distances along the training the last."""
    watched = {name: float(run.curves[name][1][-1]) for name in names
               if name not in run.final and WATCHED.fullmatch(name) and len(run.curves.get(name, [[]])[0])}
    return run.final | watched


def _mean(group, names):
    columns = {name: found for name in names if len(found := [run.final[name] for run in group if name in run.final]) > 1}
    seeds = len({_key(run.settings.get('SEED')) for run in group})
    name = f'{group_name(group)}, mean ± sd of {len(group)} {"seeds" if seeds == len(group) else "runs"}'
    return Row('mean', name, group, {name: statistics.fmean(found) for name, found in columns.items()},
               {name: statistics.stdev(found) for name, found in columns.items()},
               {name: len(found) for name, found in columns.items()}, set())


def _marked(rows, names):
    """The rows, with the columns in which each is the best."""
    meant = {run for row in rows if row.kind == 'mean' for run in row.runs}
    summaries = [row for row in rows if row.kind == 'mean' or row.runs[0].finished and row.runs[0] not in meant]
    rivals = summaries if len(summaries) > 1 else [row for row in rows if row.kind == 'run' and row.runs[0].finished]
    for name in names:
        cost = {'low': lambda value: value, 'high': lambda value: -value, 'near 1': lambda value: abs(value - 1)}.get(aim(name))
        costs = [cost(row.numbers[name]) for row in rivals if name in row.numbers] if cost else []
        if costs and min(costs) < max(costs):
            for row in rivals:
                if name in row.numbers and cost(row.numbers[name]) == min(costs):
                    row.best.add(name)
    return rows


def _real(runs, names):
    """The rows of real pictures: one, if all runs agree on what they measure but for rounding."""
    found = []
    for real in [run.real for run in runs if run.real]:
        same = [row for row in found if all(math.isclose(row[name], real[name], rel_tol=1e-3, abs_tol=1e-6)
                                            for name in row.keys() & real.keys())]
        if same:
            same[0].update(real | same[0])
        else:
            found.append(dict(real))
    return [Row('real', 'real' + (f' ({number})' if len(found) > 1 else ''), [],
                {name: row[name] for name in names if name in row}, {}, {}, set()) for number, row in enumerate(found, 1)]


def _key(value):
    """A value of settings.json as a text, the same for equal ones."""
    return '' if value is ... else json.dumps(value, sort_keys=True)


def _decimals(name, rows):
    """How many decimals give the median of a column three digits, 6 at most; 0 where all numbers are whole."""
    values = [abs(row.numbers[name]) for row in rows if row.numbers.get(name)]
    if all(value == int(value) for value in values):
        return 0
    return min(max(0, 2 - math.floor(math.log10(statistics.median(values)))), 6)


def _text(value, decimals):
    return f'{value:.{decimals}f}' if value and 0.5 * 10**-decimals <= abs(value) < 1e9 else f'{value:.2g}'


# the tables as text

def markdown(tables):
    """Tables in GitHub's Markdown: the best in bold, an arrow for what to hope for; with their data sets if they are several."""
    return '\n\n'.join((f'{_plain(table.data)}\n\n' if len(tables) > 1 else '') + _markdown(table) for table in tables)


def _markdown(table):
    lines = [['run', *(f'{_plain(column.name)} {ARROWS[column.aim]}'.strip() for column in table.columns)],
             ['---', *('---:' for _ in table.columns)]]
    for row in table.rows:
        missing = f' ({row.runs[0].missing})' if row.kind == 'run' and row.runs[0].missing else ''
        cells = [' ± '.join(filter(None, [table.number(row, column), table.deviation(row, column)])) for column in table.columns]
        cells = [f'**{cell}**' if column.name in row.best else cell for cell, column in zip(cells, table.columns, strict=True)]
        lines.append([_plain(row.name + missing), *cells])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _plain(text):
    """A text that Markdown shows as it is."""
    return re.sub(r'([\\`*\[\]<>|])', r'\\\1', text).replace('&', '&amp;')


def record(tables):
    """Tables as a dict ready for JSON."""
    runs = [row.runs[0] for table in tables for row in table.rows if row.kind == 'run']
    return {'differing': differing(runs), 'tables': [
        {'data': table.data, 'columns': [{'name': column.name, 'aim': column.aim} for column in table.columns],
         'rows': list(map(_record, table.rows))} for table in tables]}


def _record(row):
    found = {'kind': row.kind, 'name': row.name, 'runs': [str(run.folder) for run in row.runs]}
    if row.kind == 'run':
        run = row.runs[0]
        found |= {'script': run.script, 'settings': run.settings, 'versions': run.versions, 'step': run.step,
                  'finished': run.finished, 'measured': bool(run.measured)}
    if row.kind == 'mean':
        found |= {'deviations': row.deviations, 'counts': row.counts}
    return found | {'numbers': row.numbers, 'best': sorted(row.best)}
