"""The folder of a run: its settings, checkpoints, scalars.csv and TensorBoard events, and what a killed run left there."""
import csv
import json
import pathlib
import sys

import files

import numpy as np
import tensorflow.compat.v1 as tf
from tensorboard.summary.v1 import text_pb

FREE = ('STEPS', 'EPOCHS', 'RUN_DIR', 'DATA_DIR')  # settings that may change when a run goes on
BATCH = 64  # inputs in a session call, always: an output does not depend on how many there are


def claim(folder, script, settings):
    """Writes settings.json into a new folder, or makes sure that an old one is of the same script and settings.

    Raises files.UserError, and touches nothing, if it is not.
    """
    path = folder / 'settings.json'
    if path.exists():
        try:
            record = json.loads(path.read_text())
            before = {'script': record['script'], **record['settings']}
        except (ValueError, KeyError):
            raise files.UserError(f'{path} is damaged; delete {folder} or give another --run-dir') from None
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
            raise files.UserError(f'{folder} is a run of other settings: {"; ".join(changed)}; give another --run-dir')
    elif folder.exists() and any(not entry.name.startswith('.') for entry in folder.iterdir()):
        raise files.UserError(f'{folder} is not the folder of a run and not empty; give another --run-dir')
    versions = {'tensorflow': tf.version.VERSION, 'numpy': np.__version__, 'python': sys.version.split()[0]}
    with files.replacing(path) as temporary:
        temporary.write_text(json.dumps({'script': script, 'settings': settings, 'versions': versions}, indent=1) + '\n')


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
            print(f'{prefix} is damaged ({reason(error)}); trying the one before', file=sys.stderr)
        else:
            older = [str(other.with_suffix('')) for other in paths if step_of(other) <= step_of(path)]
            saver.recover_last_checkpoints(older)
            return step_of(path)
    if paths:
        raise files.UserError(f'every checkpoint in {checkpoints} is damaged; delete {checkpoints.parent} to start again')
    return 0


def export(folder, network, takes, shape, gives, values):
    """Writes a network as a SavedModel with one signature, `takes` [N, *shape] -> `gives`; values: {variable's name: array}."""
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
        x = tf.placeholder(tf.float32, [None, *shape], takes)
        y = network(x, training=False)
        variables = tf.global_variables()
        session.run([v.initializer for v in variables], {v.initial_value: values[v.op.name] for v in variables})
        for operation in session.graph.get_operations():
            operation._clear_attr('_gradient_op_type')  # names a function of ops.py, which other programs do not have
        with files.replacing(folder) as temporary:
            tf.saved_model.simple_save(session, str(temporary), {takes: x}, {gives: y})


def saved(folder, name):
    """Path of the network `name` that the run in `folder` has saved; files.UserError if there is none."""
    model = pathlib.Path(folder) / name
    if not model.is_dir():
        raise files.UserError(f'{folder} holds no {name}: give the folder of a run that has come to save one (on points of the '
                              'plane none does: their measures are in metrics.json)')
    return model


def network(folder, name):
    """The network `name` that the run in `folder` has saved: (function from array [N, ...] to array [N, ...], input shape).

    Raises files.UserError if there is none.
    """
    model = saved(folder, name)
    session = tf.Session(graph=tf.Graph())
    try:
        signature = tf.saved_model.load(session, ['serve'], str(model)).signature_def['serving_default']
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        raise files.UserError(f'{model} is damaged ({reason(error)}); train on to renew it') from None
    (takes,), (gives,) = signature.inputs.values(), signature.outputs.values()
    shape = [dim.size for dim in takes.tensor_shape.dim[1:]]

    def apply(x):
        padded = np.zeros([-(-len(x) // BATCH) * BATCH, *shape], np.float32)
        padded[:len(x)] = x
        parts = [session.run(gives.name, {takes.name: padded[i:i + BATCH]}) for i in range(0, len(padded), BATCH)]
        return np.concatenate(parts)[:len(x)]

    return apply, shape


def step_of(path):
    """The number in the name of a checkpoint or picture: 500 for step-000500.index."""
    return int(path.stem.split('-')[1])


def reason(error):
    """The line of a TensorFlow error that says what happened, without where in the graph."""
    text = getattr(error, 'message', str(error))
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith('[[')][-1].strip()


def last_good(folder):
    """What to tell a person whose run has failed: which checkpoint is good, and what to try."""
    steps = sorted(map(step_of, (folder / 'checkpoints').glob('step-*.index')))
    good = f'the last good checkpoint is that of step {steps[-1]}' if steps else 'no checkpoint had been written yet'
    return f'{good} in {folder}; train with lower learning rates in another --run-dir'


class Log:
    """scalars.csv and the event file; on opening, what a killed run wrote after step `start` is taken out.

    names: the columns of scalars.csv after `step`. graph_def: what TensorBoard shows. rows: {step: {name: value}}.
    """

    def __init__(self, folder, names, start, graph_def, settings):
        path = folder / 'scalars.csv'
        old = list(csv.reader(path.read_text().splitlines())) if path.exists() else []
        old = [row for row in old[1:] if len(row) == len(names) + 1 and int(row[0]) <= start]
        with files.replacing(path) as temporary, open(temporary, 'w', newline='') as file:
            csv.writer(file).writerows([['step', *names], *old])
        self.names = names
        self.rows = {int(row[0]): {name: float(text) for name, text in zip(names, row[1:], strict=True) if text}
                     for row in old}
        self._file = open(path, 'a', newline='', buffering=1)
        self._events = tf.summary.FileWriter(str(folder))
        self._events.add_session_log(tf.SessionLog(status=tf.SessionLog.START), start + 1)
        self._events.add_graph(None, graph_def=graph_def)
        table = ['| constant | value |', '|---|---|', *(f'| {name} | {value} |' for name, value in settings.items())]
        self._events.add_summary(text_pb('settings', '\n'.join(table)), start)

    def scalars(self, step, values):
        """values: {name: number}; a name without a value leaves its column empty."""
        self.rows[step] = values
        csv.writer(self._file).writerow([step, *(f'{values[name]:.6g}' if name in values else '' for name in self.names)])
        summary = [tf.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._events.add_summary(tf.Summary(value=summary), step)

    def picture(self, step, path):
        """path: a PNG file."""
        image = tf.Summary.Image(encoded_image_string=path.read_bytes())
        self._events.add_summary(tf.Summary(value=[tf.Summary.Value(tag='samples', image=image)]), step)

    def flush(self):
        self._events.flush()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()
        self._events.close()
