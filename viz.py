"""Pictures: grids of samples, films of grids, loss curves. Images are uint8 [N, H, W, C] with C = 1 or 3."""
import csv
import math
import statistics
import sys
import warnings

from plumbing import files, measures
from plumbing.pixels import save, tiled, to_float, to_uint8  # noqa: F401  part of what scripts draw with

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PICTURES = '.png', '.jpg', '.jpeg', '.webp', '.bmp'                           # what `save` writes
FIGURES = '.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.pdf', '.svg'   # what `lines` and the like write

SHARED = [               # columns that are one quantity, and so share a panel of `curves`
    ('D(x)', 'D(G(z))'), ('real_score', 'fake_score'), ('d_fake_updates', 'g_updates', 'd_real_updates'),
    ('test_error', 'noisy_test_error', 'pca_error'), ('gan_test', 'gan_test_worst')]
FRAME = 150              # milliseconds of a picture of a `film`
FEW = 50                 # of fewer values than these `curves` draws each as a point
MARGIN = 6               # pixels around text


def grid(images, columns=None, gap=2, zoom=None, labels=()):
    """uint8 [N, H, W, C], any N from 1 -> one picture uint8 [h, w] (C = 1) or [h, w, 3], as square as N allows.

    Rows are filled from the left; the rest of the last one stays black, like the gaps. zoom: how many times each pixel is
    repeated, in both directions; if None, `zoom_of` them. labels: names of the rows, in a white margin on the left.
    """
    zoom = zoom or zoom_of(images)
    picture = tiled(images, columns, gap, 0).repeat(zoom, axis=0).repeat(zoom, axis=1)
    if labels:
        row = zoom * (images.shape[1] + gap)
        font = ImageFont.load_default(max(6, min(14, row)))
        margin = Image.new('L', (2 * MARGIN + math.ceil(max(map(font.getlength, labels))), len(picture)), 255)
        for number, label in enumerate(labels):
            place = margin.width - MARGIN, number * row + zoom * images.shape[1] / 2
            ImageDraw.Draw(margin).text(place, label, 0, font, anchor='rm')
        picture = np.concatenate([np.asarray(margin)[:, :, None].repeat(picture.shape[2], axis=2), picture], axis=1)
    return picture[:, :, 0] if picture.shape[2] == 1 else picture


def by_class(images, classes):
    """uint8 [N, H, W, C], in turn one of each class -> a picture as `grid` makes it: a named row for each, of ten at most."""
    columns = [images[start:start + len(classes)] for start in range(0, len(images), len(classes))][:10]
    rows = np.stack(columns, 1)                                                                # [K, columns, H, W, C]
    return grid(rows.reshape(-1, *images.shape[1:]), len(columns), labels=[files.one_line(name)[:20] for name in classes])


def numbered(images, zoom=None):
    """The picture that `grid` makes, with each image's number, from 0, in its corner; zoom: if None, `zoom_of` them."""
    _, height, width, _ = images.shape
    zoom = zoom or zoom_of(images, numbered=True)
    columns = math.ceil(math.sqrt(len(images)))
    picture = Image.fromarray(grid(images, columns, zoom=zoom))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for number in range(len(images)):
        place = zoom * (width + 2) * (number % columns) + 2, zoom * (height + 2) * (number // columns)
        draw.text(place, str(number), 'white', font, stroke_width=1, stroke_fill='black')
    return np.asarray(picture)


def pairs(left, right, caption, columns=8, zoom=None):
    """uint8 [N, H, W, C] twice -> one picture uint8 [h, w] (C = 1) or [h, w, 3]: left and right in a frame, pair beside pair.

    The pairs fill rows of `columns`, on white; caption: the line above them. zoom: if None, `zoom_of` them.
    """
    zoom = zoom or zoom_of(left)
    left, right = (images.repeat(zoom, axis=1).repeat(zoom, axis=2) for images in (left, right))
    bar = np.full([*left.shape[:2], 2, left.shape[3]], 128, np.uint8)
    framed = np.pad(np.concatenate([left, bar, right], axis=2), [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=128)
    picture = np.pad(tiled(framed, columns, 12, 255), [(0, MARGIN), (MARGIN, MARGIN), (0, 0)], constant_values=255)
    return captioned(picture[:, :, 0] if left.shape[3] == 1 else picture, caption)


def captioned(picture, caption):
    """A picture uint8 [h, w] or [h, w, 3] with a line of text above it, on white; it gets wider where the text is."""
    font = ImageFont.load_default(14)
    width = max(picture.shape[1], 2 * MARGIN + math.ceil(font.getlength(caption)))
    head = Image.new('RGB' if picture.ndim == 3 else 'L', (width, 14 + 2 * MARGIN), 'white')
    ImageDraw.Draw(head).text((MARGIN, head.height / 2), caption, 'black', font, anchor='lm')
    sides = [(0, 0), (0, width - picture.shape[1]), (0, 0)][:picture.ndim]
    return np.concatenate([np.asarray(head), np.pad(picture, sides, constant_values=255)])


def zoom_of(images, numbered=False):
    """How much to enlarge images [N, H, W, C]: twice those smaller than 48 pixels, or as much as makes room for numbers."""
    height, width = images.shape[1:3]
    zoom = 2 if max(height, width) < 48 else 1
    return max(zoom, math.ceil(48 / min(height, width))) if numbered else zoom


def judged(images, judgements):
    """uint8 [N, H, W, C] -> [N, H + 3, W, C]: below each image a bar, as long as its judgement [N] in [0, 1] is high."""
    count, _, width, channels = images.shape
    lit = np.arange(width) < np.rint(judgements * width)[:, None]                    # [N, W]
    bars = np.where(lit, 255, 64).astype(np.uint8)[:, None, :, None]
    return np.concatenate([images, np.broadcast_to(bars, [count, 3, width, channels])], axis=1)


def checked(path, suffixes=PICTURES):
    """The path. Raises UserError if nothing can be written there, because of its suffix or because it is a folder."""
    if path.suffix.lower() not in suffixes:
        raise files.UserError(f'{path} is not the name of a picture: it must end in {", ".join(suffixes[:-1])} or {suffixes[-1]}')
    return not_a_folder(path)


def not_a_folder(path):
    """The path. Raises UserError if it is a folder, or would be in a file."""
    if path.is_dir():
        raise files.UserError(f'{path} is a folder: give the name of a file in it')
    files.inside_folders(path)
    return path


def film(path, pictures):
    """Writes an animated GIF of the PNG files `pictures`; it loops, and stays on the last one for longer.

    Files that are damaged, or not of the size and mode of most, are left out with a line on stderr; if none is left there is
    no film.
    """
    pictures = _of_one_kind(pictures)
    if not pictures:
        print(f'there is no picture to make {files.one_line(path)} of', file=sys.stderr)
        return
    durations = [FRAME] * (len(pictures) - 1) + [10 * FRAME]
    frames = (Image.open(picture) for picture in pictures)  # read one at a time: all of them may be a gigabyte
    with files.replacing(path) as temporary:
        next(frames).save(temporary, save_all=True, append_images=frames, loop=0,
                          duration=durations if len(durations) > 1 else durations[0])


def _of_one_kind(pictures):
    """Those of the picture files that can be read and are of the size and mode of most; says which are left out, and why."""
    kinds, why = {}, {}
    for picture in pictures:
        try:
            with Image.open(picture, formats=['PNG']) as image:
                image.load()
                kinds[picture] = f'{image.width}x{image.height}, {image.mode}{", animated" if image.is_animated else ""}'
        except Exception as error:  # damaged files make the parser raise anything
            why[picture] = f'it cannot be read ({files.reason(error)})'
    kind = statistics.mode(reversed(kinds.values())) if kinds else ''  # of equally many the last one's
    why |= {picture: f'it is {found}, not {kind}' for picture, found in kinds.items() if found != kind}
    for picture in pictures:
        if picture in why:
            print(files.one_line(f'{picture} is left out of the film: {why[picture]}'), file=sys.stderr)
    return [picture for picture in pictures if picture not in why]


def curves(path, scalars_csv, real=None, target=1.0):
    """Draws every column of `scalars_csv` over its column `step`, those of SHARED in one panel.

    Of a column that has a value in most rows the values are faint, with their running mean on top; what is measured now and
    then, and every column of a short run, is drawn as points.
    real: {name of a column: the same number of real pictures, at the same count}, dashed.
    target: what D is to say of real samples, less than 1 where labels are smoothed. Where there is a column D(x), d_loss is D's
    log loss, and thin lines show what the best D that cannot tell real from generated samples gives: target / 2 of D(x) and
    D(G(z)), and the least of -target log d - (2 - target) log(1 - d) of d_loss; 1/2 and 2 ln 2 without smoothing.
    """
    import matplotlib.figure  # slow to import, and only this function needs it

    with open(scalars_csv, newline='') as file:
        names, *rows = csv.reader(file)
    values = np.array([[cell or 'nan' for cell in row] for row in rows], float).reshape(-1, len(names)).T
    steps, columns = values[0], dict(zip(names[1:], values[1:], strict=True))
    panels = list(dict.fromkeys(_shared(name, columns) for name in columns))
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure = matplotlib.figure.Figure(figsize=(5 * across, 2.6 * down), layout='constrained')
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(down, across, number, title=', '.join(panel))
        if number > len(panels) - across:
            axes.set_xlabel('step')
        for colour, name in enumerate(panel):
            seen = np.isfinite(columns[name])  # an empty cell was not measured
            x, y = steps[seen], columns[name][seen]
            together = np.concatenate([columns[other][np.isfinite(columns[other])] for other in panel])
            if seen.any() and together.min() > 0 and y.max() > 30 * y.min():
                axes.set_yscale('log')
            if len(y) < max(FEW, len(steps) / 2):
                axes.plot(x, y, 'o-', markersize=3, linewidth=0.6, color=f'C{colour}', label=name)
            else:
                axes.plot(x, y, alpha=0.3, color=f'C{colour}')
                axes.plot(x, measures.running_mean(y), color=f'C{colour}', label=name)
            if name in (real or {}):
                axes.axhline(real[name], linestyle='--', linewidth=1, color=f'C{colour}', label='real')
        least = -sum(weight * math.log(weight / 2) for weight in (target, 2 - target) if weight)
        undecided = {'D(x)': (target / 2, '1/2' if target == 1 else f'{target / 2:.3g}'),
                     **({'d_loss': (least, '2 ln 2' if target == 1 else f'{least:.4g}')} if 'D(x)' in columns else {})}
        if panel[0] in undecided:
            place, label = undecided[panel[0]]
            axes.axhline(place, linewidth=0.8, color='black', label=label)
        if len(steps):
            axes.set_xlim(-0.02 * steps[-1], 1.02 * steps[-1])
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(fontsize='small')
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _shared(name, columns):
    """The columns that share the panel of one: a tuple."""
    return next((group for group in SHARED if name in group and set(group) <= set(columns)), (name,))


def lines(path, named, across, up):
    """Draws named {label: (x, y)} as lines through points in one panel; across, up: labels of the axes. x is on a log scale."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(6, 4), layout='constrained')
    axes = figure.add_subplot(xlabel=across, ylabel=up, xscale='log')
    for label, (x, y) in named.items():
        axes.plot(x, y, '.-', label=label)
    axes.set_xticks(ticks := sorted({value for x, _ in named.values() for value in x}), map(str, ticks))
    axes.minorticks_off()
    axes.legend()
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def scatter(path, points, labels):
    """Draws points [N, n] coloured by their labels [N], whole numbers from 0 up (10 colours in turn), or all alike if None.

    Of more than two numbers it is the plane of their first two principal components.
    """
    import matplotlib.figure

    if points.shape[1] > 2:
        from sklearn.decomposition import PCA

        points = PCA(min(2, len(points)), random_state=0).fit_transform(points)
    points = np.pad(points, [(0, 0), (0, 2 - points.shape[1])])

    figure = matplotlib.figure.Figure(figsize=(6.4, 6), layout='constrained')
    axes = figure.add_subplot(aspect='equal')
    for label in [None] if labels is None else np.unique(labels):
        chosen = points if label is None else points[labels == label]
        axes.plot(*chosen.T, '.', color=f'C{label or 0}', markersize=2, alpha=0.6, label=label)
    if labels is not None and len(np.unique(labels)) <= 20:
        axes.legend(markerscale=6, loc='center left', bbox_to_anchor=(1, 0.5))
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def confusions(path, counts, names):
    """Draws counts [K, K] of pictures that were asked to show the class of a row and were taken for that of a column.

    The colour is the share of a row in percent, on a logarithmic scale, so that a few mistakes are seen beside what is right.
    Up to 20 classes the names [K] stand beside, and the percents in the cells.
    """
    import matplotlib.colors
    import matplotlib.figure

    percents, few = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1), len(counts) <= 20
    side = 3 + 0.45 * len(counts) if few else 8
    figure = matplotlib.figure.Figure(figsize=(side, side), layout='constrained')
    axes = figure.add_subplot(xlabel='taken for', ylabel='asked for')
    axes.imshow(np.maximum(percents, 0.01), norm=matplotlib.colors.LogNorm(0.01, 100), cmap='Blues')
    if few:
        labels = [files.one_line(name).replace('$', r'\$')[:20] for name in names]
        turned = max(map(len, labels)) > 2
        axes.set_xticks(range(len(counts)), labels, rotation=45 if turned else 0, ha='right' if turned else 'center')
        axes.set_yticks(range(len(counts)), labels)
        for row, column in zip(*np.nonzero(counts), strict=True):
            percent = percents[row, column]
            axes.text(column, row, f'{percent:.1f}' if percent < 99.95 else '100', ha='center', va='center', fontsize=7,
                      color='white' if percent > 5 else 'black')
    with files.replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of letters that the font does not have
        figure.savefig(temporary, dpi=100)


def mesh(side, count):
    """The centres of count x count equal squares that tile [-side, side]^2: float32 [count^2, 2], lowest row first."""
    places = (np.arange(count, dtype=np.float32) + 0.5) * (2 * side / count) - side
    return np.stack([np.tile(places, count), np.repeat(places, count)], axis=1)


def plane(side, samples, points, surface=None, arrows=None, groups=None):
    """Draws the square [-side, side]^2 of the plane as a picture uint8 [400, 400, 3].

    points [N, 2] of the data are grey, samples [N, 2] orange on top of them, or of the colour of their group [N], a whole number
    (10 colours in turn). surface [n, n] at `mesh(side, n)` is behind them, darker where it is lower; arrows [m^2, 2] stand on
    `mesh(side, m)`, each in its direction and with the root of its length.
    """
    import matplotlib.backends.backend_agg
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(4, 4), dpi=100)
    canvas = matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    axes = figure.add_axes([0, 0, 1, 1], xlim=(-side, side), ylim=(-side, side), xticks=[], yticks=[])
    if surface is not None:
        low, high = np.percentile(surface, [2, 98])
        axes.imshow(surface, cmap='Blues_r', vmin=low - (high - low) / 2, vmax=high, origin='lower',
                    extent=(-side, side, -side, side), interpolation='bilinear')
    if arrows is not None:
        feet = mesh(side, math.isqrt(len(arrows)))
        length = np.linalg.norm(arrows, axis=1, keepdims=True)
        scaled = arrows / np.sqrt(np.maximum(length, 1e-12)) / np.sqrt(max(length.max(), 1e-12))
        axes.quiver(*feet.T, *scaled.T, color='#00000070', width=0.003, scale=18, pivot='tail')
    axes.plot(*points.T, '.', color='#404040', markersize=3, alpha=0.5)
    for group in [None] if groups is None else np.unique(groups):
        chosen = samples if group is None else samples[groups == group]
        axes.plot(*chosen.T, '.', color='#ff7f0e' if group is None else f'C{group}', markersize=3, alpha=0.7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
