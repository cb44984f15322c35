"""Draws from the averaged networks in the session that trains."""
from plumbing import bounds, measures, networks, pixels

import numpy as np

STANDING = 2000         # inputs that batch norm's statistics of averaged networks are taken over


def shape(found, averaged, given=None):
    """(H, W, C) of a sample, or None where there is no generator of images from latents and labels, or from what is given.

    found: {name: networks.Network}; averaged: graph.Sampling; given: pictures for a generator that takes pictures alone, or None.
    """
    generator = found.get('generator')
    drawn = generator and generator.output == 'images' and (
        networks.can_be_drawn(generator.inputs) or given is not None and networks.translates(generator.inputs, generator.output))
    return tuple(averaged.outputs['generator'].shape[1:].as_list()) if drawn else None


class Sampler:
    """Samples of the network 'generator', what a script's `pictures` gives, and the averaged weights.

    shape: that of a sample, or None.
    """

    def __init__(self, session, found, averaged, grid, seed, typical, given=None):
        """found: {name: networks.Network}; averaged: graph.Sampling; grid: samples of a picture; seed: of all latents.

        typical: function of a network -> {name of an input: array [N, ...]}, over which batch norm's statistics are taken.
        given: uint8 [N, h, w, c] that a generator which takes pictures alone is drawn from, in the place of latents.
        """
        self._session, self._averaged, self.shape, self._given = session, averaged, shape(found, averaged, given), given
        self.measures = [*averaged.measured]            # names of the script's
        self._settled, self._typical = None, {name: typical(found[name]) for name in {norm.network for norm in averaged.norms}}
        if self.shape:
            self._inputs, self._seed = found['generator'].inputs, seed
            self._grid, self.columns = (networks.grid(self._inputs, grid, seed) if given is None else
                                        (self._taken(given[:grid]), None))

    def _run(self, fetches, feed=None):
        """What the averaged networks make. At a step whose weights they have not seen, they first get batch norm's statistics of
        the layers that need them, one after the other, for each depends on those before it."""
        done = self._session.run(self._averaged.done)
        if done != self._settled:
            self._settled = done
            for norm in self._averaged.norms:
                blocks = self._blocks(norm.network, [norm.rows, *norm.moments], self._typical[norm.network], 250)
                rows, means, variances = map(np.array, zip(*blocks, strict=True))
                mean = np.average(means, 0, rows)
                variance = np.average(variances + (means - mean)**2, 0, rows)   # of all: within the blocks, and between them
                self._session.run([norm.mean.initializer, norm.variance.initializer],
                                  {norm.mean.initial_value: mean, norm.variance.initial_value: variance})
        return self._session.run(fetches, feed)

    def _blocks(self, network, fetches, inputs, size):
        """[what `fetches` are for `size` rows of {name of an input: array [N, ...]}]."""
        placeholders, count = self._averaged.inputs[network], len(next(iter(inputs.values())))
        return [self._run(fetches, {placeholders[name]: array[i:i + size] for name, array in inputs.items()})
                for i in range(0, count, size)]

    def images(self, inputs):
        """uint8 [N, H, W, C] for {name of an input: array [N, ...]}."""
        blocks = self._blocks('generator', self._averaged.outputs['generator'], inputs, 500)
        return np.concatenate([pixels.to_uint8(block) for block in blocks])

    def _taken(self, images):
        """{name of the generator's one input: float32 [N, h, w, c]} for images uint8 [N, h, w, c]."""
        name, = self._inputs
        return {name: pixels.to_float(images)}

    def samples(self, count, labels=None):
        """The same `count` samples every time, uint8 [count, H, W, C]; labels: the classes [count] that they shall show."""
        if self._given is not None:
            return self.images(self._taken(measures.subset(self._given, count)))
        return self.images(networks.draw(self._inputs, count, self._seed, labels))

    def grid(self):
        """The same samples every time, to be shown side by side in `columns` (None for a square): uint8 [N, H, W, C]."""
        return self.images(self._grid)

    def pictures(self):
        """What the script's `pictures` gives, as arrays, or None if it has none."""
        return None if self._averaged.pictures is None else self._run(self._averaged.pictures)

    def measured(self):
        """{name: value} of the script's `measures`."""
        return self._run(self._averaged.measured)

    def means(self, examples, function):
        """What `bounds.means` makes of a tensor of examples [N, ...] and a function, with the averaged weights."""
        return bounds.means(function, self._session.run(examples), self.weights())

    def weights(self):
        """{name of a variable: its average}."""
        return self._run({source.op.name: average for average, source in self._averaged.averages})
