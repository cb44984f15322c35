"""A run in one picture: a scalar and the Frechet distance over the steps, and below them samples from along the way.

    python -m benchmarks.progress runs/wgan-mnist wd docs/wgan-progress.png
"""
import csv

import viz
from plumbing import files, flags

import imageio.v3 as iio
import matplotlib.figure
import numpy as np

SHOWN = 5  # pictures


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a run on pictures')
    parser.add_argument('scalar', help='column of its scalars.csv')
    parser.add_argument('png', type=flags.path, help='file of the picture')
    given = parser.parse_args()
    name, path = given.scalar, viz.checked(given.png, viz.FIGURES)
    rows = list(csv.DictReader((flags.run_folder(given.run) / 'scalars.csv').read_text().splitlines()))
    distance = next((column for column in rows[0] if column.startswith('frechet_')), None)
    if name not in rows[0] or not distance:
        raise files.UserError(f'{given.run}/scalars.csv has no {name if distance else "Frechet distance"}: its columns are '
                              f'{", ".join(rows[0])}')
    figure = matplotlib.figure.Figure(figsize=(10, 5), layout='constrained')
    curves, below = figure.subfigures(2, 1, height_ratios=[1.1, 1])
    axes = curves.subplots()
    points = {column: np.array([(int(row['step']), float(row[column])) for row in rows if row[column]])
              for column in (name, distance)}
    axes.plot(*points[name].T, alpha=0.6)
    axes.set(xlabel='step', ylabel=name, ylim=(0, np.percentile(points[name][:, 1], 99) * 1.1))
    other = axes.twinx()
    other.plot(*points[distance].T, 'C1o-')
    other.set(yscale='log', ylabel=distance.replace('_', ' distance, ') + ' samples')
    measured = points[distance][:, 0]
    steps, values = points[name].T
    means = [values[(steps > start) & (steps <= end)].mean() for start, end in zip([0, *measured], measured, strict=False)]
    rank = spearman(means, points[distance][:, 1])
    print(f'rank correlation of {name} (means between measurements) and {distance}: {rank:.2f}, {len(measured)} points')
    pictures = sorted(given.run.glob('samples/step-*.png'))[1:]
    chosen = [pictures[i] for i in np.unique(np.geomspace(1, len(pictures), SHOWN).round().astype(int) - 1)]
    for place, picture in zip(below.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        image = iio.imread(picture)
        place.imshow(image[:len(image) // 2, :len(image) // 2], cmap='gray')
        place.set_title(f'step {int(picture.stem[5:])}')
        place.axis('off')
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def spearman(a, b):
    """Rank correlation of two series without ties."""
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]


if __name__ == '__main__':
    with files.one_line_errors():
        main()
