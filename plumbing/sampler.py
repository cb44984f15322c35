"""Draws from the averaged networks in the session that trains."""
from plumbing import bounds, networks, pixels

import numpy as np


def shape(found, averaged):
    """(H, W, C) of a sample, or None where there is no generator of images from latents and labels.

    found: {name: networks.Network}; averaged: graph.Sampling.
    """
    generator = found.get('generator')
    drawn = generator and generator.output == 'images' and networks.can_be_drawn(generator.inputs)
    return tuple(averaged.outputs['generator'].shape[1:].as_list()) if drawn else None


class Sampler:
    """Samples of the network 'generator', what a script's `pictures` gives, and the averaged weights.

    shape: that of a sample, or None.
    """

    def __init__(self, session, found, averaged, grid, seed):
        """found: {name: networks.Network}; averaged: graph.Sampling; grid: samples of a picture; seed: of all latents."""
        self._session, self._averaged, self.shape = session, averaged, shape(found, averaged)
        if self.shape:
            self._grid, self.columns = networks.grid(found['generator'].inputs, grid, seed)
            self._inputs, self._seed = found['generator'].inputs, seed

    def images(self, inputs):
        """uint8 [N, H, W, C] for {name of an input: array [N, ...]}."""
        placeholders, output = self._averaged.inputs['generator'], self._averaged.outputs['generator']
        count = len(next(iter(inputs.values())))
        blocks = [self._session.run(output, {placeholders[name]: array[i:i + 500] for name, array in inputs.items()})
                  for i in range(0, count, 500)]
        return np.concatenate([pixels.to_uint8(block) for block in blocks])

    def samples(self, count, labels=None):
        """The same `count` samples every time, uint8 [count, H, W, C]; labels: the classes [count] that they shall show."""
        return self.images(networks.draw(self._inputs, count, self._seed, labels))

    def grid(self):
        """The same samples every time, to be shown side by side in `columns` (None for a square): uint8 [N, H, W, C]."""
        return self.images(self._grid)

    def pictures(self):
        """What the script's `pictures` gives, as arrays, or None if it has none."""
        return None if self._averaged.pictures is None else self._session.run(self._averaged.pictures)

    def measured(self):
        """{name: value} of the script's `measures`."""
        return self._session.run(self._averaged.measured)

    def means(self, examples, function):
        """What `bounds.means` makes of a tensor of examples [N, ...] and a function, with the averaged weights."""
        return bounds.means(function, self._session.run(examples), self.weights())

    def weights(self):
        """{name of a variable: its average}."""
        return self._session.run({source.op.name: average for average, source in self._averaged.averages})
