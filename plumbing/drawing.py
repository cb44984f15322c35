"""What a user asks a generator to draw: points by their numbers, of a file, edited, along walks; and classes by name.

Points are {name of an input: array [N, ...]}, as `networks.draw` gives them. `generate` is a generator of images, as
`savedmodel.sampled` gives it.
"""
from plumbing import files, latents, measures, networks

import numpy as np


def slerp(starts, ends, t):
    """Points on the great circles from `starts` to `ends` [N, n], at the places t [T] from 0 to 1: [N, T, n].

    Spherical interpolation (White 2016, arXiv:1609.04468): the points between two draws of a high-dimensional N(0, 1) keep
    the length of a draw, which those of a straight line do not. Where the two are on one line through 0 there is no one
    great circle, and the way is the straight line.
    """
    a, b = starts[:, None], ends[:, None]                                            # [N, 1, n]
    t = np.asarray(t, np.float64)[:, None]                                           # [T, 1]
    lengths = np.linalg.norm(a, axis=2, keepdims=True) * np.linalg.norm(b, axis=2, keepdims=True)
    cosine = np.clip((a * b).sum(2, keepdims=True) / np.maximum(lengths, 1e-12), -1, 1)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    curved = (np.abs(cosine) < 1 - 1e-6) & (lengths > 0)
    sine = np.where(curved, sine, 1)
    first, last = (np.where(curved, np.sin(share * angle) / sine, share) for share in (1 - t, t))
    return (first * a + last * b).astype(np.float32)


def walk(generate, rows=8, columns=10, seed=0, classes=(), points=None, edit=None):
    """Walks between `rows` pairs of latents: uint8 [rows * columns, H, W, C], a row of `columns` images for each pair.

    points: {name of an input: array [rows + 1, ...]} to walk from each to the next of, labels mixed, instead of draws. edit: a
    function of points, applied to draws.

    Latents from N(0, 1) walk on great circles, those of other distributions on straight lines, and labels stay what they are.
    classes: the numbers of those that the walks take turns in. If there are two, each walk leads from the first to the second
    through mixtures of both, and its latents stay what they are.
    """
    t, across = np.linspace(0, 1, columns).astype(np.float32), len(classes) == 2
    labels = np.resize(classes, 2 * rows) if classes else None
    if points is None:
        drawn = networks.draw(generate.inputs, 2 * rows, seed, labels)
        pairs = {name: (array[:rows], array[rows:]) for name, array in (edit(drawn) if edit else drawn).items()}
    else:
        pairs, across = {name: (array[:-1], array[1:]) for name, array in points.items()}, False
        rows = len(next(iter(pairs.values()))[0])
    points, mixed = {}, points is not None
    for name, (starts, ends) in pairs.items():
        kind = generate.inputs[name].kind
        if kind == 'label' and mixed:
            first, last = (np.arange(generate.inputs[name].classes) == labels[:, None, None] for labels in (starts, ends))
            between = (1 - t[:, None]) * first + t[:, None] * last
        elif kind == 'label' and across:
            first, last = (np.arange(generate.inputs[name].classes) == number for number in classes)
            between = np.repeat([(1 - t[:, None]) * first + t[:, None] * last], rows, axis=0)
        elif kind == 'label' or across:
            between = np.repeat(starts[:, None], columns, axis=1)
        elif kind == 'normal':
            between = slerp(starts, ends, t)
        else:
            between = starts[:, None] + t[:, None] * (ends - starts)[:, None]
        points[name] = between.reshape(rows * columns, *between.shape[2:])
    return generate.draw(points)


def class_labels(inputs, points):
    """The classes of points that a network with these inputs can be asked for, or None where it can not."""
    return points['label'] if networks.classes_of(inputs) else None


def drawn(generate, folder, numbers, seed, largest, classes=()):
    """The points of the samples of these `numbers`, a range, of a seed.

    classes: the numbers of those to take turns, instead of all. Raises UserError, which names the folder, if samples or points
    take more than `largest` bytes.
    """
    points = networks.draw(generate.inputs, 1, seed)
    one = generate.draw(points)
    size, count = max(one.nbytes, sum(array.nbytes for array in points.values())), numbers.stop
    if count * size > largest:
        give = f'--count {largest // size}' if numbers.start == 0 else f'--index {largest // size - 1}'
        raise files.UserError(f'{count} samples of {folder}, {measures.by_size(one.shape[1:])}, take '
                              f'{count * size / 2**30:,.1f} GiB: give {give} or less')
    points = networks.draw(generate.inputs, count, seed, np.resize(classes, count) if classes else None)
    return {name: array[numbers.start:] for name, array in points.items()}


def taken(generate, path, numbers, classes=()):
    """(points of these `numbers`, a range, or of all if None, of a file of latents, their labels or None).

    classes: the numbers of those to take turns, instead of the file's. Raises UserError if the file has fewer.
    """
    points, labels = latents.read(path, generate.inputs, generate.sum)
    count = len(next(iter(points.values())))
    if numbers and numbers.stop > count:
        raise files.UserError(f'{path} has {count} latents, from 0 to {count - 1}, and no {numbers.stop - 1}')
    part = slice(None) if numbers is None else slice(numbers.start, numbers.stop)
    if classes:
        points['label'] = np.resize(np.array(classes, np.int32), count)
    return {name: array[part] for name, array in points.items()}, None if labels is None else labels[part]


def directions(generate):
    """Unit vectors [n, n] in its rows, of the latents side by side: `latents.directions` of the generator's first layer."""
    return latents.directions(generate.first_layer())


def edited(generate, points, truncation=None, direction=None, by=0.0):
    """Points truncated, then moved by `by` along the direction of this number. Raises UserError for a number that is none."""
    if truncation is not None:
        points = latents.truncated(generate.inputs, points, truncation)
    if direction is not None:
        found = directions(generate)
        if direction >= len(found):
            raise files.UserError(f'there is no direction {direction}: give a number from 0 to {len(found) - 1}')
        points = latents.moved(generate.inputs, points, found[direction], by)
    return points


def class_names(inputs, folder):
    """The names of the classes that a run's generator can be asked for; their numbers where they have none."""
    from plumbing import runfolder

    count = networks.classes_of(inputs)
    names = runfolder.read(folder)['classes'] or []
    return names if len(names) == count else list(map(str, range(count)))


def numbers_of(wanted, inputs, folder):
    """The numbers of the classes `wanted`, each a name or a number. Raises UserError for one that the run does not have.

    A name counts before a number, and one in the same letters before one in others.
    """
    count = networks.classes_of(inputs)
    if not count:
        raise files.UserError(f'{folder} is not a conditional run and cannot be asked for a class: leave out --class')
    names = class_names(inputs, folder)
    known = {name.casefold(): number for number, name in enumerate(names)}
    known |= {**{str(number): number for number in range(count)}, **{name: number for number, name in enumerate(names)}}
    numbers = [known.get(text, known.get(text.casefold())) for text in wanted]
    for text, number in zip(wanted, numbers, strict=True):
        if number is None:
            told = ', '.join([name for name in names if name not in map(str, range(count))][:20])
            raise files.UserError(files.one_line(f'{folder} has no class {text!r}: give a number from 0 to {count - 1}'
                                                 f'{f", or a name: {told}" if told else ""}'))
    return numbers
