"""Codes of pictures, and numbers for how good they are: what their neighbours and a linear classifier know of the classes."""
import warnings

from plumbing import files, networks, runfolder, savedmodel
from plumbing.pixels import to_float

import numpy as np

BLOCK = 512        # rows of a matrix of distances held at once, and pictures that are encoded at once
DECAY = 1e-3       # of the probe's weights
ITERATIONS = 100   # of the probe's solver, at most


def encoders(folder):
    """[(name, savedmodel.Loaded)] of the networks of a run that make codes of pictures alone (`networks.makes_codes`).

    Raises files.UserError if there is none, and as `savedmodel.Loaded` does.
    """
    described = {name: (networks.inputs_of(found), found['output']) for name, found in runfolder.read(folder)['networks'].items()}
    if found := [name for name in described if networks.makes_codes(*described[name])]:
        return [(name, savedmodel.Loaded(folder, name)) for name in found]
    for name, (inputs, output) in described.items():
        if output != 'images' and not networks.can_be_drawn(inputs):
            raise files.UserError(f'{folder}: its {name} takes {" and ".join(inputs)}, and codes are of images alone: '
                                  'leave this run out')
    raise files.UserError(f'{folder} holds no encoder: give the folder of a run that has a network from images to codes')


def encode(network, images):
    """Codes float32 [N, n] of images uint8 [N, H, W, C]. network: savedmodel.Loaded, of one input.

    Raises files.UserError for codes that are not finite.
    """
    name, = network.inputs
    blocks = [network(**{name: to_float(images[i:i + BLOCK])}) for i in range(0, len(images), BLOCK)]
    codes = np.concatenate(blocks).reshape(len(images), -1)
    if not np.isfinite(codes).all():
        raise files.UserError(f'the {network.output} of a network hold NaN or infinity: nothing can be measured')
    return codes


def codes_of(folder, name, images):
    """Codes float32 [N, n] of images uint8 [N, H, W, C] by the network `name` of the run in `folder`; raises as `encode` does."""
    return encode(savedmodel.Loaded(folder, name), images)


def nearest(x, count, points=None):
    """Indices [N, count] of those of `points` [M, F] that are nearest to each of x [N, F], the nearest first.

    Distances are Euclidean, |p|^2 - 2 x.p but for what is equal in a row. Without `points` they are the other x, not itself.
    """
    others = points is None
    points = np.asarray(x if others else points, np.float32)
    centre = points.mean(0)                                         # far from 0 rounding would count
    x, points = np.asarray(x, np.float32) - centre, points - centre
    lengths, found = np.square(points).sum(1), []
    for start in range(0, len(x), BLOCK):
        distances = -2 * x[start:start + BLOCK] @ points.T
        distances += lengths
        if others:
            distances[np.arange(len(distances)), start + np.arange(len(distances))] = np.inf
        if count == 1:                                              # a tenth of the time of what follows
            found.append(distances.argmin(1)[:, None])
            continue
        some = np.argpartition(distances, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(distances, some, 1), axis=1)
        found.append(np.take_along_axis(some, order, 1))
    return np.concatenate(found)


def agreement(found, labels, asked):
    """Share of the `nearest` [N, count] that are of their query's class. labels [M]: of the points; asked [N]: of the queries."""
    return float((labels[found] == asked[:, None]).mean())


def probe(train, train_labels, test, test_labels):
    """Accuracy on `test` of a linear classifier of codes [N, n] that was trained on `train`.

    Softmax regression on codes that were standardized by `train`: mean cross-entropy + DECAY / 2 |w|^2, by scikit-learn's
    L-BFGS from 0, at most ITERATIONS of it, so that the time is bounded whether that is the minimum or not.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (DECAY * len(train)), max_iter=ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        model.fit(train, train_labels)
    return float(model.score(test, test_labels))
