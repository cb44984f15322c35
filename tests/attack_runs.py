"""Attacks on runs: damaged and hostile files, kills and signals, disks, two programs at once, flags, names, streams."""
import contextlib
import functools
import hashlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import run
from plumbing import checkpoints, files, flags, networks, recorder, runfolder, savedmodel

import numpy as np
import tensorflow.compat.v1 as tf
from attack_readers import pictures
from conftest import ROOT, SCRIPTS, as_flags, small
from judged import MAKERS, SECONDS, Broke, Done, damage, damaged, finished, made, place_of, require, well
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

KILLS = 10  # in one case of the kinds `kill` and `signal`
SMALL = ('--g-hidden 8 --d-hidden 8 --batch-size 8 --grid 4 --checkpoint-every 10 --sample-every 10 --log-every 5 '
         '--eval-every 10 --eval-count 80').split()

def train(place, folder, script='gan_fc', steps=20, more=(), **options):
    """Done of a small run, new or resumed."""
    given = SMALL if script == 'gan_fc' else [*as_flags(small(importlib.import_module(script))), *SMALL[6:]]
    return place.command(script, f'--run-dir={folder}', *given, f'--steps={steps}', *more, **{'may': [folder], **options})


def undisturbed(script, *steps):
    """The maker of a script's runs `20` and so on, of so many steps; `seconds` holds how long the first one took."""
    def make(folder):
        for number in steps:
            began = time.monotonic()
            with place_of(f'making-{script}') as place:
                require(well(train(place, folder / str(number), script, number)).status == 0, f'{script} does not train')
            if number == steps[0]:
                (folder / 'seconds').write_text(str(time.monotonic() - began))
    return make


def on_pictures(folder):
    pictures(folder / 'pictures', 40)
    with place_of('making') as place:
        require(well(train(place, folder / '20', more=pictured(folder / 'pictures'), driven=False)).status == 0, 'no training')


def pictured(folder):
    return f'--dataset={folder}', '--image-size=12', '--channels=3', '--eval-every=0'


OTHERS = 'dcgan', 'vae', 'toy', 'balanced_gan'
MAKERS.update({'on_pictures': on_pictures, 'gan_fc': undisturbed('gan_fc', 20, 30),
          'autoencoder': undisturbed('autoencoder', 20, 30), **{name: undisturbed(name, 20) for name in OTHERS}})


# Files of a finished run

def digest(folder, name):
    """Of what a network makes of fixed inputs."""
    found = savedmodel.Loaded(folder, name)
    shapes = {key: i for key, i in found.inputs.items() if i.kind != 'images'}
    drawn = {**networks.draw(shapes, 9), **{key: np.random.default_rng(0).random([9, *i.shape], np.float32)
                                            for key, i in found.inputs.items() if i.kind == 'images'}}
    return hashlib.sha256(found(**drawn).tobytes()).hexdigest()


def content_of(folder, steps):
    """{what: its digest} of everything in a finished run that must be the same again."""
    def of(value):
        return hashlib.sha256(value).hexdigest()
    found = {name: digest(folder, name) for name in runfolder.read(folder)['networks']}
    with contextlib.suppress(files.UserError):   # a best one that is damaged cannot be made again, and is refused
        found['generator-best'] = digest(folder, 'generator-best')
    require(steps in checkpoints.steps(folder / 'checkpoints'), f'there is no checkpoint of step {steps}')
    with files.inside(folder / 'checkpoints'):
        reader = tf.train.load_checkpoint(f'step-{steps:06d}')
        for name in sorted(reader.get_variable_to_shape_map()):
            found[f'weight {name}'] = of(reader.get_tensor(name).tobytes())
    for path in recorder.pictures(folder):
        with contextlib.suppress(Exception):     # one that was damaged
            found[f'samples/{path.name}'] = of(np.asarray(Image.open(path)).tobytes())
    for name in ('scalars.csv', 'metrics.json', 'finals.json', 'samples.gif', 'projector/tensors.tsv', 'projector/sprite.png'):
        found[name] = of((folder / name).read_bytes()) if (folder / name).is_file() else ''
    return found


@functools.cache
def expected(name, steps):
    with place_of(f'expected-{name}') as place:
        return well(place.forked(lambda: content_of(made(name) / str(steps), steps))).value


def same_run(place, folder, name, steps, except_for=()):
    """The run in the folder is complete and as the undisturbed one, except for names that begin so."""
    found = place.forked(lambda: content_of(folder, steps))
    require(found.status == 0, f'the finished run cannot be read: {found.error[-400:]}')
    whole = expected(name, steps)
    odd = sorted(key for key in {**whole, **found.value} if whole.get(key) != found.value.get(key)
                 and not any(key.startswith(left) for left in except_for))
    require(not odd, f'not the result of an undisturbed run: {", ".join(odd[:5])}')
    litter = [path.name for path in folder.rglob('*') if path.name.startswith(('.new-', '.old-')) or 'tempstate' in path.name]
    require(not litter, f'left behind: {litter}')


READERS = {'sample': ['--count=5', '--seed=3', '--npz=out.npz'], 'best': ['--best', '--count=5', '--npz=out.npz'],
           'walk': ['--interpolate=walk.png'], 'metrics': ['--json', '--count=80'], 'retrieval': []}


def read(place, folder, how, may=()):
    """(Done of one of READERS on a run, what it wrote). may: paths that something else writes to meanwhile."""
    out = [place.cwd / 'out.npz', place.cwd / 'walk.png']
    for path in out:
        files.remove(path)
    done = place.command({'best': 'sample', 'walk': 'sample'}.get(how, how), folder, *READERS[how],
                         may=[*out, folder / 'nearest.png', folder / 'retrieval.png', *may])
    written = [np.load(out[0])['images'].tobytes() if out[0].exists() else b'', out[1].read_bytes() if out[1].exists() else b'']
    return done, [re.sub(r'\S*/|\| \d+ \| \d+', '', done.out), *written]


@functools.cache
def expected_reading(name, how):
    with place_of(f'reading-{name}') as place:
        folder = place.path / 'run'
        shutil.copytree(made(name) / '20', folder)
        done, found = read(place, folder, how)
        require(well(done).status == 0, f'{how} does not read {name}')
        return found


def run_case(*patterns, damages=damage):
    """Of files of a finished run. patterns: which of them are damaged, by `damages`."""
    def case(draw, place):
        name, steps = draw.choice(['gan_fc', 'gan_fc', 'gan_fc', 'autoencoder']), draw.choice([20, 30])
        folder = place.path / 'run'
        shutil.copytree(made(name) / '20', folder)
        there = sorted(path for pattern in patterns for path in folder.glob(pattern))
        if not there:
            return
        chosen = draw.sample(there, min(len(there), draw.choice([1, 1, 1, 2])))
        for path in chosen:
            if path.is_file():
                damages(draw, path)
            elif path.is_dir():
                draw.choice([shutil.rmtree, lambda path: (shutil.rmtree(path), path.write_text('a file'))])(path)
        names = [str(path.relative_to(folder)) for path in chosen]
        if name == 'gan_fc' and draw.random() < 0.9:
            how = draw.choice(['sample', 'sample', 'best', 'walk', 'metrics'])
        else:
            how = 'retrieval'
        done, found = read(place, folder, how)
        well(done, after=f'{how} with damaged {names}: ')
        if done.status == 0:
            require(found == expected_reading(name, how), f'{how} with damaged {names}: another result')
        done = well(train(place, folder, name, steps), after=f'training on damaged {names}: ')
        if done.status == 0:
            try:
                same_run(place, folder, name, steps, excepted(names, done, steps))
            except Broke as error:
                raise Broke(f'training on damaged {names}, then: {error}; it had said {done.error[-300:]!r}') from None
    return case


def excepted(names, done, steps):
    """What may differ after damage to these files: what no later step makes again, and what the program said that it lost.

    Scalars and the record that vouches for them, damaged both, cannot be told from others.
    """
    left = [name for name in ('samples', 'generator-best') if any(other.startswith(name) for other in names)]
    lost = {'scalars.csv', 'completed.json'} & set(names)
    if len(lost) == 2 or lost and ('scalars.csv is damaged' in done.error or f'is at step {steps};' in done.out):
        left.append('scalars.csv')
    return left


def checkpoint_damage(draw, path):
    """Besides what every file suffers: another step's file, another step's name."""
    others = [other for other in path.parent.glob(f'step-*{path.suffix}') if other != path]
    if others and draw.random() < 0.2:
        shutil.copy(draw.choice(sorted(others)), path)
    elif path.name.startswith('step-') and draw.random() < 0.15:
        step = draw.choice([15, 25, 10**6, 10**17])
        for end in checkpoints.ENDS:
            source = path.with_name(path.name.partition('.')[0] + end)
            if source.exists():
                source.rename(path.with_name(f'step-{step:06d}{end}'))
    else:
        damage(draw, path)


# Hostile SavedModels

def hostile_case(draw, place):
    """A SavedModel that somebody has changed, with the sums of what it now is: it computes, and nothing else."""
    name, folder, target = draw.choice(['gan_fc', 'gan_fc', 'autoencoder']), place.path / 'run', place.path / 'target'
    shutil.copytree(made(name) / '20', folder)
    target.write_text('mine')
    export = folder / ('generator' if name == 'gan_fc' else 'encoder')
    path, untouched, evil = export / 'saved_model.pb', False, ''
    how = draw.choice(['operation', 'beside', 'bytes', 'attribute', 'constant', 'bomb', 'signature', 'variables', 'collection'])
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    meta = model.meta_graphs[0]
    output = next(iter(meta.signature_def['serving_default'].outputs.values()))
    last = next(node for node in meta.graph_def.node if node.name == output.name.partition(':')[0])
    if how in ('operation', 'beside', 'collection'):
        evil = draw.choice(sorted(EVIL))
        with tf.Graph().as_default() as graph:
            EVIL[evil](str(target))
            added = graph.as_graph_def()
        meta.graph_def.node.extend(added.node)
        meta.graph_def.library.MergeFrom(added.library)
        untouched = how != 'operation'
        if how == 'operation':
            last.input.append('^evil/evil')
        elif how == 'collection':
            key = draw.choice(['saved_model_main_op', 'legacy_init_op', 'asset_filepaths', 'table_initializer'])
            meta.collection_def[key].node_list.value.append('evil/evil')
            meta.signature_def['__saved_model_init_op'].outputs['__saved_model_init_op'].name = 'evil/evil'
    elif how == 'bomb':
        with tf.Graph().as_default() as graph, tf.name_scope('evil'):
            old = tf.placeholder(tf.float32, name='old')
            large = BOMBS[evil := draw.choice(sorted(BOMBS))](draw.choice([1, 100]), old)
            tf.add(old, tf.reduce_mean(large), name='evil')
            added = [node for node in graph.as_graph_def().node if node.name != 'evil/old']
        for node in added:
            node.input[:] = [last.input[0] if name == 'evil/old' else name for name in node.input]
        meta.graph_def.node.extend(added)
        last.input[0] = 'evil/evil'
    elif how in ('attribute', 'constant'):
        nodes = [node for node in meta.graph_def.node if node.attr and (how == 'attribute' or node.op == 'Const')]
        node = draw.choice(nodes)
        value = node.attr[draw.choice(sorted(node.attr)) if how == 'attribute' else 'value']
        with contextlib.suppress(Exception):   # bytes that are no message any more
            value.MergeFromString(damaged(draw, value.SerializeToString()))
    elif how == 'signature':
        nodes = [node.name for node in meta.graph_def.node]
        signature = meta.signature_def['serving_default']
        end = draw.choice([*signature.inputs.values(), output])
        end.name = draw.choice([*nodes, 'nothing', '', ':', '^z', 'é']) + draw.choice([':0', ':0', '', ':1', ':x'])
    for node in meta.graph_def.node if draw.random() < 0.5 else ():
        node.attr.pop('_output_shapes', None)  # of which what was changed may not be
    path.write_bytes(damaged(draw, path.read_bytes()) if how == 'bytes' else model.SerializeToString())
    if how == 'variables':
        damage(draw, draw.choice(sorted((export / 'variables').iterdir())))
    sums = {file: value for file, value in files.sums(export).items() if file != savedmodel.SUMS}
    (export / savedmodel.SUMS).write_text(''.join(f'{value}  {file}\n' for file, value in sums.items()))
    reader = 'retrieval' if name == 'autoencoder' else draw.choice(['sample', 'sample', 'sample', 'walk'])
    done, found = read(place, folder, reader)
    well(done, after=f'{how} {evil}: ')
    require(target.read_text() == 'mine', f'{how}: the model has written a file')
    require(how != 'operation' or done.status == 2, f'{how}: {evil} was run')
    require(not untouched or done.status == 2 or found == expected_reading(name, reader), f'{how}: another result')


def _evil(make):
    def made_of(target):
        with tf.name_scope('evil'):
            return make(target)
    return made_of


EVIL = {name: _evil(make) for name, make in {
    'WriteFile': lambda target: tf.raw_ops.WriteFile(filename=target, contents='theirs', name='evil'),
    'ReadFile': lambda target: tf.raw_ops.ReadFile(filename=target, name='evil'),
    'PyFunc': lambda target: tf.raw_ops.PyFunc(input=[1.0], token='pyfunc_0', Tout=[tf.float32], name='evil'),
    'SaveV2': lambda target: tf.raw_ops.SaveV2(
        prefix=target, tensor_names=['x'], shape_and_slices=[''], tensors=[1.0], name='evil'),
    'Where': lambda target: tf.raw_ops.Where(condition=[True], name='evil'),
    'MatchingFiles': lambda target: tf.raw_ops.MatchingFiles(pattern='/*', name='evil'),
    'Assert': lambda target: tf.raw_ops.Assert(condition=False, data=['theirs'], name='evil'),
    'function': lambda target: _call_of_a_function(target)}.items()}


def _call_of_a_function(target):
    from tensorflow.python.framework import function

    @function.Defun()
    def write():
        tf.raw_ops.WriteFile(filename=target, contents='theirs')
        return tf.constant(1.0)
    return tf.identity(write(), 'evil')


BOMBS = {  # of allowed operations: 4 GB, and much more than any machine has
    'Tile': lambda size, old: tf.tile(tf.constant([1.0] * 1000), [10**6 * size]),
    'OneHot': lambda size, old: tf.one_hot([0] * 1000, 10**6 * size),
    'MatMul': lambda size, old: tf.matmul(tf.tile([[1.0]], [2**15, 1]), tf.tile([[1.0]], [1, 2**15 * size])),
    'Resize': lambda size, old: tf.raw_ops.ResizeNearestNeighbor(images=[[[[1.0]]]], size=[2**15, 2**15 * size]),
    'AddV2': lambda size, old: tf.raw_ops.AddV2(x=tf.tile([[1.0]], [2**15, 1]), y=tf.tile([[1.0]], [1, 2**15 * size])),
    'unseen': lambda size, old: tf.tile([1.0], tf.cast(
        tf.reduce_sum(tf.reshape(old, [-1]), [0], keepdims=True) * 0.0 + 1e9 * min(size, 2), tf.int32))}


# Killed and signalled

APPEARS = ('settings.json', 'events.*', 'samples/*', 'checkpoints/.new-*', 'checkpoints/*.index', '.new-*', '.new-*-generator',
           '.old-*', 'generator', 'losses.png', 'nearest.png', 'metrics.json', '.new-*samples.gif')


def kill_case(draw, place, numbers=(signal.SIGKILL,)):
    """KILLS signals that hit, at moments spread over a run's life, into runs that are resumed, ended and compared."""
    name = draw.choice(['gan_fc', 'gan_fc', *OTHERS])
    life, folder, hits = float((made(name) / 'seconds').read_text()), place.path / 'run', 0
    while hits < KILLS:
        process, number, moment = start(place, folder, name), draw.choice(numbers), draw.uniform(0, 1.1 * life)
        began, there = time.monotonic(), set(folder.rglob('*'))
        if draw.random() < 0.5:
            pattern, moment = draw.choice(APPEARS), draw.uniform(0, 0.05)
            while process.poll() is None and set(folder.glob(pattern)) <= there and time.monotonic() < began + SECONDS:
                time.sleep(0.001)
            began = time.monotonic()
        while process.poll() is None and time.monotonic() < began + moment:
            time.sleep(0.002)
        hits += process.poll() is None
        process.send_signal(number)
        if number == signal.SIGINT and draw.random() < 0.5:
            time.sleep(draw.choice([0, 0.01, 0.2]))
            process.send_signal(number)
        done = well(finished(process), (0, -number, 128 + number), f'{signal.Signals(number).name}: ')
        if done.status == 0:
            same_run(place, folder, name, 20)
            shutil.rmtree(folder)
    well(train(place, folder, name), (0,), 'resumed: ')
    same_run(place, folder, name, 20)


def signal_case(draw, place):
    kill_case(draw, place, (signal.SIGTERM, signal.SIGINT))


def start(place, folder, name):
    given = SMALL if name == 'gan_fc' else [*as_flags(small(importlib.import_module(name))), *SMALL[6:]]
    return place.start(name, f'--run-dir={folder}', *given, '--steps=20')


POINTS = ('os.replace', 'os.fsync', 'os.mkdir', 'os.unlink', 'os.rename', 'plumbing.graph.sampling',
          'plumbing.checkpoints.restore', 'plumbing.checkpoints.save', 'plumbing.savedmodel.export',
          'plumbing.recorder.Recorder.scalars', 'metrics.measure', 'plumbing.recorder.Recorder.picture',
          'plumbing.runfolder.Completed._write', 'viz.film', 'viz.curves', 'metrics.report', 'plumbing.decoder.decode',
          'plumbing.files.remove', 'plumbing.files.sha256', 'plumbing.sampler.Sampler.weights')
BOMB = '''
import importlib, os, time
_path, _name = {point!r}.rsplit('.', 1)
_parts = _path.split('.')
_where = importlib.import_module(_path if _parts[-1][0].islower() else _path.rsplit('.', 1)[0])
_where = _where if _parts[-1][0].islower() else getattr(_where, _parts[-1])
_whole, _calls = getattr(_where, _name), []
def _bomb(*args, **options):
    _calls.append(0)
    if len(_calls) == {at}:
        for number in {numbers}:
            os.kill(os.getpid(), number)
    return _whole(*args, **options)
setattr(_where, _name, _bomb)
'''


def point_case(draw, place):
    """A signal, or two, before a certain call of a function; then the same command again."""
    name, folder = draw.choice(['gan_fc', 'gan_fc', 'on_pictures', *OTHERS]), place.path / 'run'
    numbers = draw.choice([[9], [9], [9], [15], [2], [2, 2], [2, 15], [15, 9]])
    bomb = BOMB.format(point=draw.choice(POINTS), at=draw.choice([1, 1, 2, 3, 4, 6, 9, 13, 20, 30]), numbers=numbers)
    script, options = (name, {}) if name != 'on_pictures' else ('gan_fc', {
        'more': pictured(made(name) / 'pictures'), 'driven': False})
    may = {0, *(-number for number in numbers), *(128 + number for number in numbers if number != 9)}
    well(train(place, folder, script, bomb=bomb, may=[folder, place.tmp], **options), may, f'{numbers}: ')
    well(train(place, folder, script, **options), (0,), 'resumed: ')
    same_run(place, folder, name, 20)


# Disks and two programs

def disk_case(draw, place):
    """A full or read-only disk under the run, the cache or both; with room, the same command ends as it would have."""
    disk = place.path / 'disk'
    disk.mkdir()
    cached = draw.random() < 0.4
    name, options = 'gan_fc', {}
    if cached:
        name, options = 'on_pictures', {'more': pictured(made('on_pictures') / 'pictures'), 'driven': False}
    folder = disk / 'run'
    if not mounted(disk, f'size={draw.randrange(8, 800)}k'):
        place.told = 'no tmpfs can be mounted: the size of a file is limited instead'
        well(train(place, folder, limit=draw.randrange(1000, 500_000), **options))
    else:
        try:
            if cached and draw.random() < 0.6:
                place.environment['XDG_CACHE_HOME'] = str(disk / 'cache')
                folder = draw.choice([folder, place.path / 'run'])
            if draw.random() < 0.3:
                mounted(disk, 'remount,size=100m')
                if draw.random() < 0.5:
                    train(place, folder, steps=draw.choice([10, 20]), may=[folder, disk], **options)
                mounted(disk, 'remount,ro')
            well(train(place, folder, may=[folder, disk], **options), after='no room: ')
            mounted(disk, 'remount,rw,size=100m')
            well(train(place, folder, may=[folder, disk], **options), (0,), 'with room again: ')
            same_run(place, folder, name, 20)
        finally:
            subprocess.run(['umount', '-l', disk], capture_output=True)
        return
    well(train(place, folder, **options), (0,), 'with room again: ')
    same_run(place, folder, name, 20)


def mounted(disk, options):
    return subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', disk], capture_output=True).returncode == 0


def two_case(draw, place):
    """Two programs at once: the same command, other steps, a command that reads, or two on a cold cache."""
    folder, how = place.path / 'run', draw.choice(['train', 'longer', 'sample', 'best', 'metrics', 'cache'])
    if how == 'cache':
        more = [SMALL, pictured(made('on_pictures') / 'pictures')]
        both = [place.start('gan_fc', f'--run-dir={place.path / number}', *sum(map(list, more), []), '--steps=20', driven=False)
                for number in 'ab' if not time.sleep(draw.uniform(0, 0.5))]
        for done in list(map(finished, both)):
            well(done, (0,))
        for number in 'ab':
            same_run(place, place.path / number, 'on_pictures', 20)
        return
    first = start(place, folder, 'gan_fc')
    time.sleep(draw.uniform(0, 1.2 * float((made('gan_fc') / 'seconds').read_text())))
    if how in ('train', 'longer'):
        second = finished(place.start('gan_fc', f'--run-dir={folder}', *SMALL, f'--steps={30 if how == "longer" else 20}'))
    else:
        second = read(place, folder, how, [folder])[0] if folder.exists() else Done(0)
    first = finished(first)
    well(first, after='the first: ')
    well(second, after=f'{how}: ')
    well(train(place, folder, steps=30), (0,), 'again: ')
    same_run(place, folder, 'gan_fc', 30)


# Flags, names, streams

WHOLE = ('0', '1', '2', '3', '7', '64', '1000', '-1', '1_000', '٣', '1e3', '0x10', '9' * 30, '2147483647',
         '2147483648', '4294967297', ' 5')
REAL = ('0', '1', '0.5', '-0.5', '1e-30', '1e30', 'nan', 'inf', '-inf', '1e400', '0.9999999999', '1_0', 'x', '')
TEXT = ('', ' ', 'a b', 'a\nb', 'é', '\udcff', 'mnist', 'MNIST', 'stacked_mnist', 'fashion', 'ring', 'grid', '/', '/dev/null',
        '--', '-x', '~', 'x' * 5000, 'auto', 'float32', "';rm", '%s', '{x}', '*')


def flag_case(draw, place):
    """A few flags of a script, or of a command on a run, with values that they take or do not take."""
    if draw.random() < 0.25:
        name, folder = draw.choice(['sample', 'metrics', 'retrieval']), place.path / 'run'
        shutil.copytree(made('gan_fc') / '20', folder)
        words = draw.choices(['--count', '--seed', '--best', '--png', '--npz', '--interpolate', '--json', '--dataset', '--odd'],
                             k=draw.choice([1, 2, 3]))
        given = [f'{word}={draw.choice(WHOLE + TEXT)}' if draw.random() < 0.8 else word for word in words]
        where = draw.choice([folder, folder, folder, place.path / 'none', '', place.path / 'run/settings.json'])
        well(place.command(name, where, *given, may=[folder, place.cwd]))
        return
    name, folder = draw.choice(SCRIPTS), place.path / 'run'
    script = importlib.import_module(name)
    constants = {**flags.constants(vars(run)), **flags.constants(vars(script))}
    given = []
    for constant in draw.sample(sorted(set(constants) - {'RUN_DIR', 'STEPS', 'EPOCHS'}), draw.choice([1, 1, 2, 3])):
        value, flag = constants[constant], '--' + constant.lower().replace('_', '-')
        if isinstance(value, tuple):
            given += [flag, *draw.choices(WHOLE, k=draw.choice([0, 1, 2, 5]))]
        elif isinstance(value, bool):
            given.append(draw.choice([flag, flag.replace('--', '--no-', 1), f'{flag}=1']))
        else:
            given.append(f'{flag}={draw.choice(WHOLE if isinstance(value, int) else REAL if isinstance(value, float) else TEXT)}')
    given += draw.choice([[], [], [], ['--odd'], ['--odd=3', 'word'], ['--steps'], ['--steps=0'], ['--steps=2', '--steps=1'],
                          ['--epochs=1'], ['-h']])
    quick = [*as_flags(small(script)), '--steps=2', '--grid=4', '--eval-every=0']
    well(place.command(name, f'--run-dir={folder}', *quick, *given, may=[folder]))


NAMES = (b'lr[1]', b'a*b', b'photos?', b'{x}', b'~', b'-x', b'\xff\xfe', b'two\nlines', b'n' * 205, b'n' * 250, b'end ',
         b' begin', b'a/b/c', b'%s', b'$HOME', b'a\\b', b'"', b"'", b'.hidden', b'settings.json', '日本'.encode() * 30,
         b'a:b', b'tab\t', b'\x1b[31m', b'x.gif', b'link')


def name_case(draw, place):
    """A run folder, or a data folder, of any name: it ends as under a plain name, and stays where it is."""
    name = os.fsdecode(draw.choice(NAMES))
    folder = place.cwd / name
    if name == 'link':
        (place.path / 'elsewhere').mkdir()
        folder.symlink_to(place.path / 'elsewhere')
    typed = draw.choice([str(folder), f'./{name}', f'./{name}', name])
    if typed.startswith('~'):
        folder = place.home
    may = [folder, place.path / 'elsewhere', place.cwd / 'runs']
    if draw.random() < 0.3:
        if typed.startswith('~'):
            return
        shutil.copytree(made('on_pictures') / 'pictures', folder, dirs_exist_ok=True)
        more = [*pictured('')[1:], f'--dataset={typed}']
        done = well(place.command('gan_fc', *SMALL, *more, '--steps=20', may=may, driven=False))
        require(done.status == 0 or len(os.fsencode(name)) > 200, f'refused: {done.error[-300:]}')
        if done.status == 0:
            run, = (place.cwd / 'runs').iterdir()
            same_run(place, run, 'on_pictures', 20)
        return
    for steps in 10, 20:
        done = well(place.command('gan_fc', *SMALL, f'--run-dir={typed}', f'--steps={steps}', may=may))
    require(done.status == 0 or len(os.fsencode(name)) > 200, f'refused: {done.error[-300:]}')
    if done.status == 0:
        same_run(place, folder, 'gan_fc', 20)
        done, found = read(place, folder if not name.startswith('-') else f'./{name}', 'sample')
        require(well(done).status == 0 and found[1:] == expected_reading('gan_fc', 'sample')[1:], 'other samples')


STREAMS = ('2>&-', '>&-', '<&-', '>&- 2>&-', '<&- >&- 2>&-', '| head -1', '| head -c 0', '>/dev/full', '2>/dev/full',
           '2>&1 | head -1', '& sleep {delay}; kill -INT $!; wait $!', '& sleep {delay}; kill -TERM $!; wait $!', '</dev/null')


def stream_case(draw, place):
    """Real programs from a shell with closed, full or broken streams, interrupted early, without a home."""
    shutil.copytree(made('gan_fc') / '20', place.path / 'run')
    command = draw.choice(['toy.py --run-dir=new --steps=2 --sample-every=0 --g-hidden 8 --d-hidden 8', 'toy.py --help',
                           'sample.py ../run --npz=out.npz', 'gan_fc.py --odd'])
    place.environment['HOME'] = draw.choice([None, place.environment['HOME']])
    how = draw.choice(STREAMS).format(delay=round(draw.uniform(0, 6), 2))
    line = f'set -m; set -o pipefail; {sys.executable} {ROOT}/{command} {how}'
    environment = {**os.environ, **place.environment}
    with place.closed(place.path / 'run', place.cwd):
        done = subprocess.run(['bash', '-c', line], cwd=place.cwd, capture_output=True, text=True, errors='replace',
                              timeout=SECONDS, env={key: value for key, value in environment.items() if value is not None})
    error = '\n'.join(part for part in done.stderr.splitlines() if not re.match(r'bash: |\[1\]|/usr/bin/bash', part))
    closed = '2>&-' in how or '2>/dev/full' in how or '2>&1' in how
    found = Done(0 if closed and done.returncode == 2 else done.returncode, done.stdout if '2>&1' not in how else '', error)
    well(found, (0, 2, 141, *((130, 143) if 'kill' in how else ())), f'`{command} {how}`, status {done.returncode}: ')
