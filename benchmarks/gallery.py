"""The gallery in README.md: a thumbnail, a figure and a command of every script, made from finished runs.

    python -m benchmarks.gallery --runs runs

Of each script at the root it looks for a run of a command in its docstring, in the folder that this would fill: finished, with
just the settings that the command gives. A script without one keeps the row that it had. Scripts are parsed, not imported.
"""
import ast
import csv
import json
import pathlib
import re
import shlex

from plumbing import files, flags, naming

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
BEGIN, END = '<!-- gallery -->', '<!-- /gallery -->'
HEAD = "| | script | paper | command | Fréchet distance (real pictures') | page |\n|---|---|---|---|---|---|"
CELLS = '| {} | [`{}`]({}) | {} | `{}` | {} | {} |'
SIDE, GAP = 160, 2  # pixels of a thumbnail, at most; black lines between the cells of a grid
PAPER = re.compile(r"([A-Z][\w'-]+(?:(?:,| &) [A-Z][\w'-]+)*(?: et al\.)?) (\d{4})\b")  # authors, year


def planned(path, command):
    """What `command` gives the script at `path`: ({constant: value}, as settings.json would hold them, the folder's name)."""
    script = flags.written(path)
    flags.parse([script], shlex.split(command)[2:])
    return (json.loads(json.dumps(flags.constants(script))),
            naming.folder(path, script['DATASET'], naming.changed([script])))


def papers(doc):
    """'[Radford et al. 2015](https://arxiv.org/abs/1511.06434)' of a docstring's first paragraph, or else of all of it."""
    for text in doc.split('\n\n')[0], doc:
        cells, pieces = [], PAPER.split(' '.join(text.split()))     # [text, authors, year, text, authors, year, text, ...]
        for names, year, after in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            name = f'{names.split(",")[0]} et al. {year}' if ',' in names else f'{names} {year}'
            cells.append(f'[{name}](https://arxiv.org/abs/{a[1]})' if (a := re.search(r'arXiv:([\d.]+\d)', after)) else name)
        if cells:
            return '; '.join(cells)
    return 'see the page'


def figure(folder):
    """What a run has measured at its end, as text; None if there is nothing."""
    if (folder / 'metrics.json').exists():
        found = json.loads((folder / 'metrics.json').read_text())
        if 'quality' in found:
            return f'{found["modes"]:.0f} modes, {100 * found["quality"]:.1f} %'
        return f'{found["model"]["frechet_distance"]:.3f} ({found["real"]["frechet_distance"]:.3f})'
    rows = csv.DictReader((folder / 'scalars.csv').read_text().splitlines())
    errors = [row['test_error'] for row in rows if row.get('test_error')]
    return f'test error {float(errors[-1]):.4f}' if errors else None


def whole_cells(black):
    """How many lines of a grid make as many whole cells as SIDE has room for. black [n]: whether a line is black."""
    padded = np.append(black, [True] * GAP)
    period = next(p for p in range(GAP + 1, len(padded) + 1)
                  if len(padded) % p == 0 and padded.reshape(-1, p)[:, -GAP:].all())
    return min((SIDE + GAP) // period * period - GAP if period <= SIDE + GAP else SIDE, len(black))


def between_white(picture):
    """The most rows of a picture, uint8 [h, w] or [h, w, 3], that have no white one among them."""
    white = np.flatnonzero(np.append(picture.reshape(len(picture), -1).min(1) == 255, True))
    first = np.append(0, white[:-1] + 1)
    longest = np.argmax(white - first)
    return picture[first[longest]:white[longest]]


def thumbnail(picture, plane=False):
    """uint8 [h, w] or [h, w, 3] -> at most [SIDE, SIDE]: the plane is scaled, a grid cut to its first cells, at 1:1.

    Names beside and above a grid, which are on white, are left out.
    """
    if plane:
        return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    picture = between_white(between_white(picture).swapaxes(0, 1)).swapaxes(0, 1)
    once = picture[::2, ::2]
    if np.array_equal(picture, once.repeat(2, 0).repeat(2, 1)):     # viz.grid repeats the pixels of small pictures
        picture = once
    black = picture.reshape(*picture.shape[:2], -1).max(2) == 0
    return picture[:whole_cells(black.all(1)), :whole_cells(black.all(0))]


def row(path, runs, before, gallery):
    """The row of a script, and its thumbnail; `before`, or a row without figures, where there is no finished run."""
    name, doc = path.name, ast.get_docstring(ast.parse(path.read_text())) or ''
    link = ''.join(f'[{page}](docs/{page}.md)' for page in re.findall(r'^Page: docs/(\S+)\.md', doc, re.M))
    commands = re.findall(rf'^ +(python {name}\b.*)', doc, re.M) or [f'python {name}']
    for command in commands:
        wanted, name_of_run = planned(path, command)
        folder = runs / name_of_run
        settings = json.loads(record.read_text())['settings'] if (record := folder / 'settings.json').exists() else {}
        others = [f'{key} is {settings.get(key)}' for key, value in wanted.items() if settings.get(key) != value]
        last = folder / f'samples/step-{wanted["STEPS"]:06d}.png'
        if settings and others:
            print(f'{folder} is not the run of `{command}`: {", ".join(others)}')
        elif settings and last.exists() and (folder / 'samples.gif').exists() and (found := figure(folder)):
            with files.replacing(gallery / f'{path.stem}.png') as temporary:
                Image.fromarray(thumbnail(np.asarray(Image.open(last)), plane='modes' in found)).save(temporary)
            print(f'{name}: {found}')
            return CELLS.format(f'![{path.stem}](docs/gallery/{path.stem}.png)', name, name, papers(doc), command, found, link)
    print(f'{name}: no finished run{", its row stays" if before else ""}')
    return before or CELLS.format('', name, name, papers(doc), commands[0], '–', link)


def update(root, runs):
    """Makes root/docs/gallery and the table between BEGIN and END in root/README.md; rows stay in their order."""
    found = re.fullmatch(rf'(.*^{BEGIN}\n)(.*)(^{END}$.*)', (root / 'README.md').read_text(), re.S | re.M)
    if not found:
        raise files.UserError(f'{root / "README.md"} has no lines {BEGIN} and {END} for the table to be between')
    before = {name[1]: line for line in found[2].splitlines() if (name := re.search(r'\[`(\w+\.py)`\]', line))}
    names = sorted(path.name for path in root.glob('*.py') if re.search(r'^ *run\.main\(globals\(\)\)$', path.read_text(), re.M))
    names.sort(key=[*before, *names].index)
    table = [HEAD, *(row(root / name, runs, before.get(name), root / 'docs/gallery') for name in names)]
    with files.replacing(root / 'README.md') as temporary:
        temporary.write_text(found[1] + '\n'.join(table) + '\n' + found[3])


if __name__ == '__main__':
    parser = flags.Parser(__doc__)
    parser.add_argument('--runs', type=pathlib.Path, default=pathlib.Path('runs'), help='folder of the run folders [runs]')
    with files.one_line_errors():
        update(ROOT, parser.parse_args().runs)
