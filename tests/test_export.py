"""Exported networks against the SavedModel, each file in its own runtime; the page in a browser without a network."""
import contextlib
import functools
import http.server
import importlib.util
import io
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading

import dcgan
import export
from plumbing import exports, files, interrupts, networks, runfolder, savedmodel

import browser
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, SCRIPTS, Built, contents
from PIL import Image


def needs(package):
    return pytest.mark.skipif(not importlib.util.find_spec(package), reason=f'{package} is not installed')


def saved(folder, described, classes=None):
    """The folder of a run with these {name: networks.Network}, their weights and statistics drawn at random."""
    folder.mkdir(exist_ok=True)
    owner = runfolder.Owner('script.py', {'DATASET': 'mnist', 'STEPS': 2}, {name: network.described() for name, network in
                                                                           described.items()}, classes, None)
    files.write_json(folder / 'settings.json', {**owner._asdict(), 'versions': [{'step': 0}]})
    random = np.random.default_rng(0)
    for name, network in described.items():
        with tf.Graph().as_default():
            network.apply(network.placeholders().values())
            shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
        values = {}
        for variable, shape in shapes.items():
            drawn = random.standard_normal(shape, np.float32)
            values[variable] = 0.5 + abs(drawn) if variable.endswith(('variance', 'scale')) else \
                drawn / np.float32(max(1, math.prod(shape[:-1])) ** 0.5)
        savedmodel.export(folder / name, network, values)
    return folder


def made(folder, name, **constants):
    """The folder of a run with the networks of a script, small ones but for these constants."""
    with pytest.MonkeyPatch.context() as patch, tf.Graph().as_default():
        described = Built(name, patch, **constants).given['networks']
    return saved(folder / f'{name}-mnist', described, [f'class {number}' for number in range(10)])


@pytest.fixture
def run_of(tmp_path):
    """The function (name of a script, constants) -> the folder of its run, as `made` makes it."""
    return lambda name, **constants: made(tmp_path, name, **constants)


@pytest.fixture(scope='module')
def vae(tmp_path_factory):
    """The folder of a run of vae.py, which no test changes."""
    return made(tmp_path_factory.mktemp('vae'), 'vae')


def in_litert(content, given, output):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content).get_signature_runner('serving_default')(**given)[output]


def in_onnxruntime(content, given, output):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    assert {found.name for found in session.get_inputs()} == set(given)
    assert [found.name for found in session.get_outputs()] == [output]
    return session.run([output], given)[0]


def in_openvino(path, given, output):
    import openvino

    compiled = openvino.Core().compile_model(str(path), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return compiled(given)[compiled.output(0) if pathlib.Path(path).is_dir() else output]


def close(made, expected):
    assert made.shape == expected.shape and (len(expected) == 1 or np.ptp(expected) > 0.01)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


# every kind of network

@needs('ai_edge_litert')
@needs('tf2onnx')
@needs('onnxruntime')
@pytest.mark.parametrize('script', [name if name in ('cgan', 'conv_autoencoder') else pytest.param(name, marks=pytest.mark.slow)
                                    for name in SCRIPTS])
def test_the_networks_of_every_script_make_the_same_elsewhere(script, run_of, tmp_path):
    """Of seventy, of five and of one input, against the SavedModel."""
    folder = run_of(script)
    for name in runfolder.read(folder)['networks']:
        network = savedmodel.Loaded(folder, name)
        lite, _ = exports.litert(network)
        onnx, _ = exports.onnx(network)
        for count in 70, 5, 1:
            given = exports.examples(network.inputs, count)
            close(in_litert(lite, given, network.output), network(**given))
            close(in_onnxruntime(onnx, given, network.made), network(**given))


@needs('tf2onnx')
@needs('onnxruntime')
@needs('ai_edge_litert')
def test_both_ways_of_upsampling(run_of):
    """Pixels that are repeated lost their height on the way to LiteRT."""
    network = savedmodel.Loaded(run_of('dcgan', UPSAMPLE='resize'), 'generator')
    given = exports.examples(network.inputs)
    close(in_litert(exports.litert(network)[0], given, 'images'), network(**given))
    close(in_onnxruntime(exports.onnx(network)[0], given, 'images'), network(**given))


@needs('tf2onnx')
@needs('openvino')
@pytest.mark.parametrize('script, constants', [('dcgan', {}), *(pytest.param(*case, marks=pytest.mark.slow) for case in (
    ('dcgan', {'UPSAMPLE': 'resize'}), ('cgan', {}), ('vae', {})))])
def test_openvino_reads_the_savedmodel_and_the_onnx_file(script, constants, run_of, tmp_path):
    """It refused a reverse over two axes, of the last transposed convolution."""
    folder = run_of(script, **constants)
    network = savedmodel.Loaded(folder, 'generator')
    given = exports.examples(network.inputs, 5)
    (tmp_path / 'a.onnx').write_bytes(exports.onnx(network)[0])
    for path in folder / 'generator', tmp_path / 'a.onnx':
        close(in_openvino(path, given, 'images'), network(**given))


@pytest.mark.slow
@needs('ai_edge_litert')
def test_fewer_bits_make_smaller_files_that_differ_more(run_of):
    """16 bits of which 10 are the fraction, and 8: a part in 2,048 of a weight, and in 254 of the largest one."""
    network = savedmodel.Loaded(run_of('dcgan', WIDTH=16, HIDDEN=64), 'generator')
    made = [exports.litert(network, weights) for weights in exports.WEIGHTS]
    sizes, differences = [len(content) for content, _ in made], [difference for _, difference in made]
    assert sizes[0] > 1.7 * sizes[1] > 1.7 * 1.5 * sizes[2]
    assert differences[0] < 1e-5 < differences[1] < 0.02 < 10 * differences[2]
    given = exports.examples(network.inputs)
    for (content, told), most in zip(made, [1e-5, 0.02, 0.5], strict=True):
        found = np.abs(in_litert(content, given, 'images') - network(**given)).max()
        assert found == pytest.approx(told, abs=1e-6) and found < most


def test_what_cannot_be_done_is_told_in_one_line(tmp_path):
    """Where the maxima were, LiteRT does not know."""
    def switched(images):
        _, switches = tf.nn.max_pool_with_argmax(images, [1, 2, 2, 1], [1, 2, 2, 1], 'VALID')
        return tf.reshape(tf.cast(switches, tf.float32), [-1, 16])

    network = savedmodel.Loaded(saved(tmp_path / 'run', {'encoder': networks.network(
        switched, 'codes', images=networks.images(8, 1))}), 'encoder')
    with pytest.raises(files.UserError, match=r'LiteRT cannot do this network \(MaxPoolWithArgmax\): leave out --tflite'):
        exports.litert(network)


def test_a_signal_is_not_lost_in_a_converter(capfd):
    """As one is that is raised in a function that C++ has called; and what a converter writes is not shown."""
    def convert():
        os.write(2, b'a note')
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(interrupts.Interrupted, match='SIGTERM'):
        exports._quietly(convert, 'LiteRT', '--tflite')
    assert capfd.readouterr().err == ''


@needs('ai_edge_litert')
def test_other_numbers_are_refused(run_of, monkeypatch):
    network = savedmodel.Loaded(run_of('gan_fc'), 'generator')
    frozen = network.frozen()
    for node in frozen.node:
        if node.op == 'Const' and 'BiasAdd/' in node.name:
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(node.attr['value'].tensor) + 0.1))
    monkeypatch.setattr(network, 'frozen', lambda: frozen)
    with pytest.raises(files.UserError, match='LiteRT makes other numbers of this network than TensorFlow, by up to '):
        exports.litert(network)


# the page

@pytest.fixture(scope='session')
def runtime():
    """onnxruntime-web as npm packs it."""
    if not shutil.which('npm'):
        pytest.skip('npm is not installed')
    try:
        return exports.npm_package()
    except files.UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def opened(runtime, run_of, tmp_path):
    """The function (script, constants) -> (the network, a browser's page that draws it), opened from the disk."""
    @contextlib.contextmanager
    def of(script, **constants):
        if not browser.found():
            pytest.skip('no Chromium or Chrome is installed')
        folder = run_of(script, **constants)
        (tmp_path / 'runtime.tgz').write_bytes(runtime)
        export.main([str(folder), '--web', '--to', str(tmp_path / 'to'), '--runtime', str(tmp_path / 'runtime.tgz')])
        path = tmp_path / 'to/generator-web'
        with browser.opened(tmp_path / 'profile', 120) as page:
            asked = page.load((path / 'index.html').as_uri())
            assert sorted(asked) == [(path / name).as_uri() for name in ('index.html', 'network.js', 'ort.wasm.min.js')]
            assert not page.run('ready.then(() => 0)') and not page.complaints
            yield savedmodel.Loaded(folder, 'generator'), page
            assert not page.complaints
    return of


def shown(page):
    """The picture on the page: uint8 [h, w, 4]."""
    width, height, data = page.run("""(() => {
        const canvas = at('grid')
        return [canvas.width, canvas.height, [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]]
    })()""")
    return np.uint8(data).reshape(height, width, 4)


@needs('tf2onnx')
@pytest.mark.slow
@pytest.mark.parametrize('script, constants', [
    ('dcgan', {'IMAGE_SIZE': 32, 'CHANNELS': 3}), ('cgan', {}), ('infogan', {})])
def test_the_page_draws_what_sample_draws(script, constants, opened):
    """The same latents give the same pixels, but for the rounding to bytes."""
    with opened(script, **constants) as (network, page):
        latents = networks.draw(network.inputs, 9, seed=3)
        expected = network.draw(latents)
        page.run(f'show({json.dumps({name: array.ravel().tolist() for name, array in latents.items()})}).then(() => 0)')
        picture, size = shown(page), expected.shape[1]
        assert picture.shape == (3 * size + 4, 3 * size + 4, 4)
        for number, image in enumerate(expected):
            row, column = (place * (size + 2) for place in divmod(number, 3))
            cell = picture[row:row + size, column:column + size]
            away = np.abs(cell[..., :3].astype(int) - image)
            assert (cell[..., 3] == 255).all() and np.ptp(image) > 30 and away.max() <= 1 and away.mean() < 0.01


CURRENT = 'Object.fromEntries(Object.entries(current()).map(([name, array]) => [name, [...array]]))'
MOVE = """(async () => {{
    const range = document.querySelectorAll('input')[{0}]
    range.value = {1}; range.oninput(); await new Promise(done => setTimeout(done, 500)) }})()"""


@needs('tf2onnx')
@pytest.mark.slow
def test_sliders_classes_and_buttons(opened):
    """infogan: z of 62 numbers in [-1, 1] by eight directions, a category, and a code of two numbers by a slider for each."""
    with opened('infogan') as (network, page):
        before, picture = page.run(CURRENT), shown(page)
        assert {name: len(array) for name, array in before.items()} == {
            name: 16 * math.prod(found.shape) for name, found in network.inputs.items()}
        assert before['category'] == [number % 10 for number in range(16)]
        names = page.run("[...document.querySelectorAll('fieldset label')].map(label => label.firstChild.textContent)")
        assert names == [*(f'direction {k}' for k in range(1, 9)), 'class', 'code 1', 'code 2']
        page.run(MOVE.format(8, 0.5))
        after = page.run(CURRENT)
        moved = np.reshape(after['code'], [16, 2]) - np.reshape(before['code'], [16, 2])
        np.testing.assert_allclose(moved[:, 0], np.minimum(0.5, 1 - np.reshape(before['code'], [16, 2])[:, 0]), atol=1e-6)
        assert not moved[:, 1].any() and after['z'] == before['z'] and (shown(page) != picture).any()
        page.run(MOVE.format(0, 1))
        z = page.run(CURRENT)['z']
        assert z != before['z'] and -1 <= min(z) and max(z) <= 1
        page.run("(() => { const select = document.querySelector('select'); select.value = '3'; select.onchange() })()")
        assert page.run(CURRENT)['category'] == [3] * 16
        page.run("document.getElementById('centre').click()")
        assert page.run(CURRENT)['z'] == before['z'] and page.run(CURRENT)['code'] == before['code']
        page.run("document.getElementById('new').click()")
        assert page.run(CURRENT)['z'] != before['z']


@needs('tf2onnx')
@pytest.mark.slow
def test_a_latent_of_many_numbers_keeps_its_length(opened):
    """A draw of N(0, 1) plus t of another one has the variance 1 + t^2, and is divided by its root."""
    with opened('dcgan') as (_, page):
        z = np.reshape(page.run(CURRENT)['z'], [16, -1])
        assert abs(z.mean()) < 0.1 and z.std() == pytest.approx(1, abs=0.1)          # 1,600 numbers: 4 deviations
        page.run(MOVE.format(2, 1.5))
        moved = np.reshape(page.run(CURRENT)['z'], [16, -1])
        direction = moved * (1 + 1.5 ** 2) ** 0.5 - z
        np.testing.assert_allclose(direction, direction[:1].repeat(16, 0), atol=1e-5)
        assert moved.std() == pytest.approx(1, abs=0.15)


# the command

@pytest.mark.parametrize('arguments, complaint', [
    ([], 'there is nothing to write: give --tflite, --onnx or --web'), (['--bogus'], '--bogus'),
    (['--onnx', '--network', 'typo'], "has no network 'typo': give --network generator or encoder"),
    (['--onnx', '--network', '../run'], "has no network '../run'"), (['--onnx', '--best'], 'holds no generator-best'),
    (['--onnx', '--best', '--network', 'encoder'], '--best is the generator that measured best: leave out --network'),
    (['--onnx', '--runtime', 'x'], '--runtime is for --web'), (['--web', '--runtime', 'x'], 'there is no file x: name the one'),
    (['--web', '--runtime', 'file'], 'file is not onnxruntime-web@'), (['--onnx', '--to', 'file'], 'file is a file: give the'),
    (['--web', '--network', 'encoder'], 'takes images, and a page has sliders for latents only: leave out --web')])
def test_mistakes_are_one_line_with_status_2(arguments, complaint, vae, refused, tmp_path, monkeypatch):
    package = exports.npm_package
    monkeypatch.setattr(exports, 'npm_package', lambda path: package(path) if path else b'')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('x')
    before = contents(tmp_path), contents(vae)
    with refused(complaint):
        export.main([str(vae), *arguments])
    assert (contents(tmp_path), contents(vae)) == before


@pytest.fixture
def finished(run_of, tmp_path, monkeypatch):
    """The working folder of the programs in docs/export.md, with a run of dcgan.py in its own sizes; and its network."""
    folder = run_of('dcgan', WIDTH=dcgan.WIDTH, HIDDEN=dcgan.HIDDEN)
    (tmp_path / 'runs').mkdir()
    folder.rename(tmp_path / 'runs/dcgan-mnist')
    monkeypatch.chdir(tmp_path)
    return savedmodel.Loaded(pathlib.Path('runs/dcgan-mnist'), 'generator')


@pytest.mark.slow
@needs('tf2onnx')
@needs('onnxruntime')
@needs('ai_edge_litert')
def test_what_is_written_and_told(finished, capsys, tmp_path, monkeypatch, runtime):
    """Sizes and differences, in exported/, which is removed with the run; and again over the old ones; --to elsewhere."""
    (tmp_path / 'runtime.tgz').write_bytes(runtime)
    for _ in range(2):
        export.main(['runs/dcgan-mnist', '--tflite', '--onnx', '--web', '--runtime', 'runtime.tgz'])
        lines = capsys.readouterr().out.splitlines()
        names = [*(f'generator{kind}.tflite' for kind in ('', '-float16', '-int8')), 'generator.onnx', 'generator-web/index.html']
        folder = tmp_path / 'runs/dcgan-mnist/exported'
        assert sorted(path.name for path in folder.iterdir()) == sorted([*names[:4], 'generator-web'])
        for name, line in zip(names, lines, strict=True):
            size = (folder / name).stat().st_size if name in names[:4] else \
                sum(path.stat().st_size for path in (folder / 'generator-web').iterdir())
            assert line.startswith(f'wrote runs/dcgan-mnist/exported/{name}, {size / 1e6:.2f} MB, differs by at most ')
    assert (folder / 'generator.tflite').stat().st_size / 4 == pytest.approx(1.78e6, rel=0.01)       # 1.78 million weights
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxruntime' else name)
    export.main(['runs/dcgan-mnist', '--onnx', '--to', 'else/where'])
    assert capsys.readouterr().out.endswith('MB, not compared: onnxruntime is not installed\n')
    assert (tmp_path / 'else/where/generator.onnx').exists()
    assert 'exported' in runfolder.MADE


@pytest.mark.parametrize('web', [False, True])
def test_without_tf2onnx_it_says_what_to_install(web, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with refused('--onnx and --web take the package tf2onnx: pip install -r requirements.txt tf2onnx'):
        export.main([str(tmp_path), '--web' if web else '--onnx'])


def test_without_npm_or_a_network_it_says_where_to_get_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(files.UserError, match='npm is not installed: install Node.js, or give the file that `npm pack onnx'):
        exports.npm_package()
    (tmp_path / 'npm').write_text('#!/bin/sh\necho "npm error code ENOTFOUND" >&2\necho "npm error no way" >&2\nexit 1\n')
    (tmp_path / 'npm').chmod(0o755)
    with pytest.raises(files.UserError, match=r'npm cannot get onnxruntime-web@[\d.]+ \(code ENOTFOUND no way\): give the file'):
        exports.npm_package()
    (tmp_path / 'npm').write_text('#!/bin/sh\necho altered > onnxruntime-web.tgz\n')
    with pytest.raises(files.UserError, match='what npm has sent is not onnxruntime-web@.*: its sha512 is another one'):
        exports.npm_package()


# the programs of docs/export.md

PAGE = (ROOT / 'docs/export.md').read_text()
LATENTS, *PROGRAMS = re.findall(r'^```python\n(.*?)^```$', PAGE, re.M | re.S)
CLIENTS = {re.findall(r'^(?:import|from) (\w+)', program, re.M)[-2 if 'torch' in program else 0]: program for program in PROGRAMS}


def test_the_page_has_a_program_for_each_client():
    assert set(CLIENTS) == {'tensorflow', 'ai_edge_litert', 'onnxruntime', 'openvino', 'torch'}
    assert all(program.count('\n') < 20 for program in PROGRAMS)


@pytest.mark.slow
@pytest.mark.parametrize('client', [pytest.param(name, marks=needs(name)) for name in CLIENTS])
def test_a_program_of_the_page_makes_the_pictures(client, finished, tmp_path):
    """In a process that has nothing of this project on its path."""
    if 'exported' in CLIENTS[client]:
        pytest.importorskip('tf2onnx')
        export.main(['runs/dcgan-mnist', '--tflite' if client == 'ai_edge_litert' else '--onnx'])
    (tmp_path / 'program.py').write_text(f"{LATENTS}{CLIENTS[client]}\nnp.savez('made.npz', z=z, images=images)\n")
    environment = {**os.environ, 'PYTHONPATH': ''}
    done = subprocess.run([sys.executable, 'program.py'], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = np.load('made.npz')
    close(made['images'], finished(z=made['z']))


@pytest.mark.slow
@needs('tf2onnx')
def test_the_program_for_a_browser_draws_a_picture(finished, runtime, tmp_path):
    """From random numbers that are 1/2 all the time: z = -sqrt(2 ln 2)."""
    if not browser.found():
        pytest.skip('no Chromium or Chrome is installed')
    program, = re.findall(r'^```html\n(.*?)^```$', PAGE, re.M | re.S)
    folder = tmp_path / 'served'
    export.main(['runs/dcgan-mnist', '--onnx', '--to', str(folder)])
    (folder / 'index.html').write_text(program)
    with tarfile.open(fileobj=io.BytesIO(runtime)) as archive:
        for name in sorted(set(re.findall(r'`(dist/[\w.-]+)`', PAGE))):
            (folder / pathlib.Path(name).name).write_bytes(archive.extractfile(f'package/{name}').read())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server, browser.opened(tmp_path / 'profile', 120) as page:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.call('Page.addScriptToEvaluateOnNewDocument', source='Math.random = () => 0.5')
        page.load(f'http://127.0.0.1:{server.server_address[1]}/index.html')
        data = page.run("""(async () => {
            const pixels = () => [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data]
            while (!pixels().some(Boolean)) await new Promise(done => setTimeout(done, 20))
            return pixels()
        })()""")
        server.shutdown()
    picture, = finished.draw({'z': np.full([1, 100], -(2 * math.log(2)) ** 0.5, np.float32)})
    away = np.abs(np.reshape(data, [28, 28, 4])[..., :3] - picture.astype(int))
    assert np.ptp(picture) > 30 and away.max() <= 1


# another TensorFlow

OTHER = os.environ.get('OTHER_PYTHON')


@pytest.mark.slow
@pytest.mark.skipif(not OTHER, reason='OTHER_PYTHON names no Python with another version of TensorFlow, such as 2.16.2')
def test_runs_load_under_another_tensorflow_and_back(tmp_path):
    """Each trains a run, samples both, and trains the other's on: the same pictures, but for the last bit of a byte."""
    random = np.random.default_rng(0)
    (tmp_path / 'set').mkdir()
    for number in range(40):
        Image.fromarray(random.integers(0, 256, [28, 28], np.uint8)).save(tmp_path / f'set/{number}.png')
    pythons = {'ours': sys.executable, 'theirs': OTHER}

    def do(which, *arguments):
        done = subprocess.run([pythons[which], *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'cache')})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def train(which, name, steps):
        return do(which, 'dcgan.py', '--dataset', tmp_path / 'set', '--run-dir', tmp_path / name, '--steps', steps, '--width', 4,
                  '--hidden', 16, '--batch-size', 8, '--eval-every', 0, '--precision', 'float32', '--weight-average', 0)

    versions = [do(which, '-c', 'import tensorflow as tf; print(tf.__version__)') for which in pythons]
    assert versions[0] != versions[1]
    for name in pythons:
        train(name, name, 60)
        for which in pythons:
            do(which, 'sample.py', tmp_path / name, '--npz', tmp_path / f'{name}-{which}.npz')
        ours, theirs = (np.load(tmp_path / f'{name}-{which}.npz')['images'].astype(int) for which in pythons)
        assert np.ptp(ours) > 20 and np.abs(ours - theirs).max() <= 1
    for name, which in zip(pythons, reversed(pythons), strict=True):
        assert 'resumes at step 60' in train(which, name, 62)
