"""Takes a network of a run elsewhere: to LiteRT, to ONNX, and into a browser.

    python export.py runs/dcgan-mnist --tflite --onnx
    python export.py runs/dcgan-mnist --web
    python export.py runs/vae-mnist --network encoder --onnx

Writes exported/ in the folder of the run, and says how large each file is and by how much its outputs differ from those that
sample.py draws. Inputs and outputs have the names of the SavedModel: z [N, 100] in, images [N, H, W, C] in [-1, 1] out.

--tflite: NAME.tflite, NAME-float16.tflite (half the size) and NAME-int8.tflite (a quarter: the weights in 8 bits, the dynamic
range quantization of LiteRT). --onnx: NAME.onnx. --web: NAME-web/, a page with sliders that computes in the browser; open its
index.html, from the disk, without a network. --onnx and --web take the package tf2onnx, and --web takes npm.
Programs that use these files are in docs/export.md.
"""
import importlib.util

from plumbing import files, flags


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        from plumbing import exports, runfolder, savedmodel  # imports TensorFlow, which --help can do without

        record = runfolder.read(given.run)
        name = chosen(given, record['networks'])
        runtime = exports.npm_package(given.runtime) if given.web else None
        network = savedmodel.Loaded(given.run, name)
        if given.web:
            check_page(network, name, given.run)
        folder = given.to or given.run / 'exported'
        if given.tflite:
            for weights in exports.WEIGHTS:
                content, difference = exports.litert(network, weights)
                write(folder / f'{name}{"" if weights == "float32" else f"-{weights}"}.tflite', content, difference)
        if given.onnx or given.web:
            content, difference = exports.onnx(network)
        if given.onnx:
            write(folder / f'{name}.onnx', content, difference)
        if given.web:
            made = exports.page(network, f'{given.run.resolve().name}, {name}', record['classes'], content, runtime)
            path = folder / f'{name}-web'
            with files.replacing(path) as temporary:
                temporary.mkdir()
                for file, text in made.items():
                    (temporary / file).write_bytes(text)
            told(path / 'index.html', sum(map(len, made.values())), difference)


def chosen(given, known):
    """The name of the network that the flags ask for. known: the networks of the run, by name. Raises UserError."""
    name = given.network or 'generator'
    if name not in known:
        others = f'give --network {" or ".join(known)}' if known else 'there is nothing to export'
        raise files.UserError(f'{given.run} has no network {name!r}: {others}')
    return f'{name}-best' if given.best else name


def check_page(network, name, run):
    """Raises UserError for a network that a page with sliders cannot draw from."""
    from plumbing import networks

    if not networks.can_be_drawn(network.inputs):
        raise files.UserError(f'the {name} of {run} takes images, and a page has sliders for latents only: leave out --web')
    if network.output != 'images':
        raise files.UserError(f'the {name} of {run} makes {network.output}, and a page shows images only: leave out --web')


def write(path, content, difference):
    with files.replacing(path) as temporary:
        temporary.write_bytes(content)
    told(path, len(content), difference)


def told(path, size, difference):
    compared = 'not compared: onnxruntime is not installed' if difference is None else f'differs by at most {difference:.1e}'
    print(files.one_line(f'wrote {path}, {size / 1e6:.2f} MB, {compared}'), flush=True)


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('--tflite', action='store_true', help='write files for LiteRT: float32, float16 and 8 bits')
    parser.add_argument('--onnx', action='store_true', help='write a file of ONNX')
    parser.add_argument('--web', action='store_true', help='write a folder with a page that draws in the browser')
    parser.add_argument('--network', metavar='NAME', help='of the run: encoder, for example [generator]')
    parser.add_argument('--best', action='store_true', help='the generator that measured best, not the last')
    parser.add_argument('--to', type=flags.path, metavar='FOLDER', help='where to write [exported in the folder of the run]')
    parser.add_argument('--runtime', type=flags.path, metavar='FILE', help='the package onnxruntime-web that --web takes, as '
                        '`npm pack` has made it on another machine [npm is asked for it]')
    given = parser.parse_args(arguments)
    if not (given.tflite or given.onnx or given.web):
        parser.error('there is nothing to write: give --tflite, --onnx or --web')
    if given.best and given.network not in (None, 'generator'):
        parser.error('--best is the generator that measured best: leave out --network')
    if given.runtime and not given.web:
        parser.error('--runtime is for --web: leave it out')
    flags.run_folder(given.run)
    if given.to and given.to.exists() and not given.to.is_dir():
        raise files.UserError(f'{given.to} is a file: give the name of a folder')
    if given.to:
        files.inside_folders(given.to)
    if given.runtime and not given.runtime.is_file():
        raise files.UserError(f'there is no file {given.runtime}: name the one that `npm pack` has made')
    if (given.onnx or given.web) and not importlib.util.find_spec('tf2onnx'):
        raise files.UserError('--onnx and --web take the package tf2onnx: pip install -r requirements.txt tf2onnx')
    return given


if __name__ == '__main__':
    main()
