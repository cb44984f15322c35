"""What can be done with latents, as arrays: truncated, moved along directions, added; and the file that holds some.

Points are {name of an input: array [N, ...]}, as `networks.draw` gives them. Latents are the inputs that are drawn from N(0, 1)
or from a uniform distribution; side by side, in the order of the inputs, they are one vector [N, n].
"""
import functools
import math
import re
import statistics

from plumbing import archives, files

import numpy as np

CLASS = 'class:'       # before the name of a class, in a sum
AROUND = 0.25         # of a uniform distribution around the latents of a sum: the DCGAN paper's
LARGEST = 2**28       # numbers of a file, at most
MADE_BY = 'generator'  # the array of a file that says which generator the latents are of


def of(inputs):
    """{name: networks.Input} of those that are latents."""
    return {name: found for name, found in inputs.items() if found.kind in ('normal', 'uniform')}


def joined(inputs, points):
    """The latents of points side by side, float [N, n]."""
    return np.concatenate([points[name] for name in of(inputs)], axis=1)


def parted(inputs, z, points=()):
    """The opposite of `joined`: {name: float32 [N, ...]} of vectors z [N, n], with what else there is in `points`.

    Raises files.UserError for numbers that float32 cannot hold.
    """
    if not (np.abs(z) <= np.finfo(np.float32).max).all():
        raise files.UserError('that makes latents too large for a generator: give smaller numbers')
    places = np.cumsum([found.shape[0] for found in of(inputs).values()])[:-1]
    parts = np.split(np.asarray(z, np.float32), places, axis=1)
    return {**dict(points), **dict(zip(of(inputs), parts, strict=True))}


# places

def plane(side):
    """Latents [side^2, 2] of a map of the plane, its upper left corner first, in cells of equal probability under N(0, 1)."""
    places = [statistics.NormalDist().inv_cdf((k + 0.5) / side) for k in range(side)]
    return np.array([[across, up] for up in reversed(places) for across in places])


def traversals(z, numbers, values):
    """One latent z [n] with one of its numbers replaced by each of the values [V]: [N V, n], `numbers` [N] in turn."""
    rows = np.tile(z, [len(numbers), len(values), 1])
    rows[np.arange(len(numbers)), :, numbers] = values
    return rows.reshape(-1, len(z))


# truncation

def truncated(inputs, points, threshold):
    """Points whose latents are truncated (Brock et al. 2018, arXiv:1809.11096, section 3.1): nearer to the middle, less varied.

    A number from N(0, 1) becomes one from N(0, 1) between -threshold and threshold. That is the distribution that drawing again
    whatever lies outside gives; here it is the number of the same rank, Phi^-1(Phi(-t) + Phi(z) (Phi(t) - Phi(-t))), so that a
    latent moves inwards as the threshold falls, and depends on no other. A uniform distribution is scaled about its middle.
    Raises files.UserError unless the threshold is above 0, and at most 1 where a latent is uniform.
    """
    uniform = any(found.kind == 'uniform' for found in of(inputs).values())
    if not 0 < threshold < math.inf or uniform and threshold > 1:
        raise files.UserError(f'the truncation must be {"in (0, 1], of a uniform latent" if uniform else "above 0"}, not '
                              f'{threshold:g}')
    moved = dict(points)
    for name, found in of(inputs).items():
        z = np.asarray(points[name], np.float64)
        if found.kind == 'uniform':
            moved[name] = np.float32(sum(found.bounds) / 2 + threshold * (z - sum(found.bounds) / 2))
            continue
        from scipy.special import ndtr, ndtri  # here: it takes a while, and scikit-learn has brought it

        below = np.minimum(z, -z)              # in the lower half small probabilities are exact
        inside = ndtri(ndtr(-threshold) + ndtr(below) * (ndtr(threshold) - ndtr(-threshold)))
        moved[name] = np.float32(np.copysign(np.minimum(-inside, threshold), z))
    return moved


# directions

def directions(weights):
    """Unit vectors [n, n] in its rows, in which the layer z W moves most first: the eigenvectors of W W' for weights [n, units].

    Closed-form factorization (Shen & Zhou 2021, arXiv:2007.06600, eq. 4, where A is W'). The number of a vector that is largest
    has a plus.
    """
    values, vectors = np.linalg.eigh(np.asarray(weights, np.float64) @ np.asarray(weights, np.float64).T)
    found = vectors.T[np.argsort(-values, kind='stable')]
    largest = np.take_along_axis(found, np.abs(found).argmax(1)[:, None], axis=1)
    return found * np.sign(largest)


def moved(inputs, points, direction, by):
    """Points whose latents are moved by `by` (a number, or [N]) times a direction [n]."""
    z = joined(inputs, points)
    return parted(inputs, z + np.reshape(by, [-1, 1]) * direction, points)


def sweep(inputs, points, found, by):
    """One point moved along each of the directions [D, n] by each of the numbers [V]: D V points, direction by direction."""
    count = len(found) * len(by)
    z = joined(inputs, points)[:1] + (found[:, None] * np.reshape(by, [1, -1, 1])).reshape(count, -1)
    return parted(inputs, z, {name: np.repeat(array[:1], count, axis=0) for name, array in points.items()})


# sums

def terms(text):
    """A sum like '0,1,2 - 2*3,4 + class:7' -> [(factor, [0, 1, 2] or the name of a class)].

    A term is the numbers of samples, of which it is the mean, or all samples of a class. Raises files.UserError for other texts.
    """
    parts = re.split(r'(?:^|\s+)([+-])\s+', f' {text.strip()}' if re.match(r'\s*[+-]\s', text) else f' + {text.strip()}')[1:]
    found = []
    for sign, term in zip(parts[::2], parts[1::2], strict=True):
        *factor, term = term.split('*', 1) if re.match(r'\d+(\.\d+)?\*', term) else [term]
        if term.startswith(CLASS) and len(term) > len(CLASS):
            value = term.removeprefix(CLASS).strip()
        elif re.fullmatch(r'\d{1,9}(\s*,\s*\d{1,9})*', term):
            value = [int(number) for number in term.split(',')]
        else:
            raise files.UserError(f'{term!r} is not a term of a sum: write "0,1,2 - 2*3 + {CLASS}7", with spaces around + and -')
        found.append((float(sign + ''.join(factor or '1')), value))
    if not found:
        raise files.UserError(f'the sum is empty: write for example "0,1,2 - 3 + {CLASS}7"')
    return found


def combined(z, parts):
    """(the sum [n] of means of rows of z [N, n], times factors, the means [T, n]): Radford et al. 2015, arXiv:1511.06434,
    section 6.3.

    parts: [(factor, indices of rows)].
    """
    means = np.stack([np.asarray(z, np.float64)[indices].mean(0) for _, indices in parts])
    with np.errstate(all='ignore'):                             # what is too large, `parted` refuses
        return np.array([factor for factor, _ in parts]) @ means, means


def added(generate, text, points, known, columns):
    """A sum of latents: (its point, pictures uint8 [(T + 1) columns, H, W, C] of its T terms and of what is around it).

    generate: savedmodel.Loaded; text: as `terms` takes it; points: those that the terms number; known: function () -> ({name of a
    class in lower case: number}, classes [N] of the points), called where a term is a class. A row shows samples of a term, then
    their mean; the last row what is near the sum, then the sum, whose label is that of the first sample. Raises files.UserError
    for a term that names none.
    """
    parts = terms(text)
    rows, names = [], {}
    count = len(next(iter(points.values())))
    if any(isinstance(term, str) for _, term in parts):
        names, labels = known()
    for _, term in parts:
        if isinstance(term, str):
            if term.casefold() not in names:
                raise files.UserError(files.one_line(f'there is no class {term!r}: give one of {", ".join(names)}'))
            name, term = term, np.flatnonzero(labels == names[term.casefold()])
            if not len(term):
                raise files.UserError(files.one_line(f'none of {count} samples is of the class {name}: give another'))
        elif max(term) >= count:
            raise files.UserError(f'there is no sample {max(term)}: give numbers from 0 to {count - 1}')
        rows.append(np.asarray(term))
    z, rest = joined(generate.inputs, points), {name: array[rows[0][:1]] for name, array in points.items()}
    total, means = combined(z, [(factor, row) for (factor, _), row in zip(parts, rows, strict=True)])
    shown = []
    for row, mean in zip(rows, means, strict=True):
        some = {name: array[row[:columns - 1]] for name, array in points.items()}
        images = generate.draw(some)
        blank = np.zeros([columns - 1 - len(images), *images.shape[1:]], np.uint8)
        shown += [images, blank, generate.draw(parted(generate.inputs, mean[None], {
            name: array[row[:1]] for name, array in points.items()}))]
    noise = np.random.default_rng(0).uniform(-AROUND, AROUND, [columns - 1, len(total)])
    repeated = {name: np.repeat(array, columns - 1, axis=0) for name, array in rest.items()}
    around = parted(generate.inputs, total + noise, repeated)
    point = parted(generate.inputs, total[None], rest)
    return point, np.concatenate([*shown, generate.draw(around), generate.draw(point)])


# a file of latents

def write(path, points, made_by, /, **more):
    """Writes points, the sum of the generator's files `made_by`, and arrays `more` as an .npz."""
    with files.replacing(path) as temporary, open(temporary, 'wb') as file:
        np.savez_compressed(file, **points, **{MADE_BY: made_by}, **more)


def read(path, inputs, made_by):
    """(points, labels int32 [N] or None) of a file for a generator with these inputs, whose files have the sum `made_by`.

    A file that does not say what generator it is of is taken for one of this one. Raises files.UserError for a file of another
    one, and for all else than whole arrays of finite numbers with the shapes of the inputs.
    """
    def check(name, found, path, dtype, shape):
        label, rows = found.kind == 'label', shape[:1]
        if dtype.kind not in ('iu' if label else 'f') or rows == (0,) or len(shape) != 1 + len(found.shape) \
                or shape[1:] != found.shape or math.prod(shape) > LARGEST:
            numbers, wanted = 'whole' if label else 'real', ', '.join(['N', *map(str, found.shape)])
            held = files.shortened(f'{dtype} {list(shape)}')
            raise files.UserError(f'{path} is of another kind of generator: {name} is {held}, where this one takes {numbers} '
                                  f'numbers [{wanted}]')

    def check_sum(path, dtype, shape):
        if dtype != np.dtype('<U64') or shape:
            raise files.UserError(f'{path}: {MADE_BY} is {dtype} {list(shape)}, not the text that invert.py writes')

    with archives.opened(path, 'invert.py writes one', f'np.savez(path, {"=..., ".join(inputs)}=...)') as archive:
        held = {name.removesuffix('.npy') for name in archive.namelist()}
        if lacking := [name for name in inputs if name not in held]:
            raise files.UserError(f'{path} has no {" and no ".join(lacking)}, which the generator takes: it is of another one')
        if MADE_BY in held and archives.member(path, archive, MADE_BY, check_sum) != made_by:
            raise files.UserError(f'{path} holds latents of another generator: make it again with this one')
        points = {name: archives.member(path, archive, name, functools.partial(check, name, found)).astype(found.dtype)
                  for name, found in inputs.items()}
        counts = {len(array) for array in points.values()}
        labels = archives.read_labels(path, archive, max(counts)) if 'labels' in held else None
    for name, found in inputs.items():
        least, most = (0, found.classes - 1) if found.kind == 'label' else (-math.inf, math.inf)
        if len(counts) > 1 or not (np.isfinite(points[name]) & (points[name] >= least) & (points[name] <= most)).all():
            raise files.UserError(f'{path} is damaged: {name} is not finite, or no number of a class, or of another length')
    return points, labels
