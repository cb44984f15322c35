"""Networks of a run for other runtimes: LiteRT (once TensorFlow Lite), ONNX, and a page that draws in a browser.

What is converted is the network as `savedmodel.Loaded` has read it, so that a run folder may come from anywhere here too.
"""
import base64
import gzip
import hashlib
import importlib.util
import io
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

from plumbing import files, interrupts, networks, startup

import numpy as np

WEIGHTS = 'float32', 'float16', 'int8'           # of LiteRT; int8 is its dynamic range quantization
OPSET = 17                                       # of ONNX: what runtimes of 2022 and later can do
EXAMPLES = 16                                    # inputs that a converted network is tried on
CLOSE = 1e-3                                     # float32 may differ by so much, times the largest output where that is over 1
TEMPLATE = pathlib.Path(__file__).parent / 'page.html.jinja'
RUNTIME = 'onnxruntime-web@1.27.0'               # of the page, from npm
INTEGRITY = 'sha512-ogDLsqIozHZwifPuN37OproAo0byX6t43/bP8GzeZWBWD6MOGExswFAx3up4NS/vvWBOg2u2PXomDt3rMmdQSg=='
SCRIPT, GLUE, WASM = (f'package/dist/{name}' for name in (
    'ort.wasm.min.js', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'))


def examples(inputs, count=EXAMPLES):
    """{name: array [count, ...]} to try a network on: latents and labels as `networks.draw` has them, noise as images."""
    random = np.random.default_rng(0)
    return {name: random.uniform(-1, 1, [count, *found.shape]).astype(np.float32) if found.kind == 'images' else
            networks.draw({name: found}, count)[name] for name, found in inputs.items()}


def litert(network, weights='float32'):
    """(the file for LiteRT, as bytes; the largest difference of its outputs from the network's on `examples`).

    network: savedmodel.Loaded; weights: one of WEIGHTS. It has the signature of the SavedModel. Raises files.UserError for a
    network that LiteRT cannot do.
    """
    import tensorflow as tf2
    import tensorflow.compat.v1 as tf

    given = examples(network.inputs)

    def convert():
        with tempfile.TemporaryDirectory() as folder:
            with tf.Graph().as_default(), tf.Session() as session:
                tf.import_graph_def(_pooled(network.frozen()), name='')
                tensor = session.graph.get_tensor_by_name
                tf.saved_model.simple_save(session, f'{folder}/network', {name: tensor(f'{name}:0') for name in network.inputs},
                                           {network.output: tensor(f'{network.made}:0')})
            converter = tf2.lite.TFLiteConverter.from_saved_model(f'{folder}/network')
            if weights != 'float32':
                converter.optimizations = [tf2.lite.Optimize.DEFAULT]
            if weights == 'float16':
                converter.target_spec.supported_types = [tf2.float16]
            content = converter.convert()
        return content, _interpreter()(model_content=content).get_signature_runner()(**given)[network.output]

    content, made = _quietly(convert, 'LiteRT', '--tflite')
    return content, _difference(network, given, made, weights == 'float32', 'LiteRT')


def onnx(network):
    """(the file of ONNX, as bytes; the largest difference of its outputs, or None where onnxruntime is not installed).

    network: savedmodel.Loaded. Its inputs [N, ...] have the names of the SavedModel's, and its output that of `Loaded.made`.
    Raises files.UserError for a network that tf2onnx cannot convert.
    """
    given, names = examples(network.inputs), [*network.inputs, network.made]

    def convert():
        model, _ = tf2onnx.convert.from_graph_def(
            _pooled(network.frozen()), input_names=[f'{name}:0' for name in network.inputs],
            output_names=[f'{network.made}:0'], opset=OPSET, tensors_to_rename={f'{name}:0': name for name in names})
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_param = 'N'
        del model.graph.value_info[:]                      # the sizes of batches in between, by names of their own
        return model.SerializeToString()

    def run():
        import onnxruntime

        return onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider']).run(None, given)[0]

    tf2onnx = _tf2onnx()
    content = _quietly(convert, 'tf2onnx', '--onnx and --web')
    if not importlib.util.find_spec('onnxruntime'):
        return content, None
    return content, _difference(network, given, _quietly(run, 'ONNX Runtime', '--onnx and --web'), True, 'ONNX Runtime')


def page(network, title, classes, content, runtime):
    """{name of a file: bytes} of a folder with a page that draws by itself: index.html opens in a browser from the disk.

    network: savedmodel.Loaded, from latents and labels to images; classes: their names, or None; content: the network as
    ONNX; runtime: the package RUNTIME, as bytes.
    """
    import jinja2

    with tarfile.open(fileobj=io.BytesIO(runtime)) as archive:
        script, glue, wasm = (archive.extractfile(name).read() for name in (SCRIPT, GLUE, WASM))
    texts = {'MODEL': content, 'GLUE': glue, 'WASM': wasm}
    packed = ''.join(f"const {name} = '{base64.b64encode(gzip.compress(text, 9, mtime=0)).decode()}'\n"
                     for name, text in texts.items())
    shown = {'title': title, 'inputs': [{'name': name, **found._asdict()} for name, found in network.inputs.items()],
             'output': network.output, 'classes': classes or []}
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATE.parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined)
    html = environment.get_template(TEMPLATE.name).render(network=shown)
    return {'index.html': html.encode(), 'network.js': packed.encode(), 'ort.wasm.min.js': script}


def npm_package(path=None):
    """The package RUNTIME as bytes: a file that `npm pack` has made, or from npm. Raises files.UserError where there is none."""
    if path:
        found = files.content(path, 2**28)
    else:
        if not shutil.which('npm'):
            raise files.UserError(f'--web takes {RUNTIME}, and npm is not installed: install Node.js, or give the file that '
                                  f'`npm pack {RUNTIME}` makes on another machine to --runtime')
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(['npm', 'pack', RUNTIME, '--prefer-offline', '--loglevel=error'], cwd=folder,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace')
            packed = list(pathlib.Path(folder).glob('*.tgz'))
            if done.returncode or not packed:
                told = ' '.join(re.sub('^npm (error|ERR!) *', '', line) for line in done.stderr.splitlines()[:3])
                raise files.UserError(f'npm cannot get {RUNTIME} ({files.one_line(told)}): give the file that '
                                      f'`npm pack {RUNTIME}` makes on another machine to --runtime')
            found = files.content(packed[0], 2**28)
    if INTEGRITY != f'sha512-{base64.b64encode(hashlib.sha512(found).digest()).decode()}':
        raise files.UserError(f'{path or "what npm has sent"} is not {RUNTIME}, or damaged: its sha512 is another one')
    return found


def _tf2onnx():
    with startup.kept_back():
        try:
            import tf2onnx
            return tf2onnx
        except Exception as error:  # of packages that do not fit each other
            why = _what(error)
    raise files.UserError(f'tf2onnx cannot be imported ({why}): docs/export.md tells which versions fit together')


def _quietly(convert, name, flag):
    """What convert() returns, with all that it writes to stderr kept back. Raises files.UserError where it fails.

    Ctrl-C waits for its end: raised in the middle of a converter, it may get lost in a function that C++ has called.
    """
    with startup.kept_back(), interrupts.caught() as stopped:
        try:
            made, why = convert(), None
        except Exception as error:  # of many kinds
            why = _what(error)
    if stopped:
        raise interrupts.Interrupted(stopped[0])
    if why:
        raise files.UserError(f'{name} cannot do this network ({why}): leave out {flag}')
    return made


def _pooled(graph_def):
    """The GraphDef with a plain MaxPool where nothing reads where the maxima were, which LiteRT could not tell."""
    read = {name for node in graph_def.node for name in node.input}
    for node in graph_def.node:
        if node.op == 'MaxPoolWithArgmax' and f'{node.name}:1' not in read:
            node.op = 'MaxPool'
            for name in set(node.attr) - {'T', 'ksize', 'strides', 'padding'}:
                del node.attr[name]
    return graph_def


def _interpreter():
    """The class that runs files for LiteRT: its own package's, or TensorFlow's."""
    if importlib.util.find_spec('ai_edge_litert'):
        from ai_edge_litert.interpreter import Interpreter
        return Interpreter
    import tensorflow as tf2

    return tf2.lite.Interpreter


def _difference(network, given, made, exact, runtime):
    """The largest difference of an array `made` from what the network makes. Raises files.UserError if it is too large."""
    expected = network(**given)
    found = float(np.abs(made - expected).max())
    if made.shape != expected.shape or exact and not found <= CLOSE * max(1, np.abs(expected).max()):
        raise files.UserError(f'{runtime} makes other numbers of this network than TensorFlow, by up to {found:.2g}: nothing '
                              'is written')
    return found


def _what(error):
    """What a converter could not do, in short: the operations that it names, or the end of its message."""
    if named := sorted(set(re.findall(r"\btf\.([A-Z]\w+)", str(error)))):
        return ', '.join(named)
    return files.shortened(files.one_line(files.reason(error)), 300)
