"""What the tests share: the scripts, discovered; small versions of them; runs as processes of their own."""
import importlib
import pathlib
import re

import data
import run
from plumbing import flags

import drive
import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in ROOT.glob('*.py') if re.search(r'^    run\.main\(globals\(\)\)$', path.read_text(), re.M))
SMALLER = {'WIDTH': 2, 'HIDDEN': 16, 'UNROLL': 1}  # where a script has a constant of this name


def small(script):
    """{constant: value} that make a script (a module) fast and leave its story as it is."""
    constants, values = flags.constants(vars(script)), {'BATCH_SIZE': 8}
    for name, value in constants.items():
        if name.endswith('HIDDEN') and isinstance(value, tuple):
            values[name] = (16,) * len(value)
        elif name in SMALLER:
            values[name] = SMALLER[name]
        elif name.endswith('_THRESHOLD'):
            values[name] = 0.0                       # no update is skipped
    return values


def as_flags(values):
    """{constant: value} as command-line arguments."""
    words = []
    for name, value in values.items():
        flag = '--' + name.lower().replace('_', '-')
        words += [flag, *map(str, value)] if isinstance(value, tuple) else [flag, str(value)]
    return words


class Built:
    """A script whose main() has built its graph, the default one, up to run.train; `given` is what it gave to that."""

    def __init__(self, name, monkeypatch, **constants):
        class Stop(Exception):
            pass

        def train(script, **arguments):
            self.given.update(arguments)
            raise Stop

        self.script, self.given = importlib.import_module(name), {}
        monkeypatch.setattr(data, 'load', drive.load)
        monkeypatch.setattr(run, 'train', train)
        for constant, value in {**small(self.script), **constants}.items():
            monkeypatch.setattr(self.script, constant, value)
        with pytest.raises(Stop):
            self.script.main()
        tf.enable_control_flow_v2()                  # balanced_gan turns it off

    def session(self):
        session = tf.Session()
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        return session


@pytest.fixture
def fresh_graph():
    with tf.Graph().as_default() as graph:
        yield graph


@pytest.fixture
def build(fresh_graph, monkeypatch):
    """The function (name of a script, constants) -> Built, in a graph of the test's own."""
    return lambda name, **constants: Built(name, monkeypatch, **constants)


def weights(folder):
    """{name of a variable: array} of a run's last checkpoint."""
    latest = sorted(folder.glob('checkpoints/step-*.index'))[-1].with_suffix('')
    reader = tf.train.load_checkpoint(str(latest))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_run(folder, other):
    """Both runs have the same weights, bit for bit, the same reports and the same pictures."""
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (folder / 'scalars.csv').read_bytes() == (other / 'scalars.csv').read_bytes()
    pictures = sorted(path.name for path in folder.glob('samples/*'))
    assert pictures == sorted(path.name for path in other.glob('samples/*'))
    for name in pictures:
        np.testing.assert_array_equal(iio.imread(folder / 'samples' / name), iio.imread(other / 'samples' / name))
