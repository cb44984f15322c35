"""What the tests share: the scripts, discovered; small versions of them; runs as processes of their own."""
import contextlib
import csv
import importlib
import os
import pathlib
import re
import time

os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')  # before NumPy is imported: two workers on two cores wait for each other
os.environ.pop('TF_CPP_MIN_LOG_LEVEL', None)        # of the user's shell: any but the scripts' own lets lines through to stderr

import data
import ops
import run
from plumbing import flags

import drive
import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in ROOT.glob('*.py') if re.search(r'^    run\.main\(globals\(\)\)$', path.read_text(), re.M))
# A bomb: the run ends as if it was killed before it removed all but its last checkpoint.
THREE = '''
from plumbing import checkpoints
_keep = checkpoints.keep
checkpoints.keep = lambda folder, step, count: None if count == 1 else _keep(folder, step, count)
'''
SMALLER = {'WIDTH': 2, 'HIDDEN': 16, 'UNROLL': 1, 'BOUND_DRAWS': 20}  # where a script has a constant of this name


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
        elif name == 'LABELS' and value:
            values[name] = 20                        # of the 96 pictures of drive.py
        elif name == 'DECAY':
            values[name] = False                     # a run that is lengthened decays another way
    return values


def as_flags(values):
    """{constant: value} as command-line arguments."""
    words = []
    for name, value in values.items():
        flag = '--' + name.lower().replace('_', '-')
        if isinstance(value, bool):
            words.append(flag if value else flag.replace('--', '--no-', 1))
        else:
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
        tf.set_random_seed(self.script.SEED)
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


@pytest.fixture
def refused(capsys):
    """The context (complaint): what is inside ends with status 2 and one line on stderr that has the complaint in it."""
    @contextlib.contextmanager
    def ends(complaint):
        with pytest.raises(SystemExit) as caught:
            yield
        out, error = capsys.readouterr()
        assert caught.value.code == 2 and error.startswith('error: ') and error.count('\n') == 1 and not out
        assert complaint in error
    return ends


def evaluate(tensors, feed=None):
    """The values of tensors of the default graph, in a session in which all variables are new."""
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        return session.run(tensors, feed)


def with_variables(tensor):
    """(value of a tensor of the default graph, {name: initial value} of all variables)."""
    return evaluate([tensor, {v.op.name: v for v in tf.global_variables()}])


def update(loss, scope, rate=0.0):
    """One step of gradient descent; at rate 0 all that it changes is what was registered with ops.with_update."""
    return ops.minimize(tf.train.GradientDescentOptimizer(rate), loss, scope)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def softmax(logits):
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def wait_for(condition, process, seconds=120):
    """Until the condition holds or the process has ended; only a guard against waiting for ever, not a claim about speed."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def scalars(folder):
    """The rows of a run's scalars.csv: [{column: text}]."""
    return list(csv.DictReader((folder / 'scalars.csv').read_text().splitlines()))


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
