"""The training loop of every script: flags, run folder, resuming, reports, pictures, metrics, checkpoints, export.

A script calls `run.train(...)` once; started as a program it calls `run.main(globals())`. The constants below are flags of
every script; a script that has one of them too has a default of its own.
"""
import contextlib
import functools
import io
import json
import logging
import math
import pathlib
import sys
import time
import types

import data
import evaluation
import ops
import viz
from plumbing import checkpoints, cluster, code, files, flags, graph, interrupts, naming, progress, recorder, runfolder, sampler
from plumbing.archives import write as write_pictures
from plumbing.codes import codes_of
from plumbing.coordination import find_team
from plumbing.hardware import prepare, resolve, session_config
from plumbing.measures import subset
from plumbing.networks import can_be_drawn, classes_of, images, label, makes_codes, network, normal, typical, uniform  # noqa: F401
from plumbing.pixels import to_float, to_uint8
from plumbing.projector import write_projector

import numpy as np
import tensorflow.compat.v1 as tf

DATA_DIR = ''            # folder to look for the data set first; the environment variable GAN_DATA_DIR does the same
RUN_DIR = ''             # folder of the run; by default runs/<script>-<dataset>-<what was changed by flags>
FRESH = False            # start again: remove the run that is in its folder
PRECISION = 'auto'       # 'auto', 'float32' or 'mixed': mixed is 16 bits; auto is that on images where the CPU is faster so
LOG_EVERY = 10           # steps between rows of scalars.csv and points in TensorBoard
EPOCHS = 0               # passes over the data, instead of STEPS; 0 leaves it to STEPS
SAMPLE_EVERY = 100       # steps between pictures of the same latents
EVAL_EVERY = 500         # steps between Frechet distances; 0 measures none, not even at the end
EVAL_COUNT = 2000        # samples of a Frechet distance, from 1 to 1000000: compare only those of equal counts
CHECKPOINT_EVERY = 500   # steps between checkpoints; the last three are kept while training
GRID = 64                # samples of a picture, from 1 to 10000


def main(script, arguments=None):
    """Runs a script (its `globals()`) as a program: constants from flags, main() in a fresh graph, errors in one line.

    arguments: flags, in the place of the command line's: `run.main(vars(dcgan), ['--steps', '500'])` in a notebook. They hold
    for this call. Then errors are raised as files.UserError, and Ctrl-C as KeyboardInterrupt, once a checkpoint is saved.
    """
    before = [(vars(data), {'DATA_DIR': data.DATA_DIR}), *((module, flags.constants(module)) for module in (globals(), script))]
    with files.one_line_errors() if arguments is None else _raised():
        try:
            if {'STEPS', 'EPOCHS'} <= flags.parse([script, globals()], arguments, raising=arguments is not None):
                raise files.UserError('--steps and --epochs both say how long to train: give one of them')
            data.DATA_DIR = DATA_DIR
            prepare(script.get('PRECISION', PRECISION))
            with tf.Graph().as_default(), contextlib.suppress(cluster.Finished):
                tf.set_random_seed(script['SEED'])
                cluster.join(script)
                script['main']()
        finally:
            for module, constants in before:
                module.update(constants)


@contextlib.contextmanager
def _raised():
    """The context of a run from Python: one that is stopped does not end the process, and TensorFlow's warnings are silenced."""
    logger = logging.getLogger('tensorflow')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.code, int) or end.code <= 128:    # --help
            raise
        raise interrupts.Interrupted(end.code - 128) from None
    finally:
        logger.setLevel(level)


def train(script, *, updates, scalars, networks, pictures=None, draw=None, measures=dict, finals=None, scores=None, given=None):
    """Trains the script's STEPS, resuming from the last checkpoint of the same run, and fills the run's folder.

    script: the script's `globals()`; its constants are the settings of the run.
    updates: the operations of one step in their order; each is one session call.
    scalars: {name: scalar tensor} to report; see `graph.fetches` for which update each is fetched with.
    networks: {name: run.network(function, output, **inputs)} to sample from, to measure and to export. Of the network
        'generator', if its output is 'images' and its inputs are latents and labels, samples are drawn and measured.
    pictures: function () -> {name of a row: images [columns, H, W, C] in [-1, 1]} to draw instead of the generator's.
    draw: function of the arrays that `pictures` then returns as a list of tensors -> the picture itself, uint8 [h, w] or
        [h, w, 3].
    measures: function () -> {name: scalar tensor} that depends on no random batch, to report every EVAL_EVERY steps.
    finals: (tensor of examples [N, ...] that depends on no random batch, function of one of them [1, ...] and its number [] ->
        {name: tensor}) of measures that take long: finals.json gets their means over the examples, once, at the end of the
        run; see `bounds.means`.
    given: (test pictures [N, h, w, c] in [-1, 1] that depend on no random batch, the classes [N] that they show or None), which a
        network 'generator' that makes images of images is drawn from and measured on, as others are on latents.
    scores: {'real': tensor, 'fake': tensor} of D's scores, of which TensorBoard gets histograms.
    These functions are applied on the averages (EMA, decay WEIGHT_AVERAGE) of the weights; see `graph.sampling`.
    Returns (folder, {name of a measure, or of one of `finals`: its value at the end}). Of several workers only the chief fills
    the folder, and returns; the others end.
    Raises files.UserError for a folder that is another run's or in use, damaged checkpoints, and values that are not finite.
    """
    script = cluster.whole(script)
    settings, classes = _settings(script, updates)
    steps, folder, name = settings['STEPS'], _folder(script, settings), pathlib.Path(script['__file__']).name
    if cluster.is_chief():
        runfolder.check(folder, name, settings, FRESH)
    print(graph.parameter_counts())

    averaged = graph.sampling(networks, settings['WEIGHT_AVERAGE'], updates[-1], pictures, measures)
    graph.check_memory()
    graph_def = tf.get_default_graph().as_graph_def()  # what TensorBoard shows: the graph without what follows
    operations, extras = [*updates[:-1], averaged.advance], graph.extras(scores)
    fetches, reports = (graph.fetches(operations, updates, {**scalars, **more}) for more in ({}, extras))
    start_averages = tf.group([average.assign(source) for average, source in averaged.averages])
    finite = tf.reduce_all([tf.reduce_all(tf.is_finite(v)) for v in tf.global_variables() if v.dtype.is_floating])
    team = find_team()
    fetches, reports = (team.means(some, scalars) for some in (fetches, reports))
    saver = checkpoints.saver()
    _, total = graph.progress()
    ready = tf.global_variables_initializer(), tf.local_variables_initializer()
    shape = sampler.shape(networks, averaged, given)
    watch = _watch(settings, shape, networks, given) if team.chief else None
    frechet = watch.columns[0] if watch else None
    built = code.fingerprint(graph_def, [[update.name for update in updates], list(scalars)],
                             [script['__file__'], *_modules(script)])
    owner = runfolder.Owner(name, settings, {name: found.described() for name, found in networks.items()}, classes, built)
    facts = {'tensorflow': tf.version.VERSION, 'numpy': np.__version__, 'settings': settings, 'data': tf.get_collection('sums'),
             'code': built}

    with team.session(session_config(settings['PRECISION']), facts) as session, \
            runfolder.claimed(folder, owner, FRESH) if team.chief else contextlib.nullcontext() as completed:
        # Restore
        session.run(ready)
        session.run(start_averages)
        session.run(total.initializer, {total.initial_value: steps})
        start = step = team.spread(session, checkpoints.restore(folder / 'checkpoints', session, saver) if team.chief else 0)
        tf.get_default_graph().finalize()
        calls, reporting = ([(session.make_callable(tensors), names) for tensors, names in some] for some in (fetches, reports))
        if not team.chief:
            _assist(session, team, calls, reporting, finite, list(scalars), settings, start)
        taken = given and to_uint8(session.run(given[0]))
        sample = sampler.Sampler(session, networks, averaged, settings['GRID'], settings['SEED'],
                                 functools.partial(_typical, settings), taken)
        results = _results(folder, settings, classes, networks, scalars, sample, watch, shape, finals)
        if start >= steps and not completed.lacks([*networks, *results], start):
            more = f'--epochs {2 * settings["EPOCHS"]}' if settings['EPOCHS'] else f'--steps {2 * start}'
            print(f'finished: {folder} is at step {start}; {more} trains further')
            team.end(session)
            return folder, {**sample.measured(), **_finals(folder, finals)}
        columns = {**{name: _section(name) for name in scalars},
                   **dict.fromkeys([*(averaged.measured if settings['EVAL_EVERY'] else []), *(watch.columns if watch else [])],
                                   'quality')}
        with recorder.Recorder(folder, completed, columns, start, graph_def, settings) as record:
            passes = f' ({settings["EPOCHS"]} passes over the data)' if settings['EPOCHS'] else ''
            print(f'{"resumes" if start else "starts"} at step {start} of {steps}{passes}; pictures in {folder / "samples"}',
                  flush=True)
            began = time.monotonic()
            for labelled in tf.get_collection('labelled'):
                record.show(start, 'labelled', viz.save(folder / 'labelled.png', viz.by_class(labelled, classes)))
            if given:
                write_pictures(folder / 'inputs.npz', taken, given[1])
            if start == 0:
                record.picture(0, _picture(sample, draw))
            elif completed.lacks(networks, start):  # it was killed between a checkpoint and what follows one
                record.networks(start, networks, sample.weights())
            with progress.bar(start, steps) as bar, interrupts.caught() as caught:
                for step in range(start + 1, steps + 1):
                    # Step
                    log, values, more = _due(settings, 'LOG_EVERY', step), {}, {}
                    for call, names in reporting if log else calls:
                        values.update(zip(names, call()[1:], strict=True))
                    team.hear(session, values, caught)
                    for name in extras if log else []:
                        more[name] = values.pop(name)
                    _check_finite(values, step, folder)
                    told = {name: values[name] for name in scalars}

                    # Measure
                    if _due(settings, 'EVAL_EVERY', step):
                        values = {**values, **sample.measured()}
                        if watch:
                            best = record.lowest(frechet)
                            values.update(watch(sample.samples(watch.count, watch.labels)))
                            if values[frechet] < best:
                                record.networks(step, {'generator-best': networks['generator']}, sample.weights())

                    # Report
                    if log or len(values) > len(scalars):
                        record.scalars(step, values)
                        record.tell(step, more)
                    bar.set_postfix_str(progress.told(told, record.last(frechet), record.lowest(frechet)), refresh=False)
                    bar.update()

                    # Draw
                    if _due(settings, 'SAMPLE_EVERY', step):
                        record.picture(step, _picture(sample, draw))

                    # Save
                    stop = team.stops(caught)           # asked once: what is caught while this step is saved stops the next one
                    if _due(settings, 'CHECKPOINT_EVERY', step) or step == steps or stop:
                        _check_weights(session, team, finite, step, folder)
                        record.checkpoint(step, session, saver)
                        record.networks(step, networks, sample.weights())
                    if stop:
                        break
            if stop := team.stops(caught):
                again = 'run the same command without --fresh' if FRESH else 'run the same command'
                print(f'stopped and saved at step {step} of {steps}; {again} to resume', flush=True)
                team.end(session)
                sys.exit(128 + stop)

            # Finish
            if start < steps:
                print(f'trained to step {step} in {(time.monotonic() - began) / 60:.1f} minutes', flush=True)
            lacking, numbers = completed.lacks([*results], step), {}
            for name in lacking:
                numbers |= results[name]()
                completed.add([name], step)
            for found in [folder / 'nearest.png', folder / 'confusions.png'] if 'metrics.json' in lacking else []:
                if found.exists():
                    record.show(step, found.stem, found)
            record.end(step, numbers)
            result = {**sample.measured(), **_finals(folder, finals)}
        checkpoints.keep(folder / 'checkpoints', step, 1)
        team.end(session)
    more = f'; draw more with: python sample.py {folder}' if shape else ''
    print(f'finished: look at {folder}/samples.gif and losses.png{more}')
    return folder, result


def on_test_set(script, name, coded, score):
    """The `measures` of `train` for a script that is told by the labels of the test pictures how good its codes are.

    coded: images [B, h, w, c] in [-1, 1] -> [B, ...]; score: arrays [N, ...], of all test pictures, and their labels [N] ->
    a number, computed outside of the graph, which so holds no label. Without labels nothing is measured.
    """
    x, labels = data.load(script['DATASET'], 'test', script['IMAGE_SIZE'], script['CHANNELS'])
    if labels is None:
        return dict
    with tf.variable_scope('data', auxiliary_name_scope=False), tf.name_scope('data/'), tf.variable_scope('test'):
        test = data.stored(x)
    return lambda: {name: ops.outside(lambda found: score(found, labels), ops.in_blocks(coded, test))}


def _assist(session, team, calls, reporting, finite, scalars, settings, start):
    """What a worker other than the chief does: the same steps, without reports, pictures and files. It never returns."""
    print(f'{team.worker}: {"resumes" if start else "starts"} at step {start} of {settings["STEPS"]}', flush=True)
    with interrupts.caught() as caught:
        for step in range(start + 1, settings['STEPS'] + 1):
            values = {}
            for call, names in reporting if _due(settings, 'LOG_EVERY', step) else calls:
                values.update(zip(names, call()[1:], strict=True))
            team.hear(session, values, caught)
            _check_finite({name: values[name] for name in scalars}, step)
            if _due(settings, 'CHECKPOINT_EVERY', step) or step == settings['STEPS'] or team.stops(caught):
                _check_weights(session, team, finite, step)
            if team.stops(caught):
                break
    team.end(session)


def _check_weights(session, team, finite, step, folder=None):
    """Raises UserError if weights are not finite, or not the same on all workers."""
    team.agree(session)
    if not session.run(finite):
        raise files.UserError(f'weights are no longer finite at step {step}; {_last_good(folder)}')


def _settings(script, updates):
    """(constants of a run as they are recorded, with STEPS from EPOCHS if that was given; names of the classes or None)."""
    settings = {**flags.constants(globals()), **flags.constants(script)}
    del settings['FRESH']
    settings['PRECISION'] = resolve(settings['PRECISION'], images=bool(tf.get_collection('batches')))
    settings['STEPS'] = _steps(updates, settings['STEPS'], settings['EPOCHS'])
    settings['DATASET'] = data.NAMES.get(settings['DATASET'].lower(), settings['DATASET'])
    classes = data.CLASSES.get(settings['DATASET'])
    if 'IMAGE_SIZE' in script:
        settings['DATASET'] = data.full_name(settings['DATASET'])
        if fingerprint := data.fingerprint(settings['DATASET'], settings['IMAGE_SIZE'], settings['CHANNELS']):
            settings['PICTURES'] = fingerprint
            classes = data.class_names(settings['DATASET'], settings['IMAGE_SIZE'], settings['CHANNELS'])
        if settings.get('SOURCE'):
            settings['SOURCE'] = data.full_name(settings['SOURCE'])
            if fingerprint := data.fingerprint(settings['SOURCE'], settings['IMAGE_SIZE'], settings['CHANNELS']):
                settings['SOURCE_PICTURES'] = fingerprint
    return settings, classes


def _modules(script):
    """The files of the project's modules that a script imports."""
    found = [value.__file__ for value in script.values() if isinstance(value, types.ModuleType) and hasattr(value, '__file__')]
    return [path for path in found if pathlib.Path(path).parent == pathlib.Path(__file__).parent]


def _steps(updates, steps, epochs):
    """How long to train: `steps`, or what `epochs` passes over the data take, for what a step draws of them."""
    if not epochs:
        return steps
    for position, batch, count in tf.get_collection('batches'):
        if drawn := batch * sum(position in graph.counters(update) for update in updates):
            return -(-epochs * count // drawn)
    raise files.UserError('this script draws no batches of a data set: use --steps instead of --epochs')


def _folder(script, settings):
    if RUN_DIR:
        return pathlib.Path(files.expanded(RUN_DIR))
    return pathlib.Path('runs', naming.folder(script['__file__'], settings['DATASET'], naming.changed([script, globals()])))


def _watch(settings, shape, networks, given):
    """The evaluation.Watch of the samples, or None where nothing is measured."""
    count = settings['EVAL_COUNT'] if shape and settings['EVAL_EVERY'] else 0
    if count and given and (least := given[0].shape[0]) < count:
        print(f'Frechet distances are of {least} samples, not {count}: there are no more test pictures'
              if least >= evaluation.MIN_COUNT else
              f'{least} test pictures are too few for a Frechet distance, which takes {evaluation.MIN_COUNT}: none is measured')
        count = least if least >= evaluation.MIN_COUNT else 0
    if count and 'PICTURES' in settings:
        count = evaluation.measurable_count(settings['DATASET'], shape, count)
    if not count:
        return None
    return evaluation.Watch(settings['DATASET'], count, shape, classes_of(networks['generator'].inputs), given and given[1])


def _pictures(settings, split, size, channels):
    """The pictures of a split and their labels or None; those without a class too, with which scripts that have LABELS train."""
    with contextlib.redirect_stdout(io.StringIO()):     # where the data are has been printed already
        return data.load(settings['DATASET'], split, size, channels, unlabelled='LABELS' in settings)


def _typical(settings, used):
    """{name of an input: array [N, ...]} to take batch norm's statistics over: latents, and classes as often as in the training
    set; or for an encoder training pictures."""
    if can_be_drawn(used.inputs):
        if not classes_of(used.inputs):
            return typical(used.inputs, sampler.STANDING)
        _, labels = _pictures(settings, 'train', settings['IMAGE_SIZE'], settings['CHANNELS'])
        known = labels[labels >= 0]
        some = subset(known, min(sampler.STANDING, len(known)))
        return typical(used.inputs, sampler.STANDING, np.resize(some, sampler.STANDING))
    (name, given), = used.inputs.items()
    found, _ = _pictures(settings, 'train', given.shape[0], given.shape[2])
    return {name: to_float(subset(found, min(sampler.STANDING, 1 + 2**26 // math.prod(given.shape))))}     # 256 MB


def _results(folder, settings, classes, networks, scalars, sample, watch, shape, finals):
    """What is left in a run's folder at its end: {name: function that makes it -> {name of a number for TensorBoard: number}}."""
    real = functools.cache(lambda: watch.real() if watch else {})
    encoder = next((name for name, found in networks.items() if makes_codes(found.inputs, found.output)), None)

    def test():
        given, = networks[encoder].inputs.values()
        return _pictures(settings, 'test', given.shape[0], given.shape[2])

    def losses():
        target = settings.get('REAL_LABEL', 1 - settings.get('LABEL_SMOOTHING', 0.0))
        viz.curves(folder / 'losses.png', folder / 'scalars.csv', real(), target)
        return {}

    def metrics():
        if not watch:
            files.write_json(folder / 'metrics.json', {name: float(value) for name, value in sample.measured().items()})
            return {}
        with progress.alive('measuring the samples'):
            numbers, line = evaluation.report(folder, settings['DATASET'], shape, real())
        print(line)
        return numbers

    def film():
        viz.film(folder / 'samples.gif', recorder.pictures(folder))
        return {}

    def codes():
        shown, labels = test()
        viz.scatter(folder / 'codes.png', codes_of(folder, encoder, shown), labels)
        return {}

    def projector():
        write_projector(folder, encoder, *test(), classes)
        return {}

    def means():
        print('measuring example by example', flush=True)
        found = sample.means(*finals)
        files.write_json(folder / 'finals.json', {name: value.tolist() for name, value in found.items()})
        return {name: value for name, value in found.items() if value.ndim == 0}

    return {'losses.png': losses, **({'metrics.json': metrics} if watch or sample.measures else {}), 'samples.gif': film,
            **({'codes.png': codes, 'projector': projector} if encoder else {}), **({'finals.json': means} if finals else {})}


def _section(name):
    """The section of TensorBoard that a scalar of a script is shown in."""
    return 'D' if name.startswith(('D(', 'real_', 'fake_')) else 'loss'


def _finals(folder, finals):
    """What a run that has ended knows of its `finals`."""
    return json.loads((folder / 'finals.json').read_text()) if finals else {}


def _due(settings, constant, step):
    """Whether something that happens every so many steps happens now; at the last step it does, unless it never does."""
    every = settings[constant]
    return bool(every) and (step % every == 0 or step == settings['STEPS'])


def _picture(sample, draw):
    """The picture of a step, uint8: the script's own if it draws one, else a grid of samples."""
    arrays = sample.pictures()
    if arrays is None:
        return viz.grid(sample.grid(), columns=sample.columns)
    if draw:
        return draw(*arrays)
    rows = [viz.to_uint8(row) for row in arrays.values()]
    return viz.grid(np.concatenate(rows), columns=len(rows[0]), labels=list(arrays))


def _check_finite(values, step, folder=None):
    for name, value in values.items():
        if not math.isfinite(value):
            raise files.UserError(f'{name} is {value} at step {step}; {_last_good(folder)}')


def _last_good(folder):
    return runfolder.last_good(folder) if folder else 'what to do is told by the chief'
