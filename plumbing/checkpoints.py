"""Checkpoints of a run, checkpoints/step-000500.*: TensorFlow's files under names that it cannot take for patterns."""
import re
import sys

from plumbing import files, graph

import tensorflow.compat.v1 as tf

KEPT = 3
NAME = re.compile(r'step-(\d{6,18})\.index')
ENDS = '.data-00000-of-00001', '.index'  # of the files of a checkpoint; it counts as soon as the second one is there


def saver():
    """A Saver of all variables that deletes nothing: it would delete what its names match as patterns."""
    return tf.train.Saver(max_to_keep=0)


def steps(folder):
    """The steps of the checkpoints in a folder, in order."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise files.UserError(f'{folder} is a file where the folder of the checkpoints belongs: move it away')
    return sorted(int(found[1]) for path in folder.iterdir() if (found := NAME.fullmatch(path.name)))


def save(folder, step, session, saver):
    """Saves all variables and removes all but the last KEPT checkpoints. A kill or a power cut at any moment leaves whole ones.

    Raises files.UserError where it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with files.inside(folder):
            saver.save(session, _name(step, '.new-'), write_meta_graph=False, write_state=False)
        for end in ENDS:
            files.to_disk(folder / _name(step, '.new-', end))
        for end in ENDS:
            (folder / _name(step, '.new-', end)).replace(folder / _name(step, end=end))
        keep(folder, step, KEPT)
    except (tf.errors.OpError, OSError) as error:
        raise files.UserError(f'cannot save step {step} in {folder}: {files.reason(error)}') from None


def keep(folder, step, count):
    """Removes the checkpoints before `step` but for so many that `count` are left with its own, the newest."""
    older = [other for other in steps(folder) if other < step]
    kept = older[max(0, len(older) - count + 1):]
    for old in older[:len(older) - len(kept)]:
        for end in reversed(ENDS):
            (folder / _name(old, end=end)).unlink(missing_ok=True)
    with files.inside(folder):  # for tf.train.latest_checkpoint
        tf.train.update_checkpoint_state('.', _name(step), list(map(_name, [*kept, step])))


def restore(folder, session, saver):
    """Restores the newest checkpoint that is whole and returns its step; 0 where there is none.

    Raises files.UserError if none can be read, or if the variables are not those of the graph.
    """
    found, complaint = steps(folder), ''
    for litter in [*folder.glob('.new-*'), *folder.glob('*tempstate*')]:  # of a write that was killed, perhaps the first one
        files.remove(litter)
    for step in reversed(found):
        try:
            with files.inside(folder):
                _check(step, folder)
                saver.restore(session, _name(step))
            return step
        except files.UserError:
            raise
        except Exception as error:  # damaged files make the reader raise anything
            complaint = f'{folder / _name(step)} is damaged ({files.reason(error)})'
            print(files.one_line(f'{complaint}; trying the one before'), file=sys.stderr)
    if found:
        raise files.UserError(f'no checkpoint can be read: {complaint}; --fresh starts again, or give another --run-dir')
    return 0


def _check(step, folder):
    """Raises UserError if the checkpoint is of other networks, and ValueError if it is of another step than its name says."""
    reader = tf.train.load_checkpoint(_name(step))
    saved = reader.get_variable_to_shape_map()
    shapes = {variable.op.name: variable.shape.as_list() for variable in tf.global_variables()}
    if saved != shapes:
        odd = sorted(name for name in {**saved, **shapes} if saved.get(name) != shapes.get(name))
        raise files.UserError(f'the networks are not those of {folder / _name(step)} ({odd[0]} and {len(odd) - 1} more differ): '
                              'the script was edited; give another --run-dir, or --fresh to start again')
    held = int(reader.get_tensor(graph.progress()[0].op.name))
    if held != step:
        raise ValueError(f'it holds step {held}')


def _name(step, begin='', end=''):
    return f'{begin}step-{step:06d}{end}'
