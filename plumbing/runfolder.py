"""The folder of a run: whose it is, who trains in it, and what in it is of which step."""
import contextlib
import hashlib
import json
import os
import pathlib
import platform
import re
import socket
import sys
import time
import typing

from plumbing import checkpoints, cluster, code, files, jobs, naming, networks

import numpy as np
import tensorflow.compat.v1 as tf

try:
    import fcntl
except ImportError:  # Windows: two programs that train in one folder are not noticed
    fcntl = None

RECORDED = ('script', 'settings', 'networks', 'classes', 'code', 'versions')  # the keys of settings.json
MADE = (  # by training and by commands, in a run's folder, besides its networks; settings.json is removed last
    'checkpoints', 'completed.json', 'events.out.tfevents.*', 'scalars.csv', 'scalars-damaged.csv', 'samples', 'samples.gif',
    'losses.png', 'metrics.json', 'finals.json', 'nearest.png', 'confusions.png', 'retrieval.png', 'samples.png', 'sample-*.png',
    'arithmetic.png', 'inverted.npz', 'inverted.png', 'codes.png', 'walk.png', 'traversal.png', 'manifold.png', 'analogies.png',
    'projector', 'projector_config.pbtxt', 'exported', 'inputs.npz', 'labelled.png')
DECIDE = 'tensorflow', 'processor', 'threads', 'workers'  # those of `_versions` that bits are known to depend on
FOLDERS = {'DATASET': 'PICTURES', 'SOURCE': 'SOURCE_PICTURES'}  # settings: folders, which may move, and sums of what is in them
NAME = re.compile(r'\w[\w.-]*')  # of a network, whose folder is in the run's: settings.json may be anybody's
AGAIN = 'give another --run-dir, or --fresh to start again'


class Owner(typing.NamedTuple):
    """Whose a run is, as settings.json keeps it."""
    script: str               # its file's name
    settings: dict            # {name: value} of its constants
    networks: dict            # {name: description of a network}
    classes: list | None      # names of the data set's classes
    code: dict                # its `code.fingerprint`


def check(folder, script, settings, fresh=False):
    """Makes sure that a folder is new, or of a run of the same script and settings, or of one that no checkpoint was made of.

    It reads only. fresh: whether the run in it will be removed. Raises files.UserError if it is another run's.
    """
    if (folder / 'settings.json').exists():
        record = read(folder, whole=not fresh)
        if fresh or not _begun(folder):
            return
        now, before = _plain({'script': script, **settings}), {'script': record['script'], **record['settings']}
        changed = differences(before, now)
        if changed and set(changed) <= set(FOLDERS.values()):
            places, sums = zip(*((now[name], f'they were {before.get(pictures)}, now {now.get(pictures)}')
                                 for name, pictures in FOLDERS.items() if pictures in changed), strict=True)
            raise files.UserError(f'the pictures in {" and ".join(places)} have changed since {folder} was begun with them: '
                                  f'{"; ".join(sums)}; {AGAIN}')
        if changed:
            told = '; '.join(f'{name} was {old!r}, now {new!r}' for name, (old, new) in changed.items()
                             if name not in FOLDERS.values())
            raise files.UserError(f'{folder} is a run with other settings: {told}; {AGAIN}')
    elif folder.exists() and any(not entry.name.startswith('.') for entry in folder.iterdir()):
        raise files.UserError(f'{folder} is not empty and not the folder of a run; give another --run-dir')


def _begun(folder):
    """Whether a run has got to a checkpoint, even if somebody has removed that since."""
    return bool(checkpoints.steps(folder / 'checkpoints') or Completed(folder).step)


def differences(before, now):
    """{constant: (its value before, its value now)} where two runs' settings differ in what makes them different runs."""
    return {name: (before.get(name), now.get(name)) for name in {**before, **now}
            if name not in (*naming.FREE, *moved(before, now)) and before.get(name) != now.get(name)}


def moved(before, now):
    """The names of the settings, folders, that may differ, because the pictures in them are the same."""
    return [name for name, pictures in FOLDERS.items() if pictures in now and before.get(pictures) == now[pictures]]


def _plain(record):
    """As JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(record))


@contextlib.contextmanager
def claimed(folder, owner, fresh=False):
    """The context in which no other program trains in the folder; what a killed one left half-done is mended.

    owner: Owner. If `fresh`, the run in the folder is removed first; and so is another one that never got to a checkpoint.
    Yields the `Completed`.
    Raises files.UserError, and touches nothing, if it is another run's, if another program trains in it, or if the code that
    builds its graph has been edited since.
    """
    check(folder, *owner[:2], fresh)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        check(folder, *owner[:2], fresh)  # another program may have made it meanwhile
        files.clean(folder)
        known = (folder / 'settings.json').exists()
        if known and (fresh or not _begun(folder) and not _is_of(folder, owner)):
            _remove(folder)
            known = False
        completed = Completed(folder)
        history = _history(folder, owner, completed.step) if known else [_versions(0)]
        files.write_json(folder / 'settings.json', dict(zip(RECORDED, (*owner, history), strict=True)))
        yield completed


def _is_of(folder, owner):
    record = read(folder)
    return record['script'] == owner.script and not differences(record['settings'], _plain(owner.settings)) \
        and not code.edited(record['code'] or owner.code, owner.code)[1]


def _remove(folder):
    """Removes what training and commands have made in a folder, and says what."""
    steps = checkpoints.steps(folder / 'checkpoints')
    networks = read(folder, whole=False).get('networks')
    names = [name for name in (*networks, 'generator-best') if NAME.fullmatch(name)] if isinstance(networks, dict) else []
    exported = [name for name in names if (folder / name / 'saved_model.pb').exists()]
    found = [path for pattern in MADE for path in folder.glob(pattern)]
    found += [*(folder / name for name in exported), folder / 'settings.json']
    size = sum(path.stat().st_size for top in found for path in ([top] if top.is_file() else top.rglob('*')) if path.is_file())
    told = f'at step {steps[-1]}' if steps else 'without a checkpoint'
    print(files.one_line(f'removes the run {told} in {folder}, {size / 1e6:,.0f} MB: '
                         f'{", ".join(path.name for path in found)}'), flush=True)
    for path in found:
        files.remove(path)


def _history(folder, owner, step):
    """The versions that a run has been trained with from which step on, the present ones included; says if bits may differ.

    Raises files.UserError if the code that builds its graph has been edited.
    """
    record = read(folder)
    *earlier, before = record['versions']
    now = _versions(step)
    alone = {'workers': 1}
    moved = [f'{name} was {was}, now {found}' for name in DECIDE
             if (was := {**alone, **before}.get(name)) != (found := {**alone, **now}[name])]
    named, boxes = code.edited(record['code'] or owner.code, owner.code)
    if boxes and (named or not moved):      # another version of TensorFlow may build another graph of the same code
        told = f'{" and ".join(named)} {"was" if len(named) == 1 else "were"}' if named else 'the project was'
        raise files.UserError(f'{told} edited since {folder} was begun ({", ".join(boxes)}): {AGAIN}')
    if moved and step:
        print(files.one_line(f'{"; ".join(moved)}: bits may differ from here on'), flush=True)
    return [*earlier, before] if {**before, 'step': step} == now else [*earlier, before, now]


def _versions(step):
    """What the bits of a run depend on, from a step on, besides its settings and code."""
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    models = [line.split(':')[1].strip() for line in cpuinfo.read_text(errors='replace').splitlines()
              if line.startswith('model name')] if cpuinfo.exists() else [platform.processor()]
    return {'step': step, 'tensorflow': tf.version.VERSION, 'numpy': np.__version__, 'python': platform.python_version(),
            'processor': models[0] if models else platform.machine(),
            'threads': os.environ.get('TF_NUM_INTRAOP_THREADS') or str(jobs.cores()),
            **({'workers': cluster.size()} if cluster.size() > 1 else {})}


@contextlib.contextmanager
def _locked(folder):
    """Holds the lock on .lock, which ends with the process; the file says who has it."""
    with open(folder / '.lock', 'a+') as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read(200).strip() or 'another program'
            raise files.UserError(f'{folder} is in use by {who}: wait for its end, or give another --run-dir') from None
        except OSError:  # a file system without locks
            pass
        file.truncate(0)
        now = time.strftime('%Y-%m-%d %H:%M:%S')
        print(f'process {os.getpid()} on {socket.gethostname()} since {now}', file=file, flush=True)
        try:
            yield
        finally:
            file.truncate(0)


class Completed:
    """completed.json: of which step the checkpoint, each network, metrics.json and so on are, and what is in them.

    It is written last. So what it does not know as of the checkpoint's step may be of another one, and is made again.
    """

    def __init__(self, folder):
        self._path = folder / 'completed.json'
        try:
            record = json.loads(files.content(self._path))
            self._made = {name: (int(step), str(sha256)) for name, (step, sha256) in record['made'].items()}
            self._scalars = int(record['scalars']['bytes']), str(record['scalars']['sha256'])
            self.lowest = {name: float(value) for name, value in record['lowest'].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            self._made, self._scalars, self.lowest = {}, None, {}
            if os.path.lexists(self._path):
                print(files.one_line(f'{self._path} is damaged: networks and reports are made again, and scalars.csv is not '
                                     'verified'), file=sys.stderr)

    @property
    def step(self):
        """That of the checkpoint."""
        return self._made.get('checkpoints', (0, ''))[0]

    def lacks(self, names, step):
        """Those of `names` (files or folders in the run's folder) that are not there as they were made at this step."""
        return [name for name in names if self._made.get(name) != (step, files.sha256(self._path.parent / name))]

    def intact(self, scalars):
        """Whether the content of scalars.csv begins as it did at the last checkpoint."""
        return self._scalars in (None, _sum(scalars[:self._scalars[0]] if self._scalars else b''))

    def add(self, names, step):
        """Records that these are of this step, as they are now."""
        self._made.update({name: (step, files.sha256(self._path.parent / name)) for name in names})
        self._write()

    def add_checkpoint(self, step, scalars, lowest):
        """Records that the checkpoint is of this step. scalars: content of scalars.csv; lowest: {column: its lowest value}."""
        self._made['checkpoints'], self._scalars, self.lowest = (step, ''), _sum(scalars), lowest
        self._write()

    def _write(self):
        length, sha256 = self._scalars or _sum(b'')
        files.write_json(self._path, {'made': self._made, 'scalars': {'bytes': length, 'sha256': sha256}, 'lowest': self.lowest})


def _sum(content):
    return len(content), hashlib.sha256(content).hexdigest()


def read(folder, whole=True):
    """settings.json of a run folder: a dict with the keys RECORDED. files.UserError if there is none, or a damaged or old one.

    If not `whole`, it is enough that the file is that of some run.
    """
    path = pathlib.Path(folder) / 'settings.json'
    try:
        record = json.loads(files.content(path))
    except (FileNotFoundError, NotADirectoryError):
        raise files.UserError(f'{folder} is not a run folder: there is no {path}') from None
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get('settings'), dict) or 'script' not in record:
        raise files.UserError(f'{path} is damaged: give another --run-dir, or put back a copy of it')
    if not whole:
        return record
    record = {'code': None, **record}
    if isinstance(record.get('versions'), dict):  # as runs were recorded at first
        record['versions'] = [{'step': 0, **record['versions']}]
    if any(key not in record for key in RECORDED):
        raise files.UserError(f'{folder} is a run of an earlier version, which cannot be resumed or read: train again in '
                              'another --run-dir')
    if not _is_valid(record):
        raise files.UserError(f'{path} is damaged: give another --run-dir, or put back a copy of it')
    return record


def _is_valid(record):
    classes, described = record['classes'], record['networks']
    try:
        for name, found in described.items():
            networks.inputs_of(found)
            assert isinstance(found['output'], str) and NAME.fullmatch(name)
        assert classes is None or isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        assert isinstance(record['settings']['DATASET'], str)
        assert all(isinstance(found, dict) for found in record['versions']) and record['versions']
        assert record['code'] is None or all(isinstance(record['code'][part], dict) for part in ('graph', 'files'))
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return False
    return True


def read_settings(folder):
    """{name: value} of the constants that a run was started with. Raises files.UserError as `read` does."""
    return read(folder)['settings']


def last_good(folder):
    """What to tell a person whose run has diverged: which checkpoint is good, and what to try."""
    steps = checkpoints.steps(folder / 'checkpoints')
    good = f'the last good checkpoint is that of step {steps[-1]}' if steps else 'no checkpoint had been written yet'
    return f'{good} in {folder}; train with lower learning rates in another --run-dir'
