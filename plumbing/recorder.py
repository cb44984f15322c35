"""The one writer of a run's folder while it trains: scalars, pictures, checkpoints, networks, TensorBoard events."""
import csv
import hashlib
import itertools
import json
import math
import os
import re
import socket
import sys
import time

from plumbing import checkpoints, files, naming, pixels, savedmodel

import numpy as np
import tensorflow.compat.v1 as tf
from PIL import Image
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams
from tensorboard.summary.v1 import histogram_pb, text_pb

_numbers = itertools.count()  # of event files of this process


class Recorder:
    """scalars.csv, the event file and all else that training leaves. What a killed run wrote after step `start` is removed.

    completed: runfolder.Completed. columns: {column of scalars.csv, after `step`: its section in TensorBoard}. graph_def: what
    TensorBoard shows.
    """

    def __init__(self, folder, completed, columns, start, graph_def, settings):
        self.folder, self.columns, self._completed, self._lowest, self._last = folder, columns, completed, {}, {}
        self._scalars, self._file = folder / 'scalars.csv', None
        with files.replacing(self._scalars) as temporary, open(temporary, 'w', newline='') as file:
            csv.writer(file).writerows([['step', *columns], *self._rows(start)])
        if start and completed.step != start:  # killed between the checkpoint and its record
            completed.add_checkpoint(start, self._scalars.read_bytes(), self._lowest)
        for path in pictures(folder):
            if step_of(path) > start:
                path.unlink()
        self._file = open(self._scalars, 'a', newline='', buffering=1)
        self._events = tf.io.TFRecordWriter(os.fsencode(folder / (
            f'events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}')))
        self._event(file_version='brain.Event:2')
        self._event(step=start + 1, session_log=tf.SessionLog(status=tf.SessionLog.START))
        self._event(graph_def=graph_def.SerializeToString())
        trial = {name: value for name, value in settings.items() if name not in naming.FREE and not name.endswith('_EVERY')}
        recipe = json.dumps([*columns, {**trial, 'SEED': 0}], sort_keys=True)             # of runs that are one row
        group = hashlib.sha256(recipe.encode()).hexdigest()[:8]
        self._event(step=start, summary=hparams.session_start_pb(trial, group_name=group))
        table = ['| constant | value |', '|---|---|', *(f'| {name} | {value} |' for name, value in settings.items())]
        self._event(step=start, summary=text_pb('settings', '\n'.join(map(files.one_line, table))))
        self._events.flush()

    def _rows(self, start):
        """The rows of scalars.csv up to a step, as texts. What is not as this program left it is set aside, and told."""
        try:
            content = files.content(self._scalars, most=2**30)
        except OSError:
            content = b''
        if start and not self._completed.intact(content):
            aside = self.folder / 'scalars-damaged.csv'
            if os.path.lexists(self._scalars):
                os.replace(self._scalars, aside)
            print(f'{self._scalars} is damaged or was edited: it is kept as {aside}, and a new one begins at step {start}',
                  file=sys.stderr)
            self._lowest = dict(self._completed.lowest)
            return
        for row in (line.split(',') for line in content.decode(errors='replace').splitlines()):
            try:
                step, *numbers = int(row[0]), *(float(cell or 'nan') for cell in row[1:])
            except (ValueError, IndexError):  # the heading, or what a kill has cut
                continue
            if step <= start and len(numbers) == len(self.columns):
                self._note({name: number for name, number in zip(self.columns, numbers, strict=True) if math.isfinite(number)})
                yield row

    def scalars(self, step, values):
        """values: {name: number}; what is not a column is left out, and a column without a value is left empty."""
        cells = {name: f'{values[name]:.6g}' for name in self.columns if name in values}
        self._note({name: float(cell) for name, cell in cells.items()})  # as a resumed run will read them
        csv.writer(self._file).writerow([step, *(cells.get(name, '') for name in self.columns)])
        self.tell(step, {f'{self.columns[name]}/{name}': values[name] for name in cells})

    def tell(self, step, values):
        """values: {section/name: a number, or an array for its histogram}; TensorBoard alone gets them."""
        numbers = [tf.Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items() if np.ndim(value) == 0]
        self._event(step=step, summary=tf.Summary(value=numbers))
        for tag, array in values.items():
            if np.ndim(array) and np.isfinite(array).all():
                self._event(step=step, summary=histogram_pb(tag, array.ravel()))

    def picture(self, step, picture):
        """picture: uint8 [h, w] or [h, w, 3]."""
        self.show(step, 'samples', pixels.save(self.folder / f'samples/step-{step:06d}.png', picture))

    def show(self, step, tag, path):
        """Shows a PNG file in TensorBoard."""
        with Image.open(path) as image:
            shown = tf.Summary.Image(encoded_image_string=path.read_bytes(), width=image.width, height=image.height,
                                     colorspace=len(image.getbands()))
        self._event(step=step, summary=tf.Summary(value=[tf.Summary.Value(tag=tag, image=shown)]))
        self._events.flush()

    def end(self, step, numbers):
        """Tells TensorBoard the final {name: number}, and that the run is finished."""
        self.tell(step, {f'quality/{name}': number for name, number in numbers.items()})
        self._event(step=step, summary=hparams.session_end_pb(api_pb2.STATUS_SUCCESS))
        self._events.flush()

    def checkpoint(self, step, session, saver):
        """Saves all variables; files.UserError where that fails."""
        self._file.flush()
        files.to_disk(self._scalars)
        checkpoints.save(self.folder / 'checkpoints', step, session, saver)
        self._completed.add_checkpoint(step, self._scalars.read_bytes(), self._lowest)

    def networks(self, step, networks, weights):
        """Exports `networks`, {name: networks.Network}, as those of a step; weights: {name of a variable: array}."""
        for name, network in networks.items():
            savedmodel.export(self.folder / name, network, weights)
        self._events.flush()
        self._completed.add(networks, step)

    def lowest(self, name):
        """The lowest value of a column so far; infinite where there is none."""
        return self._lowest.get(name, math.inf)

    def last(self, name):
        """The last value of a column; infinite where there is none."""
        return self._last.get(name, math.inf)

    def _note(self, values):
        self._last |= values
        for name, value in values.items():
            self._lowest[name] = min(value, self.lowest(name))

    def _event(self, summary=None, **content):
        if summary is not None:  # TensorBoard's are of a class of their own
            content['summary'] = tf.Summary.FromString(summary.SerializeToString())
        self._events.write(tf.Event(wall_time=time.time(), **content).SerializeToString())

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for close in (self._file.close, self._events.close):
            try:
                close()
            except (OSError, tf.errors.OpError):  # after a full disk; what it was about has been raised
                if not error:
                    raise


def pictures(folder):
    """The pictures that a run has drawn while training, in the order of their steps."""
    return sorted((path for path in (folder / 'samples').glob('step-*.png') if re.fullmatch(r'step-\d{6,18}\.png', path.name)),
                  key=step_of)


def step_of(path):
    """The number in the name of a picture: 500 for step-000500.png."""
    return int(path.stem.split('-')[1])
