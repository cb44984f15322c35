"""Pictures through a network of a run that makes images of images: files of a folder, or the run's test pictures."""
import math
import os
import sys

from plumbing import decoder, files, folders, savedmodel

import imageio.v3 as iio
import numpy as np

BLOCK = 4 * savedmodel.BATCH  # pictures that are in memory at once


class Source:
    """Pictures for a network (savedmodel.Loaded): those in `folder`, or else the test pictures of the run that has it.

    Those of a folder are found and decoded as those that runs are trained on: whatever their size, cropped to their middle square
    and resized to what the network takes; see `folders.find` and `decoder.decode`. FOLDER:left is the left half of each, which
    holds two side by side, FOLDER:right the other one.

    count: how many there are; names: of the files that become of them; size: bytes of one.
    """

    def __init__(self, network, folder, run, name):
        """name: of the network in the `run`. Raises files.UserError where there is no picture, or two would become one file."""
        self._side, _, self._channels = shape = next(iter(network.inputs.values())).shape
        self.size = math.prod(shape)
        self._folder, self._half = folders.halved(os.fspath(folder)) if folder else ('', '')
        if folder:
            self._names = [found for found, _, _ in folders.find(self._folder, 1)]
            self.names = [os.path.splitext(found)[0] + '.png' for found in self._names]
            known = {}
            for found, written in zip(self._names, self.names, strict=True):
                if known.setdefault(written.casefold(), found) != found:
                    raise files.UserError(files.one_line(f'{known[written.casefold()]} and {found} in {folder} would both be '
                                                         f'written as {written}: rename one'))
            self.count = len(self._names)
        else:
            if name != 'generator':
                raise files.UserError(f'the test pictures of {run} are for its generator: give some for {name} by --input')
            self._images, _ = savedmodel.given(run, network)
            self.count = len(self._images)
            self.names = [f'{number:06d}.png' for number in range(self.count)]

    def blocks(self, count):
        """Yields (names, uint8 [n, h, w, c]) of the first `count` pictures, BLOCK at a time; broken files are left out."""
        if not self._folder:
            for start in range(0, min(count, self.count), BLOCK):
                stop = min(start + BLOCK, count, self.count)
                yield self.names[start:stop], self._images[start:stop]
            return
        broken, names, images = [], [], []
        decoded = decoder.decoded(self._folder, self._names[:count], self._side, self._channels, self._half[1:])
        for number, (found, image, note) in enumerate(decoded):
            if image is None:
                broken.append(f'{found}: {files.reason(note)}')
                continue
            names.append(self.names[number])
            images.append(image)
            if len(images) == BLOCK:
                yield names, np.stack(images)
                names, images = [], []
        if images:
            yield names, np.stack(images)
        if broken:
            told = f'{len(broken):,} of {min(count, self.count):,} files in {self._folder} cannot be decoded'
            if len(broken) == min(count, self.count):
                raise files.UserError(files.one_line(f'{told}; the first is {broken[0]}'))
            print(files.one_line(f'{told} and are left out; the first is {broken[0]}'), file=sys.stderr)

    def both(self, network, count):
        """(the first `count` pictures uint8 [n, h, w, c], what the network makes of them uint8 [n, H, W, C])."""
        images = np.concatenate([images for _, images in self.blocks(count)])
        return images, savedmodel.translated(network, images)


def write(folder, network, source, count):
    """Writes what a network makes of the first `count` pictures of a Source into a new folder, each as a PNG of the same name.

    Subfolders are kept. Returns how many there are.
    """
    written = 0
    with files.replacing(folder) as temporary:
        temporary.mkdir()
        for names, images in source.blocks(count):
            for name, image in zip(names, savedmodel.translated(network, images), strict=True):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                iio.imwrite(temporary / name, image.squeeze(2) if image.shape[2] == 1 else image)
            written += len(names)
    return written
