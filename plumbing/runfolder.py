"""The folder of a run: its settings, and the checkpoints to resume from."""
import json
import pathlib
import sys

from plumbing import files

import numpy as np
import tensorflow.compat.v1 as tf

FREE = ('STEPS', 'EPOCHS', 'RUN_DIR', 'DATA_DIR')  # settings that may change when a run is resumed
RECORDED = ('script', 'settings', 'networks', 'classes', 'versions')  # the keys of settings.json


def claim(folder, script, settings, networks, classes):
    """Writes settings.json into a new folder, or makes sure that an old one is of the same script and settings.

    networks: {name: described network}; classes: names of the classes of the data set, or None.
    Raises files.UserError, and touches nothing, if it is another run's.
    """
    path = folder / 'settings.json'
    if path.exists():
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
    versions = {'tensorflow': tf.version.VERSION, 'numpy': np.__version__, 'python': sys.version.split()[0]}
    with files.replacing(path) as temporary:
        record = dict(zip(RECORDED, (script, settings, networks, classes, versions), strict=True))
        temporary.write_text(json.dumps(record, indent=1) + '\n')


def read(folder):
    """settings.json of a run folder: a dict with the keys RECORDED. files.UserError if there is none, or a damaged or old one."""
    path = pathlib.Path(folder) / 'settings.json'
    try:
        record = json.loads(path.read_text())
    except OSError:
        raise files.UserError(f'{folder} is not a run folder: there is no {path}') from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or 'script' not in record or 'settings' not in record:
        raise files.UserError(f'{path} is damaged; delete {folder} or give another --run-dir')
    if any(key not in record for key in RECORDED):
        raise files.UserError(f'{folder} is a run of an earlier version, which cannot be resumed or read: train again in '
                              'another --run-dir')
    return record


def read_settings(folder):
    """{name: value} of the constants that a run was started with. Raises files.UserError as `read` does."""
    return read(folder)['settings']


def restore(session, saver, checkpoints):
    """Restores the newest checkpoint that is whole and returns its step; 0 where there is none.

    Raises files.UserError if all are damaged, or if the variables are not those of the graph.
    """
    for litter in checkpoints.glob('*tempstate*'):  # of a write that was killed
        litter.unlink()
    paths = sorted(checkpoints.glob('step-*.index'), key=step_of)
    shapes = {variable.op.name: variable.shape.as_list() for variable in tf.global_variables()}
    for path in reversed(paths):
        prefix = str(path.with_suffix(''))
        try:
            saved = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
            if saved != shapes:
                odd = sorted(name for name in {**saved, **shapes} if saved.get(name) != shapes.get(name))
                raise files.UserError(f'the networks are not those of {prefix} ({odd[0]} and {len(odd) - 1} more differ): '
                                      'the script was edited; give another --run-dir')
            saver.restore(session, prefix)
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            print(f'{prefix} is damaged ({files.reason(error)}); trying the one before', file=sys.stderr)
        else:
            older = [str(other.with_suffix('')) for other in paths if step_of(other) <= step_of(path)]
            saver.recover_last_checkpoints(older)
            return step_of(path)
    if paths:
        raise files.UserError(f'every checkpoint in {checkpoints} is damaged; delete {checkpoints.parent} to start again')
    return 0


def step_of(path):
    """The number in the name of a checkpoint or picture: 500 for step-000500.index."""
    return int(path.stem.split('-')[1])


def last_good(folder):
    """What to tell a person whose run has diverged: which checkpoint is good, and what to try."""
    steps = sorted(map(step_of, (folder / 'checkpoints').glob('step-*.index')))
    good = f'the last good checkpoint is that of step {steps[-1]}' if steps else 'no checkpoint had been written yet'
    return f'{good} in {folder}; train with lower learning rates in another --run-dir'
