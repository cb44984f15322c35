"""The folder of a run: whose it is, who trains in it, and what in it is of which step."""
import contextlib
import hashlib
import json
import os
import pathlib
import socket
import sys
import time

from plumbing import checkpoints, files, networks

import numpy as np
import tensorflow.compat.v1 as tf

try:
    import fcntl
except ImportError:  # Windows: two programs that train in one folder are not noticed
    fcntl = None

FREE = ('STEPS', 'EPOCHS', 'RUN_DIR', 'DATA_DIR')  # settings that may change when a run is resumed
RECORDED = ('script', 'settings', 'networks', 'classes', 'versions')  # the keys of settings.json


def check(folder, script, settings):
    """Makes sure that a folder is new, or of a run of the same script and settings; reads only.

    Raises files.UserError if it is another run's.
    """
    if (folder / 'settings.json').exists():
        record = read(folder)
        before = {'script': record['script'], **record['settings']}
        now = json.loads(json.dumps({'script': script, **settings}))
        same = before.get('PICTURES') == now.get('PICTURES')
        if not same and all(before.get(name) == now.get(name) for name in ('DATASET', 'IMAGE_SIZE', 'CHANNELS')):
            raise files.UserError(f'the pictures in {now["DATASET"]} have changed since {folder} was begun with them: they were '
                                  f'{before.get("PICTURES")}, now {now.get("PICTURES")}; give another --run-dir')
        if same and 'PICTURES' in now:
            before['DATASET'] = now['DATASET']  # the same pictures in another place
        changed = [f'{name} was {before.get(name)!r}, now {now.get(name)!r}' for name in {**before, **now}
                   if name not in (*FREE, 'PICTURES') and before.get(name) != now.get(name)]
        if changed:
            raise files.UserError(f'{folder} is a run with other settings: {"; ".join(changed)}; give another --run-dir')
    elif folder.exists() and any(not entry.name.startswith('.') for entry in folder.iterdir()):
        raise files.UserError(f'{folder} is not empty and not the folder of a run; give another --run-dir')


@contextlib.contextmanager
def claimed(folder, script, settings, described, classes):
    """The context in which no other program trains in the folder; what a killed one left half-done is mended.

    described: {name: description of a network}; classes: names of the data set's classes, or None. Yields its `Completed`.
    Raises files.UserError, and touches nothing, if it is another run's, or if another program trains in it.
    """
    check(folder, script, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        check(folder, script, settings)  # another program may have made it meanwhile
        files.clean(folder)
        versions = {'tensorflow': tf.version.VERSION, 'numpy': np.__version__, 'python': sys.version.split()[0]}
        record = dict(zip(RECORDED, (script, settings, described, classes, versions), strict=True))
        files.write_json(folder / 'settings.json', record)
        yield Completed(folder)


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
        yield
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
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
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


def read(folder):
    """settings.json of a run folder: a dict with the keys RECORDED. files.UserError if there is none, or a damaged or old one."""
    path = pathlib.Path(folder) / 'settings.json'
    try:
        record = json.loads(files.content(path))
    except (FileNotFoundError, NotADirectoryError):
        raise files.UserError(f'{folder} is not a run folder: there is no {path}') from None
    except (OSError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get('settings'), dict) or 'script' not in record:
        raise files.UserError(f'{path} is damaged: give another --run-dir, or put back a copy of it')
    if any(key not in record for key in RECORDED):
        raise files.UserError(f'{folder} is a run of an earlier version, which cannot be resumed or read: train again in '
                              'another --run-dir')
    if not _is_valid(record):
        raise files.UserError(f'{path} is damaged: give another --run-dir, or put back a copy of it')
    return record


def _is_valid(record):
    classes, described = record['classes'], record['networks']
    try:
        for found in described.values():
            networks.inputs_of(found)
            assert isinstance(found['output'], str)
        assert classes is None or isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        assert isinstance(record['settings']['DATASET'], str)
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
