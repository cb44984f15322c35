"""The plumbing of every script, once: flags, run folder, session, checkpoints, summaries, export, resume.

A script ends in `run.train(...)`; started as a program it calls `run.main(globals())`. The constants below are flags of
every script; a script that has one of them too has a default of its own.
"""
import contextlib
import math
import pathlib
import signal
import sys
import time

import convolutions
import data
import files
import flags
import metrics
import runfolder
import viz
from sample import latents

import numpy as np
import tensorflow.compat.v1 as tf
import tqdm

DATA_DIR = ''            # folder to look for the data set first; the environment variable GAN_DATA_DIR does the same
RUN_DIR = ''             # folder of the run; by default runs/<script>-<dataset>
PRECISION = 'auto'       # 'auto', 'float32' or 'mixed': mixed computes in 16 bits; auto does so on a CPU with bfloat16
LOG_EVERY = 10           # steps between rows of scalars.csv and points in TensorBoard
EPOCHS = 0               # passes over the data, instead of STEPS; 0 leaves it to STEPS
SAMPLE_EVERY = 100       # steps between pictures of the same latents
EVAL_EVERY = 500         # steps between Frechet distances; 0 measures nothing, at the end neither
EVAL_COUNT = 2000        # samples of a Frechet distance: compare only those of equal counts
CHECKPOINT_EVERY = 500   # steps between checkpoints; the last three are kept
GRID = 64                # latents of a picture


def main(script):
    """Runs a script (its `globals()`) as a program: constants from flags, main() in a fresh graph, errors in a line."""
    with files.one_line_errors():
        if {'STEPS', 'EPOCHS'} <= flags.parse([script, globals()]):
            raise files.UserError('--steps and --epochs both say how long to train: give one of them')
        data.DATA_DIR = DATA_DIR
        convolutions.BFLOAT16 = _precision(PRECISION) == 'mixed' and not tf.config.list_physical_devices('GPU')
        with tf.Graph().as_default():
            script['main']()


def train(script, *, updates, scalars, steps, generator=None, z_dim=0, pictures=None, draw=None, encoder=None,
          measures=dict, weight_average=0):
    """Trains until step `steps`, on from the last checkpoint of the same run if there is one, and fills the run's folder.

    script: the script's `globals()`; its constants are the settings of the run.
    updates: the operations of one step in their order; each is one session call.
    scalars: {name: scalar tensor} to report. Each is fetched along with the last update that draws all the random
        batches it depends on, so that a report draws nothing and costs next to nothing.
    generator: function (z [N, z_dim], training) -> images [N, H, W, C] in [-1, 1], for z from N(0, 1).
    pictures: function () -> images [rows, columns, H, W, C] in [-1, 1] to draw instead of the generator's.
    draw: function of the arrays that `pictures` returns as tensors -> the picture itself, uint8 [h, w, 3].
    encoder: function (images [N, H, W, C], training) -> codes [N, K], to be exported.
    measures: function () -> {name: scalar tensor} that depends on no random batch, to report every EVAL_EVERY steps.
    weight_average: decay of the average of the variables, on which these four functions are applied for what gets
        drawn, measured and exported. It grows with the step t, min(weight_average, (1 + t) / (10 + t)), so that the
        first pictures do not lag.
    Returns (folder, {name of a measure: its value at the end}).
    Raises files.UserError for a folder that is not of this run, damaged checkpoints and values that are not finite.
    """
    settings, epochs = _settings(script, updates, steps)
    steps = settings['STEPS']
    name = pathlib.Path(settings['DATASET']).name or 'pictures'
    folder = pathlib.Path(RUN_DIR or f'runs/{pathlib.Path(script["__file__"]).stem}-{name}')
    runfolder.claim(folder, pathlib.Path(script['__file__']).name, settings)
    print(_sizes())

    step_op, z, images, shown, averages, measured = _sampling(
        generator, z_dim, weight_average, updates[-1], pictures, encoder, measures)
    networks = {'generator': (generator, 'z', [z_dim], 'images'),
                'encoder': (encoder, 'images', encoder and shown.shape[-3:], 'codes')}
    story = tf.get_default_graph().as_graph_def()  # what TensorBoard shows: all that is built up to here
    fetches = _fetches([*updates[:-1], step_op], updates, scalars)
    initial = tf.group([average.assign(source) for average, source in averages])
    finite = tf.reduce_all([tf.reduce_all(tf.is_finite(v)) for v in tf.global_variables() if v.dtype.is_floating])
    saver = tf.train.Saver(max_to_keep=3, save_relative_paths=True)
    ready = tf.global_variables_initializer(), tf.local_variables_initializer()

    with tf.Session(config=_config(settings['PRECISION'])) as session, _signals() as caught:
        session.run(ready)
        session.run(initial)
        start = runfolder.restore(session, saver, folder / 'checkpoints')
        tf.get_default_graph().finalize()
        if start >= steps and (folder / 'samples.gif').exists():
            more = f'--epochs {2 * epochs}' if epochs else f'--steps {2 * start}'
            print(f'finished: {folder} is at step {start}; {more} trains it on')
            return folder, session.run(measured)
        calls = [(session.make_callable(tensors), names) for tensors, names in fetches]
        draws = latents(max(settings['GRID'], settings['EVAL_COUNT']), z_dim, settings['SEED'])

        def sample(count):
            return np.concatenate([viz.to_uint8(session.run(images, {z: draws[i:i + 500][:count - i]}))
                                   for i in range(0, count, 500)])

        def picture(step):
            if pictures:
                arrays = session.run(shown)
                grid = draw(*arrays) if draw else viz.grid(viz.to_uint8(np.concatenate(arrays)), columns=len(arrays[0]))
            else:
                grid = viz.grid(sample(settings['GRID']))
            log.picture(step, viz.save(folder / f'samples/step-{step:06d}.png', grid))

        def export(name, folder):
            if networks[name][0]:
                values = session.run({source.op.name: average for average, source in averages})
                runfolder.export(folder, *networks[name], values)

        def save(step):
            if not session.run(finite):
                raise files.UserError(f'weights are no longer finite at step {step}; {runfolder.last_good(folder)}')
            try:
                saver.save(session, str(folder / f'checkpoints/step-{step:06d}'), write_meta_graph=False)
            except tf.errors.OpError as error:
                raise files.UserError(f'cannot save step {step}: {runfolder.reason(error)}') from None
            for name in networks:
                export(name, folder / name)
            log.flush()

        def due(constant):
            return settings[constant] and (step % settings[constant] == 0 or step == steps)

        shape = images.shape[1:].as_list() if generator else None
        frechet, distance = _watch(settings, shape)
        columns = [*scalars, *(measured if settings['EVAL_EVERY'] else []), *([frechet] if frechet else [])]
        with runfolder.Log(folder, columns, start, story, settings) as log:
            passes = f' ({epochs} passes over the data)' if epochs else ''
            print(f'{"goes on" if start else "starts"} at step {start} of {steps}{passes}; pictures in {folder / "samples"}',
                  flush=True)
            began = time.monotonic()
            best = min((row[frechet] for row in log.rows.values() if frechet in row), default=math.inf)
            if start == 0:
                picture(0)
            with tqdm.tqdm(total=steps, initial=start, unit='step', dynamic_ncols=True, smoothing=0.05,
                           mininterval=0.2 if sys.stderr.isatty() else 20) as bar:
                for step in range(start + 1, steps + 1):
                    values = {}
                    for call, names in calls:
                        values.update(zip(names, call()[1:], strict=True))
                    for name, value in values.items():
                        if not math.isfinite(value):
                            raise files.UserError(f'{name} is {value} at step {step}; {runfolder.last_good(folder)}')
                    if due('EVAL_EVERY'):
                        values.update(session.run(measured))
                    if due('EVAL_EVERY') and frechet:
                        values[frechet] = distance(sample)
                        if values[frechet] < best:
                            best = values[frechet]
                            export('generator', folder / 'generator-best')
                    if due('LOG_EVERY') or len(values) > len(scalars):
                        log.scalars(step, {name: float(values[name]) for name in columns if name in values})
                    if due('SAMPLE_EVERY'):
                        picture(step)
                    if due('CHECKPOINT_EVERY') or step == steps or caught:
                        save(step)
                    line = {name: f'{values[name]:.3f}'.removesuffix('.000') for name in scalars}
                    bar.set_postfix({**line, 'FD': f'{best:.3f}'} if best < math.inf else line, refresh=False)
                    bar.update()
                    if caught:
                        break
        if caught:
            print(f'stopped and saved at step {step} of {steps}; the same command goes on from there', flush=True)
            sys.exit(128 + caught[0])
        result = session.run(measured)

    print(f'trained to step {steps} in {(time.monotonic() - began) / 60:.1f} minutes', flush=True)
    viz.curves(folder / 'losses.png', folder / 'scalars.csv', together=list(measured))
    if frechet:
        print('measuring the samples', flush=True)
        print(metrics.report(folder, settings['DATASET'], shape))
    viz.film(folder / 'samples.gif', sorted((folder / 'samples').glob('step-*.png')))
    more = f'; draw more with: python sample.py {folder}' if generator else ''
    print(f'finished: look at {folder}/samples.gif and losses.png{more}')
    return folder, result


def _settings(script, updates, steps):
    """The constants of a run as they are recorded, with STEPS from EPOCHS if that is what was given, and EPOCHS or 0."""
    settings = {**flags.constants(globals()), **flags.constants(script)}
    settings['PRECISION'] = _precision(settings['PRECISION'])
    settings['STEPS'], epochs = _steps(updates, steps, settings['EPOCHS'])
    settings['DATASET'] = data.NAMES.get(settings['DATASET'].lower(), settings['DATASET'])
    if 'IMAGE_SIZE' in script:
        settings['DATASET'] = data.full_name(settings['DATASET'])
        if fingerprint := data.fingerprint(settings['DATASET'], settings['IMAGE_SIZE'], settings['CHANNELS']):
            settings['PICTURES'] = fingerprint
    return settings, epochs


def _steps(updates, steps, epochs):
    """(steps, epochs): how long to train, from `epochs` passes over the data, if it is not 0, for what a step draws of them."""
    if not epochs:
        return steps, 0
    for position, batch, count in tf.get_collection('batches'):
        if drawn := batch * sum(position in _draws(update) for update in updates):
            return -(-epochs * count // drawn), epochs
    raise files.UserError('this script draws no batches of a data set: use --steps instead of --epochs')


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


def _watch(settings, shape):
    """(name of the Frechet distance to measure while training, function of a sampler), or None twice for none."""
    count = settings['EVAL_COUNT']
    wanted = shape and settings['EVAL_EVERY']
    if wanted and 'PICTURES' in settings:
        wanted = count = metrics.affordable(settings['DATASET'], shape, count)
    if not wanted:
        return None, None
    distance = metrics.watch(settings['DATASET'], count, shape)
    return f'frechet_{count}', lambda sample: distance(sample(count))


def _sizes():
    sizes = {}
    for variable in tf.trainable_variables():
        network = variable.name.split('/')[0]
        sizes[network] = sizes.get(network, 0) + math.prod(variable.shape)
    return ', '.join(f'{network}: {size:,} parameters' for network, size in sizes.items())


def _sampling(generator, z_dim, weight_average, after, pictures=None, encoder=None, measures=dict):
    """Averaged networks, in the scope 'sampling': (update after `after`, z, images, pictures, [(average, source)], measured)."""
    sources = {variable.op.name: variable for variable in tf.global_variables()}

    def averaged(getter, name, *args, **options):
        if not weight_average and name.removeprefix('sampling/') in sources:
            return sources[name.removeprefix('sampling/')]  # nothing to average: the weights themselves
        return getter(name, *args, **{**options, 'trainable': False})

    with tf.variable_scope('sampling', custom_getter=averaged):
        z = tf.placeholder(tf.float32, [None, z_dim], 'z')
        images = tf.identity(generator(z, training=False), 'images') if generator else None
        shown = tf.nest.map_structure(lambda tensor: tf.identity(tensor, 'pictures'), pictures()) if pictures else images
        if encoder:
            encoder(tf.reshape(shown, [-1, *shown.shape[-3:]]), training=False)
        measured = measures()
        averages = [(variable, sources[variable.op.name.removeprefix('sampling/')]) for variable in tf.global_variables()
                    if not weight_average or variable.op.name not in sources]
        step = tf.get_variable('step', [], tf.int64, initializer=tf.zeros_initializer())
        with tf.control_dependencies([after]), tf.name_scope('average'):
            t = tf.cast(step.read_value(), tf.float32)
            decay = tf.minimum(weight_average, (1 + t) / (10 + t))
            moves = [tf.raw_ops.ResourceApplyGradientDescent(  # average -= (1 - decay) (average - source)
                var=average.handle, alpha=1 - decay, delta=average.read_value() - source.read_value())
                for average, source in averages if weight_average]
            with tf.control_dependencies(moves):
                return step.assign_add(1).op, z, images, shown, averages, measured


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
