"""The plumbing of every script, once: flags, run folder, session, checkpoints, summaries, export, resume.

A script ends in `run.train(...)`; started as a program it calls `run.main(globals())`. The constants below are flags of
every script; a script that has one of them too has a default of its own.
"""
import contextlib
import csv
import json
import math
import pathlib
import signal
import sys
import time

import data
import files
import flags
import viz

import numpy as np
import tensorflow.compat.v1 as tf
import tqdm
from tensorboard.summary.v1 import text_pb

DATA_DIR = ''            # folder to look for the data set first; the environment variable GAN_DATA_DIR does the same
RUN_DIR = ''             # folder of the run; by default runs/<script>-<dataset>
PRECISION = 'auto'       # 'auto', 'float32' or 'mixed': mixed computes in 16 bits; auto does so on a CPU with bfloat16
LOG_EVERY = 10           # steps between rows of scalars.csv and points in TensorBoard
SAMPLE_EVERY = 100       # steps between pictures of the same latents
CHECKPOINT_EVERY = 500   # steps between checkpoints; the last three are kept


def main(script):
    """Runs a script (its `globals()`) as a program: constants from flags, main() in a fresh graph, errors in a line."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    with files.one_line_errors():
        flags.parse([script, globals()])
        data.DATA_DIR = DATA_DIR
        with tf.Graph().as_default():
            script['main']()


def train(script, *, updates, scalars, generator, z_dim, steps, weight_average=0):
    """Trains until step `steps`, on from the last checkpoint of the same run if there is one, and fills the run's folder.

    script: the script's `globals()`; its constants are the settings of the run.
    updates: the operations of one step in their order; each is one session call.
    scalars: {name: scalar tensor} to report. Each is fetched along with the last update that draws all the random
        batches it depends on, so that a report draws nothing and costs next to nothing.
    generator: function (z [N, z_dim], training) -> images [N, H, W, C] in [-1, 1], for z from N(0, 1).
    weight_average: decay of the average of the generator's variables, which is what gets sampled and exported. It grows
        with the step t, min(weight_average, (1 + t) / (10 + t)), so that the first pictures do not lag.
    Raises files.UserError for a folder that is not of this run, damaged checkpoints and values that are not finite.
    """
    settings = {**flags.constants(globals()), **flags.constants(script)}
    settings['PRECISION'] = _precision(settings['PRECISION'])
    folder = pathlib.Path(RUN_DIR or f'runs/{pathlib.Path(script["__file__"]).stem}-{_title(settings["DATASET"])}')
    _claim(folder, pathlib.Path(script['__file__']).name, settings)
    _print_sizes()

    step_op, z, images, averages = _sampling(generator, z_dim, weight_average, after=updates[-1])
    story = tf.get_default_graph().as_graph_def()  # what TensorBoard shows: all that is built up to here
    calls = _fetches([*updates[:-1], step_op], updates, scalars)
    initial = tf.group([average.assign(source) for average, source in averages])
    finite = tf.reduce_all([tf.reduce_all(tf.is_finite(v)) for v in tf.global_variables() if v.dtype.is_floating])
    saver = tf.train.Saver(max_to_keep=3, save_relative_paths=True)
    ready = tf.global_variables_initializer(), tf.local_variables_initializer()

    with tf.Session(config=_config(settings['PRECISION'])) as session, _signals() as caught:
        session.run(ready)
        session.run(initial)
        start = _restore(session, saver, folder / 'checkpoints')
        tf.get_default_graph().finalize()
        if start >= steps and (folder / 'samples.gif').exists():
            print(f'finished: {folder} is at step {start}; --steps {2 * start} trains it on')
            return
        calls = [(session.make_callable(fetches), names) for fetches, names in calls]
        latents = np.random.default_rng(settings['SEED']).standard_normal([64, z_dim], np.float32)

        def sample(step):
            path = folder / f'samples/step-{step:06d}.png'
            viz.save(path, viz.grid(viz.to_uint8(session.run(images, {z: latents}))))
            log.picture(step, path)

        def save(step):
            if not session.run(finite):
                raise files.UserError(f'weights are no longer finite at step {step}; {_last_good(folder)}')
            try:
                saver.save(session, str(folder / f'checkpoints/step-{step:06d}'), write_meta_graph=False)
            except tf.errors.OpError as error:
                raise files.UserError(f'cannot save step {step}: {error.message.splitlines()[0]}') from None
            _export(generator, z_dim, session.run([average for average, _ in averages]), folder / 'generator')
            log.flush()

        with _Log(folder, list(scalars), start, story, settings) as log:
            print(f'{"goes on at" if start else "starts at"} step {start} of {steps}; pictures every '
                  f'{settings["SAMPLE_EVERY"]} steps in {folder / "samples"}', flush=True)
            began = time.monotonic()
            if start == 0:
                sample(0)
            bar = tqdm.tqdm(total=steps, initial=start, unit='step', dynamic_ncols=True, smoothing=0.05,
                            mininterval=0.2 if sys.stderr.isatty() else 20)
            with bar:
                for step in range(start + 1, steps + 1):
                    values = {}
                    for call, names in calls:
                        values.update(zip(names, call()[1:], strict=True))
                    for name, value in values.items():
                        if not math.isfinite(value):
                            raise files.UserError(f'{name} is {value} at step {step}; {_last_good(folder)}')
                    bar.set_postfix({name: f'{values[name]:.3f}' for name in scalars}, refresh=False)
                    bar.update()
                    if step % settings['LOG_EVERY'] == 0 or step == steps:
                        log.scalars(step, [values[name] for name in scalars])
                    if step % settings['SAMPLE_EVERY'] == 0 or step == steps:
                        sample(step)
                    if step % settings['CHECKPOINT_EVERY'] == 0 or step == steps or caught:
                        save(step)
                    if caught:
                        break
        if caught:
            print(f'stopped and saved at step {step} of {steps}; the same command goes on from there', flush=True)
            sys.exit(128 + caught[0])

    viz.curves(folder / 'losses.png', folder / 'scalars.csv')
    viz.film(folder / 'samples.gif', sorted((folder / 'samples').glob('step-*.png')))
    print(f'finished step {steps} in {(time.monotonic() - began) / 60:.1f} minutes; look at {folder}/samples.gif and '
          f'losses.png, draw more with: python sample.py {folder}')


def _title(dataset):
    return pathlib.Path(dataset).resolve().name if pathlib.Path(dataset).is_dir() else dataset.lower()


def _precision(wanted):
    """'mixed' or 'float32': what 'auto' means on this machine."""
    gpu = bool(tf.config.list_physical_devices('GPU'))
    cpuinfo = pathlib.Path('/proc/cpuinfo')
    bfloat16 = cpuinfo.exists() and any(word in cpuinfo.read_text() for word in ('avx512_bf16', 'amx_bf16'))
    if wanted == 'mixed' and not gpu and not bfloat16:
        raise files.UserError('this CPU has no bfloat16 instructions: use --precision float32')
    return wanted if wanted != 'auto' else 'mixed' if bfloat16 and not gpu else 'float32'


def _config(precision):
    config = tf.ConfigProto(allow_soft_placement=True)
    if precision == 'mixed':
        rewrite = config.graph_options.rewrite_options
        on = type(rewrite).ON
        rewrite.auto_mixed_precision_onednn_bfloat16 = on  # CPU
        rewrite.auto_mixed_precision = on                  # GPU
    return config


def _claim(folder, script, settings):
    """Writes settings.json into a new folder, or makes sure that an old one is of the same script and settings."""
    path = folder / 'settings.json'
    if path.exists():
        try:
            record = json.loads(path.read_text())
            before = {'script': record['script'], **record['settings']}
        except (ValueError, KeyError):
            raise files.UserError(f'{path} is damaged; delete {folder} or give another --run-dir') from None
        now = json.loads(json.dumps({'script': script, **settings}))
        changed = [f'{name} was {before.get(name)!r}, now {now.get(name)!r}' for name in {**before, **now}
                   if name not in ('STEPS', 'RUN_DIR', 'DATA_DIR') and before.get(name) != now.get(name)]
        if changed:
            raise files.UserError(f'{folder} is a run of other settings: {"; ".join(changed)}; give another --run-dir')
    elif folder.exists() and any(not entry.name.startswith('.') for entry in folder.iterdir()):
        raise files.UserError(f'{folder} is not the folder of a run and not empty; give another --run-dir')
    versions = {'tensorflow': tf.version.VERSION, 'numpy': np.__version__, 'python': sys.version.split()[0]}
    with files.replacing(path) as temporary:
        temporary.write_text(json.dumps({'script': script, 'settings': settings, 'versions': versions}, indent=1) + '\n')


def _print_sizes():
    sizes = {}
    for variable in tf.trainable_variables():
        network = variable.name.split('/')[0]
        sizes[network] = sizes.get(network, 0) + math.prod(variable.shape)
    print(', '.join(f'{network}: {size:,} parameters' for network, size in sizes.items()))


def _sampling(generator, z_dim, weight_average, after):
    """The averaged generator, in the scope 'sampling': (update that follows `after`, z, images, [(average, source)])."""
    def untrainable(getter, *args, **options):
        return getter(*args, **{**options, 'trainable': False})

    with tf.variable_scope('sampling', custom_getter=untrainable):
        z = tf.placeholder(tf.float32, [None, z_dim], 'z')
        images = tf.identity(generator(z, training=False), 'images')
        sources = {variable.op.name: variable for variable in tf.global_variables()}
        averages = [(variable, sources[name.removeprefix('sampling/')])
                    for name, variable in sources.items() if name.startswith('sampling/')]
        step = tf.get_variable('step', [], tf.int64, initializer=tf.zeros_initializer())
        with tf.control_dependencies([after]), tf.name_scope('average'):
            t = tf.cast(step.read_value(), tf.float32)
            decay = tf.minimum(weight_average, (1 + t) / (10 + t))
            moves = [tf.raw_ops.ResourceApplyGradientDescent(  # average -= (1 - decay) (average - source)
                var=average.handle, alpha=1 - decay, delta=average.read_value() - source.read_value())
                for average, source in averages]
            with tf.control_dependencies(moves):
                return step.assign_add(1).op, z, images, averages


def _fetches(operations, updates, scalars):
    """[([operation, scalar, …], [name, …])] for each operation of a step; see `train` for where a scalar goes."""
    fetches = [([operation], []) for operation in operations]
    draws = [_draws(update) for update in updates]
    for name, scalar in scalars.items():
        place = max((i for i, drawn in enumerate(draws) if _draws(scalar.op) <= drawn), default=None)
        if place is None:
            raise ValueError(f'no update draws all the random batches that {name!r} depends on')
        fetches[place][0].append(scalar)
        fetches[place][1].append(name)
    return fetches


def _draws(operation):
    """The counters (of data or noise) that running `operation` moves."""
    seen, todo = set(), [operation]
    while todo:
        operation = todo.pop()
        if operation not in seen:
            seen.add(operation)
            todo += [tensor.op for tensor in operation.inputs] + operation.control_inputs
    return {operation for operation in seen if operation.type == 'AssignAddVariableOp'}


def _restore(session, saver, checkpoints):
    """Restores the newest checkpoint that is whole and returns its step; 0 where there is none."""
    for litter in checkpoints.glob('*tempstate*'):  # of a write that was killed
        litter.unlink()
    paths = sorted(checkpoints.glob('step-*.index'), key=_step)
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
            print(f'{prefix} is damaged ({str(error).splitlines()[0][:100]}); trying the one before', file=sys.stderr)
        else:
            saver.recover_last_checkpoints([str(other.with_suffix('')) for other in paths if _step(other) <= _step(path)])
            return _step(path)
    if paths:
        raise files.UserError(f'every checkpoint in {checkpoints} is damaged; delete {checkpoints.parent} to start again')
    return 0


def _step(path):
    return int(path.stem.split('-')[1])


def _last_good(folder):
    steps = sorted(map(_step, (folder / 'checkpoints').glob('step-*.index')))
    good = f'the last good checkpoint is that of step {steps[-1]}' if steps else 'no checkpoint had been written yet'
    return f'{good} in {folder}; train with lower learning rates in another --run-dir'


def _export(generator, z_dim, values, folder):
    """Writes the generator as a SavedModel with one signature: z [N, z_dim] -> images [N, H, W, C] in [-1, 1]."""
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
        z = tf.placeholder(tf.float32, [None, z_dim], 'z')
        images = generator(z, training=False)
        variables = tf.global_variables()
        session.run([v.initializer for v in variables], {v.initial_value: a for v, a in zip(variables, values, strict=True)})
        with files.replacing(folder) as temporary:
            tf.saved_model.simple_save(session, str(temporary), {'z': z}, {'images': images})


@contextlib.contextmanager
def _signals():
    """Yields a list that receives the first SIGINT or SIGTERM; a second one interrupts at once."""
    caught = []

    def catch(number, frame):
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Log:
    """scalars.csv and the event file; on opening, what a killed run wrote after step `start` is taken out."""

    def __init__(self, folder, names, start, graph_def, settings):
        path = folder / 'scalars.csv'
        rows = list(csv.reader(path.read_text().splitlines())) if path.exists() else []
        rows = [row for row in rows[1:] if len(row) == len(names) + 1 and int(row[0]) <= start]
        with files.replacing(path) as temporary, open(temporary, 'w', newline='') as file:
            csv.writer(file).writerows([['step', *names], *rows])
        self.file = open(path, 'a', newline='', buffering=1)
        self.names = names
        self.events = tf.summary.FileWriter(str(folder))
        self.events.add_session_log(tf.SessionLog(status=tf.SessionLog.START), start + 1)
        self.events.add_graph(None, graph_def=graph_def)
        table = ['| constant | value |', '|---|---|', *(f'| {name} | {value} |' for name, value in settings.items())]
        self.events.add_summary(text_pb('settings', '\n'.join(table)), start)

    def scalars(self, step, values):
        csv.writer(self.file).writerow([step, *(f'{value:.6g}' for value in values)])
        pairs = zip(self.names, values, strict=True)
        self.events.add_summary(tf.Summary(value=[tf.Summary.Value(tag=n, simple_value=v) for n, v in pairs]), step)

    def picture(self, step, path):
        image = tf.Summary.Image(encoded_image_string=path.read_bytes())
        self.events.add_summary(tf.Summary(value=[tf.Summary.Value(tag='samples', image=image)]), step)

    def flush(self):
        self.events.flush()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
        self.events.close()
