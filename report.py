"""Compares runs: settings, final numbers beside those of real pictures, curves, and samples at the same step.

    python report.py runs/dcgan-mnist runs/wgan-mnist --html report.html
    python report.py runs/*-mnist
    python report.py runs/*-mnist --json

The page needs no other file and no network: it can be sent to somebody. Without --html the final numbers are printed, as a
table in Markdown or as JSON. Runs that differ in nothing but the random seed are also summarised, as mean ± standard deviation.
"""
import base64
import io
import json
import pathlib

import viz
from plumbing import files, flags, measures

import jinja2
import numpy as np
from PIL import Image

TEMPLATE = pathlib.Path(__file__).parent / 'plumbing/report.html.jinja'
FRAMES = 40              # pictures of a run's film, at most
FILMS = 24 * 2**20       # bytes of all films, about: where 40 large pictures a run would be more, there are fewer
POINTS = 200             # of a curve, and as many highest and lowest values behind it
COLOURS, DASHES = 8, 4   # that the page can tell lines apart by
LOG = 30                 # a chart whose largest value is more than this many times the smallest has a log scale
MORE = {'nearest.png': 'samples, each with its nearest training picture to the right', 'losses.png': 'curves',
        'confusions.png': 'classes that the samples were taken for'}


def page(runs):
    """The page of results.Runs as text."""
    from plumbing import results

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATE.parent), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    looks = _looks(results.groups(runs))
    films = [film(run, FILMS // len(runs)) for run in runs]
    return environment.get_template(TEMPLATE.name).render(
        runs=[{'name': run.name, 'folder': files.one_line(run.folder), 'missing': run.missing, **looks[run]} for run in runs],
        of={run: number for number, run in enumerate(runs)}, facts=facts(runs, results.differing(runs)),
        tables=results.tables(runs), arrows=results.ARROWS, charts=charts(runs), films=films,
        more=[{name: picture(run.folder / name) for name in MORE if (run.folder / name).exists()} for run in runs],
        described=MORE, steps=sorted({step for found in films for step in found['steps']}))


def _looks(groups):
    """{run: the numbers of its colour and dash}: a colour for each group, unless there is only one."""
    if len(groups) == 1:
        groups = [[run] for run in groups[0]]
    return {run: {'colour': number % COLOURS, 'dash': (number // COLOURS + seed) % DASHES}
            for number, group in enumerate(groups) for seed, run in enumerate(group)}


def facts(runs, differing):
    """({name: texts, one for each run} of what differs, {name: text} of what is the same): script, step, settings, versions."""
    found = {'script': [run.script for run in runs]}
    if not all(run.finished for run in runs):
        found['step'] = [f'{run.step:,}{"" if run.finished else f" of {run.steps:,}"}' for run in runs]
    for name in dict.fromkeys(name for run in runs for name in run.settings):
        found[name] = [_fact(run.settings[name]) if name in run.settings else '–' for run in runs]
    for name in dict.fromkeys(name for run in runs for name in run.versions):
        found[name] = [_fact(run.versions.get(name, '–')) for run in runs]
    differ = {name: texts for name, texts in found.items() if len(set(texts)) > 1 or name in differing}
    for name in ('RUN_DIR', 'DATA_DIR'):
        differ.pop(name, None)
    return differ, {name: texts[0] for name, texts in found.items() if len(set(texts)) == 1 and name not in differ}


def _fact(value):
    return files.one_line(', '.join(map(str, value)) if isinstance(value, list) else value)


# curves

def charts(runs):
    """A dict ready for JSON for each column of the runs' scalars.csv: its name, aim, scale, real pictures' values, lines."""
    from plumbing import results

    found = []
    for name in dict.fromkeys(name for run in runs for name in run.curves):
        drawn = [(number, *run.curves[name]) for number, run in enumerate(runs) if len(run.curves.get(name, [[]])[0])]
        if not drawn:
            continue
        real = {}
        for run in runs:
            level = results.real_level(run, name)
            if level is not None and name in run.curves:
                data = files.one_line(pathlib.PurePath(run.settings['DATASET']).name)
                real.setdefault((data, _short(level)), f'real, {data}')
        aim = results.aim(name)
        low = min([*(values.min() for _, _, values in drawn), *(value for _, value in real)])
        high = max(values.max() for _, _, values in drawn)
        found.append({'name': name, 'arrow': results.ARROWS[aim], 'log': bool(0 < LOG * low < high and aim != 'high'),
                      'real': [{'name': label, 'value': value} for (_, value), label in real.items()],
                      'lines': [{'run': number, **line(steps, values)} for number, steps, values in drawn]})
    return found


def line(steps, values):
    """What is drawn of a curve (arrays [n]): {raw: [steps, values], mean: [steps, values]}, of at most 2 POINTS and POINTS.

    `raw` keeps the lowest and the highest value of each stretch. The mean is over the 2 % of the values around each.
    """
    many = len(values) >= 50
    places = np.unique(np.linspace(0, len(values) - 1, POINTS).round().astype(int))
    kept = np.arange(len(values))
    if len(values) > 2 * POINTS:
        kept = np.unique([stretch[found] for stretch in np.array_split(kept, POINTS)
                          for found in (values[stretch].argmin(), values[stretch].argmax())])
    return {'raw': _points(steps[kept], values[kept]) if many else [[], []],
            'mean': _points(steps[places], (measures.running_mean(values) if many else values)[places])}


def _points(steps, values):
    return [steps.tolist(), list(map(_short, values))]


def _short(value):
    return float(f'{value:.5g}')


# pictures

def film(run, most):
    """{steps, pictures: data URIs, width, height} of the pictures of a run, evenly chosen: FRAMES, or what `most` bytes hold."""
    if not run.pictures:
        return {'steps': [], 'pictures': [], 'width': 0, 'height': 0}
    last = picture(run.pictures[-1][1])
    count = min(len(run.pictures), max(2, min(FRAMES, most // len(last['uri']))))
    chosen = [run.pictures[i] for i in np.unique(np.linspace(0, len(run.pictures) - 1, count).round().astype(int))]
    return {'steps': [step for step, _ in chosen], 'pictures': [picture(path)['uri'] for _, path in chosen],
            'width': last['width'], 'height': last['height']}


def picture(path):
    """{uri, width, height} of a PNG file: a data URI of the same pixels in the smallest form, and the size to show it in.

    Pictures with all pixels repeated twice, as viz.grid makes them of small images, are halved. Raises files.UserError for a
    file that is damaged.
    """
    try:
        content = files.content(path)
        with Image.open(io.BytesIO(content), formats=['PNG']) as image:
            image.load()
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files make the parser raise anything
        raise files.UserError(f'{path} is damaged ({files.reason(error)}): remove it, or put back a copy of it') from None
    found = {'uri': _uri('png', content), 'width': image.width, 'height': image.height}
    if image.mode in ('L', 'RGB', 'RGBA') and max(image.size) < 2**14:
        pixels = np.asarray(image)
        once = pixels[::2, ::2]
        if once.repeat(2, 0).repeat(2, 1).shape == pixels.shape and (once.repeat(2, 0).repeat(2, 1) == pixels).all():
            image = Image.fromarray(once)
        file = io.BytesIO()
        image.save(file, 'WEBP', lossless=True, exact=True, method=2)
        found['uri'] = min(found['uri'], _uri('webp', file.getvalue()), key=len)
    return found


def _uri(kind, content):
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'


# the command

def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        from plumbing import results  # imports TensorFlow, which --help does not take

        runs = results.read_all(given.runs)
        if given.html:
            text = page(runs)
            with files.replacing(given.html) as temporary:
                temporary.write_text(text, encoding='utf-8', errors='backslashreplace')
            print(f'wrote {given.html}: {len(runs)} run{"s" if len(runs) > 1 else ""}, {len(text) / 1e6:.1f} MB')
        elif given.json:
            print(json.dumps(results.record(results.tables(runs)), indent=1))
        else:
            print(results.markdown(results.tables(runs)))


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('runs', type=flags.path, nargs='+', metavar='RUN', help='folders of runs, for example runs/dcgan-mnist')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--html', type=flags.path, metavar='FILE', help='write a page with all of it, instead of a table of the '
                                                                     'final numbers')
    one.add_argument('--json', action='store_true', help='print JSON instead of Markdown')
    given = parser.parse_args(arguments)
    for run in given.runs:
        flags.run_folder(run)
    if given.html and given.html.suffix.lower() not in ('.html', '.htm'):
        raise files.UserError(f'{given.html} is not the name of a page: it must end in .html or .htm')
    if given.html:
        viz.not_a_folder(given.html)
    return given


if __name__ == '__main__':
    main()
