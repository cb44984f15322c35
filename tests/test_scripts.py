"""The contract of every script, also of those to come: partition, ranges, readable graph, exact resume, sampling, flags."""
import importlib
import math
import re
import subprocess
import sys

import data
import ops
import run
from plumbing import files, flags, graph, hardware, networks, runfolder, savedmodel

import drive
import forkserver
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, SCRIPTS, as_flags, assert_same_run, small

ACTIVATIONS = {'Elu', 'LeakyRelu', 'Relu', 'Selu', 'Sigmoid', 'Softplus', 'Tanh'}
PLAIN = {'data', 'losses', 'optimizers', 'sampling', 'noise'}  # boxes of the graph besides those of the networks
# A bomb: beside the run's folder, `killed` becomes what a kill right after the checkpoint of step 3 would leave.
KILLED = '''
import shutil
from plumbing import recorder
_checkpoint = recorder.Recorder.checkpoint
def checkpoint(self, step, session, saver):
    _checkpoint(self, step, session, saver)
    if step == 3:
        shutil.copytree(self.folder, self.folder.with_name('killed'))
recorder.Recorder.checkpoint = checkpoint
'''


def network_names():
    return {v.name.split('/')[0] for v in tf.trainable_variables()}


def fed(found, inputs, count=5):
    """{placeholder: array} for a network's placeholders {name: tensor} and its inputs {name: networks.Input}."""
    drawn = networks.draw({name: i for name, i in inputs.items() if i.kind != 'images'}, count)
    images = {name: np.random.default_rng(0).uniform(-1, 1, [count, *i.shape]).astype('f')
              for name, i in inputs.items() if i.kind == 'images'}
    return {found[name]: array for name, array in {**drawn, **images}.items()}


def test_there_are_scripts():
    assert {'dcgan', 'gan_fc', 'wgan', 'vae', 'objectives'} <= set(SCRIPTS) and not {'run', 'sample', 'metrics'} & set(SCRIPTS)


@pytest.mark.parametrize('name', SCRIPTS)
def test_importing_builds_nothing(name):
    with tf.Graph().as_default() as graph:
        importlib.reload(importlib.import_module(name))
        assert not graph.get_operations()


@pytest.mark.parametrize('name', SCRIPTS)
def test_the_docstring_names_paper_command_and_page(name):
    text = importlib.import_module(name).__doc__
    assert re.search(r'\b(19|20)\d\d\b', text) and f'    python {name}.py' in text
    page = re.search(r'^Page: (docs/\S+\.md)$', text, re.M)
    assert page and f'`{name}.py' in (ROOT / page[1]).read_text()


@pytest.mark.parametrize('name', SCRIPTS)
def test_the_networks_of_a_script(name, build):
    built = build(name)
    names, everything = network_names(), tf.global_variables()
    found, updates, scalars = (built.given[key] for key in ('networks', 'updates', 'scalars'))
    assert {v.name.split('/')[0] for v in everything} <= names | {'data', 'optimizers', 'losses'}

    # Applied again as run.train does, the networks add no variables but averages, and no box to the graph.
    sampling = graph.sampling(found, 0.9, updates[-1], built.given.get('pictures'), built.given.get('measures', dict))
    new = [v.op.name for v in tf.global_variables() if not any(v is old for old in everything)]
    assert all(name.startswith('sampling/') or name == 'optimizers/step' for name in new)
    assert len(sampling.averages) >= len(new) - 1 > 0 and not tf.trainable_variables('sampling/')
    averaged = {source.op.name for _, source in sampling.averages}
    for network in {name.split('/')[0] for name in averaged}:    # each is averaged as a whole
        assert {v.op.name for v in tf.trainable_variables(f'{network}/')} <= averaged
    assert {node.name.split('/')[0] for node in tf.get_default_graph().as_graph_def().node} <= PLAIN | names

    with built.session() as session:
        # Of several updates each moves networks that judge, or others, and most of each; a script with one update moves all.
        judges = {name for name in names if name in ('critic', 'recognition') or name.endswith('discriminator')}
        moved_once = set()
        for update in dict.fromkeys(updates):
            before = session.run(everything)
            session.run(update)
            after = session.run(everything)
            changed = {v.op.name: not np.array_equal(a, b) for v, a, b in zip(everything, before, after, strict=True)}
            moved = {v.name.split('/')[0] for v in everything if v.dtype.is_floating and changed[v.op.name]} & names
            assert moved == names if len(set(updates)) == 1 else moved and (moved <= judges or not moved & judges)
            for network in moved:
                trainable = [changed[v.op.name] for v in tf.trainable_variables(f'{network}/')]
                assert sum(trainable) > len(trainable) / 2  # RMSProp's first step may be too small to be seen
            moved_once |= moved
        assert moved_once == names

        # What is reported is finite; what is measured and drawn draws nothing; outputs are in range, in any batch the same.
        session.run([average.assign(source) for average, source in sampling.averages])
        assert all(math.isfinite(value) for value in session.run(scalars).values())
        measured = [session.run(sampling.measured) for _ in range(2)]
        assert measured[0] == measured[1] and all(map(math.isfinite, measured[0].values()))
        if sampling.pictures is not None:
            for first, second in zip(*(session.run(tf.nest.flatten(sampling.pictures)) for _ in range(2)), strict=True):
                np.testing.assert_array_equal(first, second)
                assert np.isfinite(first).all()
        for key, network in found.items():
            feed = fed(sampling.inputs[key], network.inputs)
            output = session.run(sampling.outputs[key], feed)
            assert len(output) == 5 and np.isfinite(output).all()
            assert network.output != 'images' or (output.ndim == 4 and np.abs(output).max() <= 1)
            alone = session.run(sampling.outputs[key], {tensor: array[3:4] for tensor, array in feed.items()})
            np.testing.assert_allclose(alone[0], output[3], atol=1e-5)


def boxed(build, name):
    """(Built, {box of the graph: names of what is directly in it})."""
    built, boxes = build(name), {}
    for operation in tf.get_default_graph().get_operations():
        parts = operation.name.split('/')
        for depth in range(1, len(parts)):
            boxes.setdefault('/'.join(parts[:depth]), set()).add(parts[depth])
    return built, boxes


@pytest.mark.parametrize('name', SCRIPTS)
def test_the_graph_is_boxes_of_whole_layers_with_the_names_of_the_script(name, build):
    """discriminator/real/ beside discriminator/fake/, with the same layers; no activation, nor any layer, with a number.

    'D(x)' is the node D_x, and the variable d_step of the script is the box optimizers/d_step/, with its gradients.
    """
    built, boxes = boxed(build, name)
    operations = tf.get_default_graph().get_operations()
    names, layers = network_names(), {v.op.name.split('/')[-2] for v in tf.trainable_variables()}
    for network in {name for name in names if name == 'critic' or name.endswith('discriminator')}:
        assert boxes[f'{network}/real'] == boxes[f'{network}/fake'] and len(boxes[f'{network}/real'] & layers) > 1
    for operation in operations:
        if operation.type in ACTIVATIONS and operation.name.split('/')[0] in names:
            assert operation.name.split('/')[-2] in layers, operation.name
    numbered = {f'{layer}_{number}' for layer in layers for number in range(1, 9)} - layers
    assert not [(box, node) for box in boxes if box.split('/')[0] in names for node in boxes[box] & numbered]

    for reported, tensor in built.given['scalars'].items():
        box, _, node = tensor.op.name.rpartition('/')
        assert node == re.sub(r'\W+', '_', reported).strip('_') and box.split('/')[0] in ('losses', 'optimizers')
    for update in built.given['updates']:
        step = re.match(r'optimizers/(\w+_step|update)\b', update.name)[0]
        assert any(box.startswith(f'{step}/') and box.endswith('/gradients') for box in boxes)
    assert not {node for node in boxes['optimizers'] if re.match('gradients|Adam|RMSProp', node)}
    for variable, given in re.findall(r"(\w+) = ops\.minimize\(.*'(\w+)'\)", (ROOT / f'{name}.py').read_text()):
        assert variable == given and f'optimizers/{given}' in boxes
    for operation in operations:
        if re.fullmatch('data/[^/]+', operation.name):               # no box
            assert operation.type == 'VarHandleOp' or operation.name == 'data/y'


@pytest.mark.parametrize('name', [name for name in SCRIPTS if hasattr(importlib.import_module(name), 'IMAGE_SIZE')])
def test_other_sizes_and_colour(name, build):
    built = build(name, IMAGE_SIZE=20, CHANNELS=3)
    with built.session() as session:
        for update in built.given['updates']:
            session.run(update)
        assert all(math.isfinite(value) for value in session.run(built.given['scalars']).values())
        for network in built.given['networks'].values():
            inputs = [tf.zeros([3, *i.shape], i.dtype) for i in network.inputs.values()]
            assert network.output != 'images' or network.apply(inputs).shape.as_list() == [3, 20, 20, 3]


@pytest.mark.parametrize('name', ['wgan_gp', 'conv_autoencoder', 'balanced_gan', 'dcgan', 'cgan', 'acgan', 'projection_gan'])
def test_sizes_that_cannot_be_halved_are_refused(name, fresh_graph, monkeypatch):
    script = importlib.import_module(name)
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(script, 'IMAGE_SIZE', 30)
    with pytest.raises(files.UserError, match='IMAGE_SIZE must be'):
        script.main()
    tf.enable_control_flow_v2()


@pytest.mark.parametrize('name, dataset, expected', [
    ('improved_gan', 'ring', 'float32'), ('sn_gan', 'grid', 'float32'), ('sn_gan', 'mnist', 'mixed')])
def test_points_of_the_plane_stay_in_32_bits(name, dataset, expected, build, monkeypatch):
    """Coordinates in 16 bits would lie on a lattice of 1 / 256; pixels have 8 bits themselves."""
    monkeypatch.setattr(hardware.pathlib.Path, 'read_text', lambda self: 'flags: amx_bf16')
    build(name, DATASET=dataset)
    assert run._settings(vars(importlib.import_module(name)), [])[0]['PRECISION'] == expected


@pytest.mark.slow
@pytest.mark.parametrize('name', SCRIPTS)
def test_a_resumed_run_has_the_same_bits_and_can_be_sampled(name, tmp_path):
    """Six steps at once against what a kill after three leaves, resumed. Constants that may be 0 are a bare 0 in the file."""
    script = importlib.import_module(name)
    edited = tmp_path / f'{name}.py'
    source = (ROOT / f'{name}.py').read_text()
    zeros = [constant for constant, value in flags.constants(vars(script)).items() if isinstance(value, float) and re.search(
        rf'^{constant} = .*# .*in \[0, ', source, re.M)]
    for constant in zeros:
        source = re.sub(rf'^({constant} = )\S+', r'\g<1>0', source, flags=re.M)
    edited.write_text(source)
    given = [*as_flags(small(script)), '--steps', 6, '--eval-every', 0, '--grid', 4,
             *'--log-every 1 --sample-every 3 --checkpoint-every 3'.split()]
    assert 'WEIGHT_AVERAGE' in zeros
    status, _, error = forkserver.run(edited, '--run-dir', tmp_path / 'straight', *given, bomb=KILLED)
    assert status == 0, error
    status, out, error = forkserver.run(edited, '--run-dir', tmp_path / 'killed', *given)
    assert status == 0 and 'resumes at step 3 of 6' in out, error
    assert_same_run(tmp_path / 'straight', tmp_path / 'killed')
    for key in runfolder.read(tmp_path / 'killed')['networks']:
        loaded = savedmodel.Loaded(tmp_path / 'killed', key)
        if networks.can_be_drawn(loaded.inputs):
            samples = savedmodel.samples(tmp_path / 'killed', 3, seed=1)
            assert len(samples) == 3
            np.testing.assert_array_equal(samples[:1], savedmodel.samples(tmp_path / 'killed', 1, seed=1))
    again = forkserver.run(edited, '--run-dir', tmp_path / 'killed', *given)
    assert again[0] == 0 and 'finished' in again[1]


@pytest.mark.slow
@pytest.mark.parametrize('name', SCRIPTS)
def test_the_default_constants_train_too(name, tmp_path):
    """Two steps with averages, momenta and noise as the file has them, measured and drawn."""
    status, out, error = forkserver.run(
        name, *as_flags(small(importlib.import_module(name))), '--run-dir', tmp_path / 'run', '--steps', 2, '--eval-every', 2,
        '--eval-count', 80, environment={'DRIVE_COUNT': '80'},
        bomb='from plumbing import judge; judge.EPOCHS = 1; judge.UPDATES = 5')
    assert status == 0, error
    assert (tmp_path / 'run/samples/step-000002.png').exists() and 'finished' in out


@pytest.mark.slow
def test_a_script_runs_from_any_folder_and_mistakes_are_one_line(tmp_path):
    """The real thing: python, a path, another working folder."""
    command = [sys.executable, str(ROOT / 'toy.py')]
    done = subprocess.run([*command, '--steps', '2', '--sample-every', '0'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / 'runs/toy-grid-sample-every-0/samples.gif').exists(), done.stderr
    done = subprocess.run([*command, '--nonsense', '1'], cwd=tmp_path, capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert done.returncode == 2 and len(errors) == 1 and '--nonsense' in errors[0] and 'Traceback' not in done.stderr


@pytest.mark.parametrize('name', SCRIPTS)
def test_flags(name, capsys):
    """Every constant is a flag with its reason, and no checksum's name; what is out of range is refused by name."""
    script, shared = dict(vars(importlib.import_module(name))), dict(vars(importlib.import_module('run')))
    with pytest.raises(SystemExit) as caught:
        flags.parse([script, shared], ['--help'])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and not set(runfolder.FOLDERS.values()) & set(flags.constants(script))
    for constant in flags._comments(script['__file__']):
        assert re.search(rf'--(no-)?{constant.lower().replace("_", "-")}\b', text)
    for constant in [c for c in ('BETA1', 'BETA2', 'DROPOUT', 'WEIGHT_AVERAGE', 'LABEL_SMOOTHING', 'REAL_LABEL') if c in script]:
        for value in '1.5', '-0.5', 'nan', *(['1'] if 'LABEL' not in constant else []):
            with pytest.raises(SystemExit) as caught:
                flags.parse([dict(script), dict(shared)], [f'--{constant.lower().replace("_", "-")}={value}'])
            error = capsys.readouterr().err
            assert caught.value.code == 2 and error.count('\n') == 1 and f'{constant} must be in [0, 1' in error
    with pytest.raises(SystemExit):
        flags.parse([dict(script), dict(shared)], ['--precision', 'bananas'])
    assert "choose from" in capsys.readouterr().err


def test_the_noise_of_two_networks_is_not_shared(fresh_graph):
    tf.set_random_seed(0)
    a, b = ops.noise([2000], 'a'), ops.noise([2000], 'b')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        a, b = session.run([a, b])
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1


JUDGED = [name for name in SCRIPTS if {"'d_loss'", "'D(x)'"} <= set(re.findall(r"'[^'\s]*'", (ROOT / f'{name}.py').read_text()))]


@pytest.mark.parametrize('name', JUDGED)
def test_the_loss_of_a_d_that_cannot_tell_is_the_line_of_the_curves(name, build):
    """Logits of 0: the log loss is 2 ln 2 (with smoothed labels, too, though D is not at its best then).

    Of K logits, beside that of a fake, which is 0, they are -ln K; of K + 1, the last one is ln K.
    """
    built = build(name)
    with built.session() as session:
        session.run([tf.assign(v, tf.zeros_like(v)) for v in tf.trainable_variables('discriminator/')])
        session.run([tf.assign(v, tf.fill(v.shape, -math.log(v.shape[0])))
                     for v in tf.trainable_variables('discriminator/logits/bias') if v.shape[0] > 1])
        session.run([tf.assign(v, math.log(v.shape[0] - 1) * tf.one_hot(v.shape[0] - 1, v.shape[0]))
                     for v in tf.trainable_variables('discriminator/class_or_fake/bias')])
        loss, real, fake = session.run([built.given['scalars'][key] for key in ('d_loss', 'D(x)', 'D(G(z))')])
    assert real == fake == 0.5
    assert loss == pytest.approx(2 * math.log(2), rel=1e-5)
