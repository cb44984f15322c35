"""Pictures to latents of a generator, by gradient descent on the distance: Creswell & Bharath 2016, arXiv:1611.05644."""
from plumbing import codes, decoder, files, latents, networks, runfolder, savedmodel

import numpy as np
import tensorflow.compat.v1 as tf
from tqdm import tqdm

STEPS = 200         # of Adam, for each picture
STARTS = 4          # of each picture; the one that ends nearest is kept
POOL = 2048         # samples among which the nearest to a picture are its starts
RATE = 0.1          # of Adam; falls to 0 in a straight line
PULL = 1e-4         # of latents from N(0, 1) that are longer than draws


def pictures(paths, shape, negative):
    """Picture files -> uint8 [N, *shape]. Raises UserError for one that cannot be read."""
    images = []
    for path in paths:
        try:
            images.append(decoder.decode(path, shape[0], shape[2])[0])
        except files.UserError:
            raise
        except IsADirectoryError:
            raise files.UserError(f'{path} is a folder: give picture files') from None
        except Exception as error:  # damaged bytes make the decoders raise anything
            why = getattr(error, 'strerror', None) or files.reason(error)
            raise files.UserError(f'{path} cannot be read ({why}): give PNG, JPEG, GIF, WebP or BMP files') from None
    images = np.stack(images)
    return 255 - images if negative else images


def encoder(run):
    """The encoder of a run, or None if it has none of images alone."""
    described = runfolder.read(run)['networks'].get('encoder')
    if not described or not networks.makes_codes(networks.inputs_of(described), described['output']):
        return None
    return savedmodel.Loaded(run, 'encoder')


class Inverter:
    """Finds latents of pictures. Call it with pictures uint8 [N, H, W, C] to get (points, errors [N], errors at the start [N]).

    points: {name of an input: array [N, ...]}, latents and labels, as `networks.draw` gives them; an error is the mean squared
    error of a pixel in [0, 1]. The same pictures have the same points.

    A picture starts at the latents of those of POOL samples that are nearest to it, of all classes or of those that are asked
    for, and, where there is an encoder, at its code too. A uniform latent is kept in its box: a number that leaves it is put on
    its wall (Lipton & Tripathi 2017, arXiv:1702.04782, draw it anew). Vectors z [n] from N(0, 1) are about n^(1/2) long:
    PULL max(|z|^2 - n, 0)^2 / 4n is added to the error. Shorter ones are what truncation gives.
    """

    def __init__(self, generate, encode=None, starts=STARTS, steps=STEPS, classes=()):
        """generate, encode: savedmodel.Loaded; an encoder that does not make all latents is not asked.

        classes: numbers of those that a picture may be of; all if there are none. Raises files.UserError without a latent.
        """
        self._generate, self._steps = generate, steps
        self.inputs = generate.inputs
        if not latents.of(self.inputs):
            raise files.UserError('the generator takes no latents: there is nothing to look for')
        self._label = networks.label_of(self.inputs)
        drawn = networks.draw(self.inputs, max(POOL, starts))
        if classes:
            drawn[self._label] = np.resize(np.array(classes, np.int32), max(POOL, starts))
        self._pool, self._pictures = drawn, _flat(generate.draw(drawn))
        self._starts = starts
        size = sum(found.shape[0] for found in latents.of(self.inputs).values())
        self._encode = encode if encode and encode.shape == (size,) else None
        self._build()

    def _build(self):
        shape, batch = self._generate.shape, savedmodel.BATCH
        with self._generate.session.graph.as_default(), tf.variable_scope(None, 'inversion'):
            self._target = tf.placeholder(tf.float32, [batch, *shape])                        # in [0, 1]
            self._rate = tf.placeholder(tf.float32, [])
            self._z, taken, pull = {}, {}, 0.0
            for name, found in self.inputs.items():
                if found.kind == 'label':
                    taken[name] = self._given = tf.placeholder(tf.float32, [batch, found.classes])
                    continue
                low, high = found.bounds or (-np.inf, np.inf)
                z = self._z[name] = tf.get_variable(
                    name, [batch, *found.shape], use_resource=True, initializer=tf.zeros_initializer(),
                    constraint=lambda z, low=low, high=high: tf.clip_by_value(z, low, high))
                taken[name] = tf.identity(z)
                if found.kind == 'normal':
                    n = found.shape[0]
                    pull += tf.square(tf.nn.relu(tf.reduce_sum(tf.square(z), 1) - n)) / (4 * n)
            made = (self._generate.applied(taken, 'inverted') + 1) / 2
            self._errors = tf.reduce_mean(tf.square(made - self._target), [1, 2, 3])             # [batch]
            optimizer = tf.train.AdamOptimizer(self._rate)
            self._step = optimizer.minimize(tf.reduce_sum(self._errors + PULL * pull), var_list=list(self._z.values()))
            self._begin = tf.variables_initializer(optimizer.variables())
            self._start = {name: tf.placeholder(tf.float32, z.shape) for name, z in self._z.items()}
            self._placed = [z.assign(self._start[name]) for name, z in self._z.items()]

    def __call__(self, images):
        near = codes.nearest(_flat(images), self._starts, self._pictures)                   # [N, S]
        starts = {name: array[near] for name, array in self._pool.items()}                     # [N, S, ...]
        if self._encode:
            coded = self._coded(images, near[:, 0])
            starts = {name: np.concatenate([array, coded[name][:, None]], axis=1) for name, array in starts.items()}
        each = len(next(iter(starts.values()))[0])
        rows = {name: array.reshape(-1, *array.shape[2:]) for name, array in starts.items()}
        of = np.repeat(np.arange(len(images)), each)
        found, before, after = {name: [] for name in rows}, [], []
        for place in tqdm(range(0, len(of), savedmodel.BATCH), 'inverting', unit='block', leave=False, disable=None):
            block = slice(place, place + savedmodel.BATCH)
            z, *errors = self._descend(images[of[block]], {name: array[block] for name, array in rows.items()})
            for several, one in zip((before, after), errors, strict=True):
                several.append(one)
            for name in rows:
                found[name].append(z[name])
        before, after = (np.concatenate(errors).reshape(-1, each) for errors in (before, after))
        if not np.isfinite(after).all():
            raise files.UserError('what the generator makes is not finite: there is nothing to look for')
        best = np.arange(len(images)) * each + after.argmin(1)
        return {name: np.concatenate(parts)[best] for name, parts in found.items()}, after.min(1), before.min(1)

    def _coded(self, images, near):
        """The points that an encoder gives pictures, with the labels of the samples `near` [N] to them."""
        points = latents.parted(self.inputs, codes.encode(self._encode, images), {
            name: array[near] for name, array in self._pool.items()})
        return {name: np.clip(array, *self.inputs[name].bounds) if self.inputs[name].bounds else array
                for name, array in points.items()}

    def before(self, images):
        """{'sample' or 'code': uint8 [N, H, W, C]}: the nearest sample to each picture, and what is drawn from its code."""
        near = codes.nearest(_flat(images), 1, self._pictures)[:, 0]
        found = {'sample': {name: array[near] for name, array in self._pool.items()}}
        if self._encode:
            found['code'] = self._coded(images, near)
        return {name: self._generate.draw(points) for name, points in found.items()}

    def _descend(self, images, points):
        """(points, errors at the start [N], errors at the end [N]) of N <= BATCH starts."""
        count, run = len(images), self._generate.session.run

        def filled(array):
            return np.concatenate([array, np.repeat(array[:1], savedmodel.BATCH - count, axis=0)])

        feed = {self._target: filled(images) / np.float32(255)}
        if self._label:
            feed[self._given] = np.float32(np.arange(self.inputs[self._label].classes) == filled(points[self._label])[:, None])
        run(self._begin)
        run(self._placed, {self._start[name]: filled(points[name]) for name in self._z})
        before = run(self._errors, feed)
        for step in range(self._steps):
            run(self._step, {**feed, self._rate: RATE * (1 - step / self._steps)})
        z, after = run([self._z, self._errors], feed)
        return {**points, **{name: array[:count] for name, array in z.items()}}, before[:count], after[:count]


def _flat(images):
    return images.reshape(len(images), -1) / np.float32(255)
