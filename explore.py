"""A page on this machine to play with a run's generator: sliders for directions and latents, classes, walks, your own pictures.

    pip install gradio
    python explore.py runs/dcgan-mnist
    python explore.py weights/dcgan-mnist --port 7861

Open the address that it prints. Only this machine can reach the page, and the page fetches nothing from any other. A picture that
is uploaded, or drawn on the canvas, becomes latents as with invert.py; the sliders go on from there.
"""
import os
import tempfile
import warnings

import viz
from plumbing import drawing, files, flags, latents, networks

import numpy as np

HOST = '127.0.0.1'
NUMBERS = 8          # of each latent that get a slider, and directions
SIDE = 336           # pixels of a sample on the page, about
WALK = 10            # pictures of a walk
DESCENT = 150         # steps of the descent to a picture


class Explorer:
    """What the page asks for, as functions of its sliders. A point is {name of an input: array [1, ...]}."""

    def __init__(self, run, best=False):
        from plumbing import savedmodel

        self.run, self.generate = run, savedmodel.generator(run, best)
        if self.generate.output != 'images':
            raise files.UserError(f'the generator of {run} makes {self.generate.output}, not images: there is nothing to show')
        self.inputs = self.generate.inputs
        self.label = networks.label_of(self.inputs)
        self.classes = self._names()
        try:
            self.directions = drawing.directions(self.generate)[:NUMBERS]
        except files.UserError:         # a first layer of another kind has none
            self.directions = np.zeros([0, 0])
        self.sliders = [(name, number) for name, found in latents.of(self.inputs).items()
                        for number in range(min(NUMBERS, found.shape[0]))]
        self.bounded = all(found.kind == 'uniform' for found in latents.of(self.inputs).values())
        self._inverter = None

    def _names(self):
        if not self.label:
            return []
        names = drawing.class_names(self.inputs, self.run) if self.label == 'label' else []
        return list(names) or list(map(str, range(self.inputs[self.label].classes)))

    def start(self, seed, truncation):
        """The points of a seed's first sample."""
        return drawing.edited(self.generate, networks.draw(self.inputs, 1, seed), truncation)

    def point(self, base, number, along, added):
        """Points moved from `base`. number: of the class, or None; along: [D] directions; added: [S], to numbers of latents."""
        point = {name: array.copy() for name, array in base.items()}
        if self.label and number is not None:
            point[self.label][:] = number
        for by, direction in zip(along, self.directions, strict=True):
            point = latents.moved(self.inputs, point, direction, by)
        for by, (name, place) in zip(added, self.sliders, strict=True):
            point[name][:, place] += np.float32(by)
        return point

    def picture(self, point):
        return self._large(self.generate.draw(point))[0]

    def walk(self, point, other):
        """A picture of WALK pictures from a point to another one, in two rows."""
        ends = {name: np.concatenate([point[name], other[name]]) for name in point}
        return viz.grid(drawing.walk(self.generate, columns=WALK, points=ends), WALK // 2)

    def invert(self, path, negative):
        """(points of a picture file, its error)."""
        from plumbing import inversion

        image = inversion.pictures([path], self.generate.shape, negative)
        if self._inverter is None:
            self._inverter = inversion.Inverter(self.generate, inversion.encoder(self.run), steps=DESCENT)
        point, errors, _ = self._inverter(image)
        return point, float(errors[0])

    def _large(self, images):
        zoom = max(1, SIDE // images.shape[1])
        return images.repeat(zoom, 1).repeat(zoom, 2).repeat(3 // images.shape[3], 3)


def page(explorer, gradio):
    """The page, a gradio.Blocks."""
    state = {'base': None}          # of the one person who can reach it: latents of a picture, or None where the seed gives them

    def base(seed, truncation):
        return state['base'] or explorer.start(int(seed or 0), truncation)

    def shown(seed, truncation, number, *moves):
        along, added = moves[:len(explorer.directions)], moves[len(explorer.directions):]
        return explorer.point(base(seed, truncation), number if explorer.label else None, along, added)

    def draw(*controls):
        return explorer.picture(shown(*controls))

    def walk(other, *controls):
        point = shown(*controls)
        return explorer.walk(point, {**explorer.start(int(other or 0), controls[1]), **({explorer.label: point[explorer.label]}
                                                                                          if explorer.label else {})})

    def from_seed(*controls):
        state['base'] = None
        return draw(*controls), ''

    def invert(path, negative, *controls):
        path = path.get('composite') if isinstance(path, dict) else path
        if not path:
            raise gradio.Error('Upload or draw a picture first.')
        try:
            state['base'], error = explorer.invert(path, negative)
        except files.UserError as problem:
            raise gradio.Error(files.one_line(problem)) from None
        number = int(state['base'][explorer.label][0]) if explorer.label else None
        still = [0.0] * (len(controls) - 3)
        return (explorer.picture(explorer.point(state['base'], number, still[:len(explorer.directions)],
                                                still[len(explorer.directions):])),
                f'mean squared error of a pixel: {error:.4f}', number, *still)

    with gradio.Blocks(title=f'{explorer.run.name}', analytics_enabled=False) as blocks:
        gradio.Markdown(f'# {explorer.run.name}')
        with gradio.Row():
            with gradio.Column(scale=2):
                with gradio.Row():
                    seed = gradio.Number(0, label='seed', precision=0, minimum=0, elem_id='seed')
                    truncation = gradio.Slider(0.1, 1.0 if explorer.bounded else 4.0, 1.0 if explorer.bounded else 4.0,
                                               label='truncation', elem_id='truncation')
                    number = gradio.Dropdown([(name, place) for place, name in enumerate(explorer.classes)],
                                             value=0 if explorer.label else None, label='class', visible=bool(explorer.label),
                                             elem_id='class')
                with gradio.Accordion('directions of the first layer', open=True):
                    along = [gradio.Slider(-6, 6, 0, step=0.1, label=f'direction {k}', elem_id=f'direction-{k}')
                             for k in range(len(explorer.directions))]
                with gradio.Accordion('numbers of the latents', open=False):
                    added = [gradio.Slider(-4, 4, 0, step=0.1, label=f'{name}[{place}] +', elem_id=f'{name}-{place}')
                             for name, place in explorer.sliders]
            with gradio.Column(scale=1, min_width=SIDE):
                picture = gradio.Image(label='sample', format='png', elem_id='picture', interactive=False, buttons=['download'])
                told = gradio.Markdown(elem_id='told')
                other = gradio.Number(1, label='walk to the sample of seed', precision=0, minimum=0, elem_id='other')
                walks = gradio.Image(show_label=False, format='png', elem_id='walk', interactive=False, buttons=[])
                go = gradio.Button('walk', elem_id='go')
        with gradio.Row():
            with gradio.Column():
                upload = gradio.Image(label='my picture', type='filepath', sources=['upload'], elem_id='upload', height=SIDE)
                upload_negative = gradio.Checkbox(False, label='negative: dark lines on a light ground')
                upload_go = gradio.Button('invert my picture', elem_id='upload-go')
            with gradio.Column():
                canvas = gradio.Sketchpad(label='draw', type='filepath', elem_id='canvas', canvas_size=(SIDE, SIDE), layers=False,
                                          brush=gradio.Brush(14, colors=['#000000'], color_mode='fixed'), height=SIDE + 120)
                canvas_negative = gradio.Checkbox(True, label='negative: dark lines on a light ground')
                canvas_go = gradio.Button('invert my drawing', elem_id='canvas-go')
        controls = [seed, truncation, number, *along, *added]
        quick = {'show_progress': 'hidden', 'api_visibility': 'private'}
        gradio.on([blocks.load, *(control.change for control in [number, *along, *added])], draw, controls, picture,
                  trigger_mode='always_last', **quick)
        gradio.on([seed.input, truncation.input], from_seed, controls, [picture, told], trigger_mode='always_last', **quick)
        go.click(walk, [other, *controls], walks, **quick)
        for button, source, negative in (upload_go, upload, upload_negative), (canvas_go, canvas, canvas_negative):
            button.click(invert, [source, negative, *controls], [picture, told, number, *along, *added], api_visibility='private')
    return blocks


def library():
    """The module gradio, which talks to nobody. Raises UserError where it is missing."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_OFFLINE='1')     # read when it is imported
    try:
        import gradio
    except ImportError:
        raise files.UserError('explore.py takes Gradio, which is no requirement of the rest: pip install gradio') from None
    return gradio


def serve(explorer, port=None, wait=True):
    """Opens the page to this machine alone; returns (its address, the page) if not `wait`. Raises UserError as `library` does."""
    gradio = library()
    warnings.filterwarnings('ignore', module='gradio')                          # of what it uses of pandas
    blocks = page(explorer, gradio)
    fonts = ['system-ui', 'sans-serif'], ['ui-monospace', 'monospace']          # of the machine: the theme's own are fetched
    try:
        _, address, _ = blocks.launch(
            server_name=HOST, server_port=port, share=False, quiet=True, prevent_thread_lock=True, footer_links=[],
            mcp_server=False, enable_monitoring=False, ssr_mode=False,
            theme=gradio.themes.Default(font=fonts[0], font_mono=fonts[1]))
    except OSError as error:
        raise files.UserError(f'{HOST} has no free port {port or ""} ({files.reason(error)}): give another --port') from None
    if wait:
        print(f'open {address} on this machine; Ctrl-C ends it', flush=True)
        blocks.block_thread()
    return address, blocks


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run, for example runs/dcgan-mnist')
    parser.add_argument('--port', type=flags.whole('the port', 1024, 65535), help='of the page [the first free one from 7860]')
    parser.add_argument('--best', action='store_true', help='of the generator that measured best, not the last')
    given = parser.parse_args(arguments)
    flags.run_folder(given.run)
    return given


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        with tempfile.TemporaryDirectory() as folder:
            os.environ['GRADIO_TEMP_DIR'] = folder          # uploads are gone when it ends
            library()                                       # before all that takes longer
            serve(Explorer(given.run, given.best), given.port)


if __name__ == '__main__':
    main()
