"""Exported networks against the SavedModel, each file in its own runtime; the page in a browser without a network."""
import contextlib
import importlib.util
import json
import math
import pathlib
import shutil

import export
from plumbing import exports, files, networks, runfolder, savedmodel

import browser
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import SCRIPTS, Built, contents


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
            values[variable] = 0.5 + abs(drawn) if variable.endswith('variance') else \
                drawn / np.float32(max(1, math.prod(shape[:-1])) ** 0.5)
        savedmodel.export(folder / name, network, values)
    return folder


@pytest.fixture
def run_of(monkeypatch, tmp_path):
    """The function (name of a script, constants) -> the folder of a run with the networks of that script, small ones."""
    def of(name, **constants):
        with tf.Graph().as_default():
            described = Built(name, monkeypatch, **constants).given['networks']
        return saved(tmp_path / f'{name}-mnist', described, [f'class {number}' for number in range(10)])

    return of


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
    assert made.shape == expected.shape and np.ptp(expected) > 0.01
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


# every kind of network

@needs('ai_edge_litert')
@needs('tf2onnx')
@needs('onnxruntime')
@pytest.mark.parametrize('script', [name if name in ('cgan', 'conv_autoencoder') else pytest.param(name, marks=pytest.mark.slow)
                                    for name in SCRIPTS])
def test_the_networks_of_every_script_make_the_same_elsewhere(script, run_of, tmp_path):
    """Of one, of five and of seventy inputs, against the SavedModel."""
    folder = run_of(script)
    for name in runfolder.read(folder)['networks']:
        network = savedmodel.Loaded(folder, name)
        lite, _ = exports.litert(network)
        onnx, _ = exports.onnx(network)
        for count in 1, 5, 70:
            given = exports.examples(network.inputs, count)
            close(in_litert(lite, given, network.output), network(**given))
            close(in_onnxruntime(onnx, given, network.output), network(**given))


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
@pytest.mark.parametrize('script, constants', [('dcgan', {}), ('dcgan', {'UPSAMPLE': 'resize'}), ('cgan', {}), ('vae', {})])
def test_openvino_reads_the_savedmodel_and_the_onnx_file(script, constants, run_of, tmp_path):
    """It refused a reverse over two axes, of the last transposed convolution."""
    folder = run_of(script, **constants)
    network = savedmodel.Loaded(folder, 'generator')
    given = exports.examples(network.inputs, 5)
    (tmp_path / 'a.onnx').write_bytes(exports.onnx(network)[0])
    for path in folder / 'generator', tmp_path / 'a.onnx':
        close(in_openvino(path, given, 'images'), network(**given))


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


@needs('ai_edge_litert')
def test_other_numbers_are_refused(run_of, monkeypatch):
    network = savedmodel.Loaded(run_of('gan_fc'), 'generator')
    frozen = network.frozen()
    for node in frozen.node:
        if node.op == 'Const' and node.name.endswith('bias'):
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
def test_mistakes_are_one_line_with_status_2(arguments, complaint, run_of, refused, tmp_path, monkeypatch):
    package = exports.npm_package
    monkeypatch.setattr(exports, 'npm_package', lambda path: package(path) if path else b'')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('x')
    folder = run_of('vae')
    before = contents(tmp_path)
    with refused(complaint):
        export.main([str(folder), *arguments])
    assert contents(tmp_path) == before
