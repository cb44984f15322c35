"""Networks with named inputs: what each input looks like, and how to draw it for sampling."""
import inspect
import math
import typing
import zlib

import numpy as np

KINDS = 'normal', 'uniform', 'label', 'images'


class Input(typing.NamedTuple):
    """One input of a network: `kind` says what it is drawn from, `shape` is that of one example."""
    kind: str            # one of KINDS
    shape: tuple         # (100,) for a latent vector, () for a label, (28, 28, 1) for an image
    bounds: tuple = ()   # of 'uniform': lowest and highest value
    classes: int = 0     # of 'label': how many there are

    @property
    def dtype(self):
        return np.dtype('int32' if self.kind == 'label' else 'float32')


def normal(size):
    """A latent vector of `size` numbers from N(0, 1)."""
    return Input('normal', (size,))


def uniform(size, low=-1.0, high=1.0):
    """A latent vector of `size` numbers from U[low, high)."""
    return Input('uniform', (size,), (low, high))


def label(classes):
    """A class: a whole number from 0 to classes - 1 for who uses the network; its function gets y [N, classes], one-hot."""
    return Input('label', (), classes=classes)


def images(size, channels):
    """Images float32 [size, size, channels] in [-1, 1]. They are given, not drawn."""
    return Input('images', (size, size, channels))


class Network(typing.NamedTuple):
    """A function of tensors [N, ...], one for each of `inputs` in their order, to a tensor [N, ...] named `output`."""
    function: typing.Callable
    output: str
    inputs: dict         # {name: Input}

    def apply(self, tensors):
        """The network on a list of tensors, for sampling: a function that has a parameter `training` gets False."""
        import tensorflow.compat.v1 as tf  # here: commands read inputs without it

        tensors = [tf.one_hot(tensor, found.classes, name=one_hot(name)) if found.kind == 'label' else tensor
                   for (name, found), tensor in zip(self.inputs.items(), tensors, strict=True)]
        sampling = {'training': False} if 'training' in inspect.signature(self.function).parameters else {}
        return tf.identity(self.function(*tensors, **sampling), self.output)

    def placeholders(self):
        """{name: placeholder [None, *shape]} of the inputs."""
        import tensorflow.compat.v1 as tf

        return {name: tf.placeholder(found.dtype, [None, *found.shape], name) for name, found in self.inputs.items()}

    def described(self):
        """The network as JSON: {'inputs': {name: fields}, 'output': name}."""
        return {'inputs': {name: found._asdict() for name, found in self.inputs.items()}, 'output': self.output}


def one_hot(name):
    """The name of the tensor that holds the label `name` as one-hot vectors; where classes can be mixed."""
    return f'{name}_one_hot'


def network(function, output, **inputs):
    """For example `network(generator, 'images', z=normal(100), label=label(10))`; see `Network`."""
    return Network(function, output, inputs)


def inputs_of(described):
    """{name: Input} of a network as `Network.described` wrote it. Raises ValueError or TypeError for anything else."""
    found = {name: Input(**{field: tuple(value) if isinstance(value, list) else value for field, value in fields.items()})
             for name, fields in described['inputs'].items()}
    for name, (kind, shape, bounds, classes) in found.items():
        numbers = [type(size) is int and size >= 1 for size in shape] + [type(bound) in (int, float) for bound in bounds]
        valid = kind in KINDS and all(numbers) and math.prod(shape) <= 2**24 and len(bounds) == 2 * (kind == 'uniform')
        if not valid or type(classes) is not int or not (kind == 'label') <= classes <= 2**16:
            raise ValueError(f'{name!r} is no input of a network')
    return found


def can_be_drawn(inputs):
    """Whether all inputs are latents and labels."""
    return all(found.kind != 'images' for found in inputs.values())


def makes_codes(inputs, output):
    """Whether a network is an encoder: images are all that it takes, and what it makes are no images."""
    return [found.kind for found in inputs.values()] == ['images'] and output != 'images'


def translates(inputs, output):
    """Whether a network makes images of images, and takes nothing else."""
    return [found.kind for found in inputs.values()] == ['images'] and output == 'images'


def label_of(inputs):
    """The name of the input that is a label; None where there is none."""
    return next((name for name, found in inputs.items() if found.kind == 'label'), None)


def classes_of(inputs):
    """How many classes a network can be asked for by its input `label`; 0 where it has none."""
    return inputs['label'].classes if 'label' in inputs and inputs['label'].kind == 'label' else 0


def draw(inputs, count, seed=0, labels=None):
    """{name: array [count, *shape]} for a network's inputs: latents from their distributions, classes in turn.

    labels: whole numbers [count] to take for `label` instead. Each input has a random stream of its own, and the first rows
    are the same for every count.
    """
    drawn = {}
    for name, found in inputs.items():
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        if found.kind == 'label':
            drawn[name] = np.arange(count, dtype=np.int32) % found.classes
        elif found.kind == 'normal':
            drawn[name] = random.standard_normal([count, *found.shape], np.float32)
        elif found.kind == 'uniform':
            low, high = found.bounds
            drawn[name] = low + (high - low) * random.random([count, *found.shape], np.float32)
        else:
            raise ValueError(f'the input {name!r} is given, not drawn')
    if labels is not None:
        drawn['label'] = np.asarray(labels, np.int32)
    return drawn


def typical(inputs, count, labels=None):
    """As `draw`, but latents have exactly the mean of their distribution, and its covariance, where `count` is more than twice
    their length: what is linear in them has the statistics of infinitely many."""
    drawn = draw(inputs, count, zlib.crc32(b'typical'), labels)     # a stream that samples are not drawn from
    for name, found in inputs.items():
        if found.kind != 'label':
            low, high = found.bounds or (-math.sqrt(3), math.sqrt(3))
            z = drawn[name].astype(np.float64).reshape(count, -1)
            z -= z.mean(0)
            z = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / count)).T if count > 2 * z.shape[1] else z / z.std(0)
            drawn[name] = ((low + high) / 2 + (high - low) / math.sqrt(12) * z).astype(np.float32).reshape(drawn[name].shape)
    return drawn


def grid(inputs, count, seed=0):
    """(inputs of about `count` images to show side by side, columns of the grid or None for a square).

    Without a label they are `draw`'s; with one there is a row for each class, with the same latents in every row.
    """
    label = label_of(inputs)
    if label is None:
        return draw(inputs, count, seed), None
    rows = min(inputs[label].classes, count)
    columns = max(1, round(count / rows))
    shown = {name: np.concatenate([values] * rows) for name, values in draw(inputs, columns, seed).items()}
    shown[label] = np.repeat(np.arange(rows, dtype=np.int32), columns)
    return shown, columns
