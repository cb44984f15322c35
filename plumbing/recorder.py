"""The one writer of a run's folder while it trains: scalars, pictures, checkpoints, networks, TensorBoard events."""
import csv
import math

from plumbing import files, runfolder, savedmodel

import imageio.v3 as iio
import tensorflow.compat.v1 as tf
from tensorboard.summary.v1 import text_pb


class Recorder:
    """scalars.csv, the event file and all else that training leaves. What a killed run wrote after step `start` is removed.

    columns: of scalars.csv, after `step`. graph_def: what TensorBoard shows.
    """

    def __init__(self, folder, columns, start, graph_def, settings):
        self.folder, self.columns, self._lowest = folder, columns, {}
        path = folder / 'scalars.csv'
        old = list(csv.reader(path.read_text().splitlines())) if path.exists() else []
        old = [row for row in old[1:] if len(row) == len(columns) + 1 and int(row[0]) <= start]
        with files.replacing(path) as temporary, open(temporary, 'w', newline='') as file:
            csv.writer(file).writerows([['step', *columns], *old])
        for _, *cells in old:
            self._note({name: float(text) for name, text in zip(columns, cells, strict=True) if text})
        self._file = open(path, 'a', newline='', buffering=1)
        self._events = tf.summary.FileWriter(str(folder))
        self._events.add_session_log(tf.SessionLog(status=tf.SessionLog.START), start + 1)
        self._events.add_graph(None, graph_def=graph_def)
        table = ['| constant | value |', '|---|---|', *(f'| {name} | {value} |' for name, value in settings.items())]
        self._events.add_summary(text_pb('settings', '\n'.join(table)), start)

    def scalars(self, step, values):
        """values: {name: number}; what is not a column is left out, and a column without a value is left empty."""
        cells = {name: f'{values[name]:.6g}' for name in self.columns if name in values}
        self._note({name: float(cell) for name, cell in cells.items()})  # as a resumed run will read them
        csv.writer(self._file).writerow([step, *(cells.get(name, '') for name in self.columns)])
        summary = [tf.Summary.Value(tag=name, simple_value=float(values[name])) for name in cells]
        self._events.add_summary(tf.Summary(value=summary), step)

    def picture(self, step, picture):
        """picture: uint8 [h, w] or [h, w, 3]."""
        path = self.folder / f'samples/step-{step:06d}.png'
        with files.replacing(path) as temporary:
            iio.imwrite(temporary, picture)
        image = tf.Summary.Image(encoded_image_string=path.read_bytes())
        self._events.add_summary(tf.Summary(value=[tf.Summary.Value(tag='samples', image=image)]), step)

    def checkpoint(self, step, session, saver):
        """Saves all variables; files.UserError where that fails."""
        try:
            saver.save(session, str(self.folder / f'checkpoints/step-{step:06d}'), write_meta_graph=False)
        except tf.errors.OpError as error:
            raise files.UserError(f'cannot save step {step}: {files.reason(error)}') from None
        self._events.flush()

    def network(self, name, network, values):
        """Exports a network under `name`; values: {name of a variable: array}."""
        savedmodel.export(self.folder / name, network, values)

    def lowest(self, name):
        """The lowest value of a column so far; infinite where there is none."""
        return self._lowest.get(name, math.inf)

    def _note(self, values):
        for name, value in values.items():
            self._lowest[name] = min(value, self.lowest(name))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()
        self._events.close()


def pictures(folder):
    """The pictures that a run has drawn while training, in the order of their steps."""
    return sorted((folder / 'samples').glob('step-*.png'), key=runfolder.step_of)
