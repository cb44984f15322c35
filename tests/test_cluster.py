"""Several processes that train as one, on loopback: the weights of one process, the same bits again, and an end in any case.

Each cluster has ports of its own and a hard time limit; what is left of one is killed.
"""
import contextlib
import functools
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

import data
import launch
import ops
from plumbing import cluster, coordination, files

import forkserver
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, assert_same_run, contents, evaluate, scalars, wait_for, weights

LIMIT = 120      # seconds, of anything
PATIENCE = 60    # of a worker, in these tests
FC = '--g-hidden 16 --d-hidden 16 --batch-size 12 --grid 4 --eval-every 0 --weight-average 0.9 --sample-every 0'.split()
DCGAN = '--width 4 --hidden 16 --batch-size 12 --grid 4 --eval-every 0 --weight-average 0.9 --sample-every 0'.split()
START = f'''
import os
from plumbing import cluster
_wait = cluster.wait
def wait(*given):
    before, os.environ["GAN_PATIENCE"] = os.environ["GAN_PATIENCE"], "{LIMIT}"
    _wait(*given)
    os.environ["GAN_PATIENCE"] = before
cluster.wait = wait
'''                # a bomb that leaves time to start where the patience is short
SGD = '''
import tensorflow.compat.v1 as tf
class AdamOptimizer(tf.train.GradientDescentOptimizer):
    def __init__(self, rate, *more, **options):
        super().__init__(0.1)
        self._lr = 0.1
tf.train.AdamOptimizer = AdamOptimizer
'''


def addresses(count):
    """Addresses of ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(('127.0.0.1', 0))
        return [f'127.0.0.1:{one.getsockname()[1]}' for one in found]


def config(hosts, rank, **more):
    """TF_CONFIG of the worker `rank` of `hosts`."""
    return json.dumps({'cluster': {'worker': hosts}, 'task': {'type': 'worker', 'index': rank}, **more})


@contextlib.contextmanager
def started(count, script, *arguments, hosts=None, each=None, late=(), patience=PATIENCE, environments=None, **options):
    """`count` workers of a script, as processes. each: {rank: more arguments}; late: ranks that are not started."""
    hosts = hosts or addresses(count)
    processes = {rank: forkserver.start(script, *arguments, *(each or {}).get(rank, []), **options, environment={
        **dict.fromkeys(('OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS'), '1'),
        'TF_CONFIG': config(hosts, rank), 'GAN_PATIENCE': str(patience), **(environments or {}).get(rank, {})})
        for rank in range(count) if rank not in late}
    try:
        yield list(processes.values())
    finally:
        for process in processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()


def ended(processes):
    """[(exit status, stdout, the last line of stderr)] of processes. A traceback fails the test."""
    found, deadline = [], time.monotonic() + LIMIT
    for process in processes:
        out, error = process.communicate(max(1, deadline - time.monotonic()))
        assert 'Traceback' not in error, error
        found.append((process.returncode, out, (error.strip().splitlines() or [''])[-1]))
    return found


def train(count, script, *arguments, status=0, **options):
    """Runs a script with so many workers, or with one process without TF_CONFIG; the stdout of the chief."""
    if count == 1:
        found = [forkserver.run(script, *arguments, **options)]
    else:
        with started(count, script, *arguments, **options) as processes:
            found = ended(processes)
    assert [one[0] for one in found] == [status] * count, found
    return found[0][1]


def said(process, text):
    """Whether a process has printed a text by now."""
    try:
        return text in process._read('out')
    except FileNotFoundError:
        return False


def assert_close(folder, other, rtol):
    """Each variable to `rtol` of its largest number, or of 0.01, the order of the initial weights."""
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        scale = np.abs(theirs[name]).max()
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=rtol * max(scale, 1e-2), err_msg=name)


# who is in it

@pytest.mark.parametrize('text', ['', '{}', '{"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}'])
def test_one_task_is_no_cluster(text):
    assert cluster.parse(text) is None


def test_the_chief_comes_first():
    text = {'cluster': {'worker': ['b:2', '[::1]:3'], 'chief': ['a:1']}, 'task': {'type': 'worker', 'index': '1'}}
    worker = cluster.parse(json.dumps(text))
    assert [task.address for task in worker.tasks] == ['a:1', 'b:2', '[::1]:3'] and (worker.rank, worker.chief) == (2, False)
    assert cluster.parse(json.dumps({**text, 'task': {'type': 'chief', 'index': 0}})).chief


@pytest.mark.parametrize('text', [
    '{', '[]', '7', 'null', '{"cluster": 3}', '{"cluster": {"worker": "a:1"}}', '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}}',
    '{"cluster": {"chief": ["a:1", "b:1"], "worker": ["c:1"]}}', '{"cluster": {"worker": ["a:1", "a:1"]}}',
    '{"cluster": {"worker": ["a", "b:1"]}}', '{"cluster": {"worker": ["a:0", "b:1"]}}',
    '{"cluster": {"worker": ["a:65536", "b:1"]}}',
    '{"cluster": {"worker": ["a:1", 7]}}', '{"cluster": {"worker": ["a:1", "b:1"]}}',
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": 3}', '[' * 9999, '{"cluster": {"worker": ["a\\n:1", "b:1"]}}'])
def test_a_malformed_tf_config_is_one_line_with_an_example(text):
    with pytest.raises(files.UserError, match='^TF_CONFIG is malformed .*"task": {"type": "worker", "index": 0}}$') as caught:
        cluster.parse(text)
    assert caught.value.status == 2 and '\n' not in str(caught.value)


@pytest.mark.parametrize('text', ['0', '-1', '1.5', 'long', '9' * 8])
def test_patience_is_a_number_of_seconds(text, monkeypatch):
    monkeypatch.setenv('GAN_PATIENCE', text)
    with pytest.raises(files.UserError, match='GAN_PATIENCE is a whole number of seconds'):
        cluster.patience()


@pytest.fixture
def joined(monkeypatch):
    """The function (rank, size, batch size) that makes the default graph one of a worker, without any network."""
    def join(rank, size, batch_size):
        monkeypatch.setenv('TF_CONFIG', config([f'127.0.0.1:{1 + number}' for number in range(size)], rank))
        monkeypatch.setattr(cluster, 'wait', lambda *given: None)
        script = {'BATCH_SIZE': batch_size}
        cluster.join(script)
        return script['BATCH_SIZE']
    return join


@pytest.mark.parametrize('batch_size', [7, None, 'many'])
def test_a_batch_that_cannot_be_shared_out(batch_size, joined, fresh_graph):
    with pytest.raises(files.UserError, match=f'^BATCH_SIZE is {batch_size}, which 2 workers cannot share out: give a'):
        joined(0, 2, batch_size)


def test_the_settings_of_a_run_are_those_of_all_workers(joined, fresh_graph):
    assert joined(1, 3, 12) == 4 and cluster.whole({'BATCH_SIZE': 4, 'SEED': 0}) == {'BATCH_SIZE': 12, 'SEED': 0}


@pytest.mark.parametrize('size', [2, 3])
def test_each_worker_takes_its_rows_of_what_one_process_draws(size, joined):
    """Twice, of a data set of 20 in batches of 12, which run over into the next epoch."""
    images = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    labels = np.arange(20)

    def drawn(batch_size):
        tf.set_random_seed(3)
        x, label = data.batches((images, labels), batch_size)
        found = [x, label, ops.noise([batch_size, 5]), ops.uniform([batch_size, 2, 3], 'u', -1, 1),
                 ops.category(batch_size, 4, 'category'), ops.dropout(tf.ones([batch_size, 9]) + 0 * x[:, 0, 0, :1], 0.5, 'mask'),
                 ops.uniform([3 * batch_size, 2], 'packs')]
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            return [session.run(found) for _ in range(2)]

    with tf.Graph().as_default():
        whole = drawn(12)
    shares = []
    for rank in range(size):
        with tf.Graph().as_default():
            shares.append(drawn(joined(rank, size, 12)))
    for number, step in enumerate(whole):
        for i, expected in enumerate(step):
            together = np.concatenate([share[number][i] for share in shares])
            np.testing.assert_array_equal(together, expected)


def test_numbers_that_are_not_of_rows_are_the_same_on_all_workers(joined):
    """One for the whole batch, or some for each class, say."""
    found = []
    for rank in range(2):
        with tf.Graph().as_default():
            joined(rank, 2, 16)
            found.append(evaluate([ops.uniform([], 'one'), ops.noise([1, 4], 'row'), ops.uniform([10, 8], 'classes')]))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_workers_graphs_differ_in_one_constant(joined):
    defs = []
    for rank in range(2):
        with tf.Graph().as_default() as graph:
            batch_size = joined(rank, 2, 16)
            data.batches(np.zeros([20, 2, 2, 1], np.uint8), batch_size)
            ops.noise([batch_size, 4])
            for node in (graph_def := graph.as_graph_def()).node:
                node.attr.pop('token', None)
            defs.append({node.name: node for node in graph_def.node})
    assert defs[0].keys() == defs[1].keys() and [name for name in defs[0] if defs[0][name] != defs[1][name]] == ['cluster/rank']


def test_without_tf_config_nothing_is_added_to_the_graph(fresh_graph, monkeypatch):
    """The seams are the plain operations: TensorFlow's batch norm, gradients as they are, the shape as it is asked for."""
    monkeypatch.delenv('TF_CONFIG', raising=False)
    script, given = {'BATCH_SIZE': 7}, []
    cluster.join(script)
    assert script == {'BATCH_SIZE': 7} == cluster.whole(script) and not fresh_graph.get_operations()
    gradients = [tf.zeros([3]), None]
    assert cluster.mean(gradients) is gradients and cluster.rows([7, 2], lambda shape: given.append(shape) or 5) == 5
    assert given == [[7, 2]] and isinstance(coordination.find_team(), coordination.Alone) and cluster.is_chief()
    operations = len(fresh_graph.get_operations())
    cluster.batch_norm(tf.zeros([2, 1, 1, 3]), tf.ones([3]), tf.zeros([3]), 1e-5)
    assert {node.type for node in fresh_graph.get_operations()[operations:]} == {'Const', 'FusedBatchNormV3'}


def test_an_update_under_a_condition_is_refused(joined, fresh_graph):
    joined(0, 2, 8)
    w = tf.get_variable('net/w', [], use_resource=True)
    tf.disable_control_flow_v2()
    try:
        with pytest.raises(files.UserError, match="the update 'd_step' depends on a condition"):
            tf.cond(w > 0, lambda: ops.minimize(tf.train.GradientDescentOptimizer(1.0), w, 'net/', 'd_step'), tf.no_op)
    finally:
        tf.enable_control_flow_v2()


def test_a_gradient_of_a_gradient_through_common_statistics_is_refused(joined, fresh_graph, monkeypatch):
    """Its derivation leaves the statistics constant, so that it would be wrong; one process, or own statistics, have it."""
    joined(0, 2, 8)
    x = tf.zeros([4, 3])
    slope, = tf.gradients(ops.batch_norm(x, True, 'common') ** 2, x)
    with pytest.raises(files.UserError, match='^a gradient of a gradient through batch norm over several workers is not known'):
        tf.gradients(slope ** 2, x)
    monkeypatch.setattr(cluster, 'COMMON_STATISTICS', False)
    slope, = tf.gradients(ops.batch_norm(x, True, 'own') ** 2, x)
    assert tf.gradients(slope ** 2, x)[0] is not None


def test_a_port_that_is_taken(refused):
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        with refused('cannot be had (Address already in use): end the program that has it'), files.one_line_errors():
            coordination._check_port(cluster.Task('worker', 0, f'127.0.0.1:{other.getsockname()[1]}'))


def test_a_peer_that_does_not_come_is_named(monkeypatch, capsys):
    monkeypatch.setenv('GAN_PATIENCE', '3')
    hosts = addresses(2)
    with pytest.raises(files.Lost, match=re.escape(f'worker 1 ({hosts[1]}) did not come within 3 s (GAN_PATIENCE)')) as caught:
        cluster.wait(cluster.parse(config(hosts, 0)), [1])
    assert caught.value.status == 75 and capsys.readouterr().out == f'worker 0 of 2: waits for worker 1 ({hosts[1]})\n'


@pytest.mark.parametrize('dtype', [tf.float32, tf.float64, tf.int32, tf.int64, tf.bool, tf.uint8])
def test_variables_travel_as_their_bits(dtype, fresh_graph):
    """-0.0 and NaN too, which a sum of numbers would not keep."""
    value = np.array([[0, 1, 2], [3, 0, 1]]).astype(dtype.as_numpy_dtype)
    if dtype.is_floating:
        value[0], value[1, 2] = [-0.0, np.nan, np.inf], 1e-40
    variable = tf.get_variable('v', initializer=value, use_resource=True)
    found = evaluate(coordination._from_words(coordination._words(variable.read_value()) + 0, variable))
    assert found.dtype == value.dtype and found.tobytes() == value.tobytes()


# N workers are one process

@pytest.mark.slow
@pytest.mark.parametrize('script, arguments', [
    ('gan_fc', [*FC, '--no-batch-norm', '--dropout', '0.3']), ('gan_fc', FC), ('dcgan', DCGAN)])
@pytest.mark.parametrize('count', [2, 3])
def test_workers_end_at_the_weights_of_one_process(count, script, arguments, tmp_path):
    """By gradient descent, whose updates are linear in the gradients; the batch norm's moving averages and the EMA too."""
    given = [*arguments, '--steps', 3, '--log-every', 1, '--precision', 'float32']
    for n in 1, count:
        train(n, script, *given, '--run-dir', tmp_path / str(n), bomb=SGD)
    assert_close(tmp_path / str(count), tmp_path / '1', 1e-5)
    for one, other in zip(scalars(tmp_path / '1'), scalars(tmp_path / str(count)), strict=True):
        assert {name: float(value) for name, value in other.items()} == pytest.approx(
            {name: float(value) for name, value in one.items()}, rel=1e-4)


@pytest.mark.slow
def test_adam_differs_by_rounding(tmp_path):
    """It divides by the size of the gradient: where that is but rounding, as of a bias before batch norm, so is the step."""
    for n in 1, 2:
        train(n, 'gan_fc', *FC, '--no-batch-norm', '--steps', 5, '--precision', 'float32', '--run-dir', tmp_path / str(n))
    assert_close(tmp_path / '2', tmp_path / '1', 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('bomb, given', [
    ('', ['--steps', 8]), ('from plumbing import cluster\ncluster.COMMON_STATISTICS = False', ['--epochs', 1])],
    ids=['all', 'own'])
def test_16_bits_and_own_statistics(bomb, given, tmp_path):
    """The same on both workers, which is verified at the end; an epoch is that of one process: 96 pictures, 12 at a time."""
    out = train(2, 'dcgan', *DCGAN, *given, '--log-every', 4, '--run-dir', tmp_path / 'run', bomb=bomb)
    assert 'at step 0 of 8' in out and [row['step'] for row in scalars(tmp_path / 'run')] == ['4', '8']


# something goes wrong

def one_line(found, status, told):
    """What a worker that could not go on has left: (exit status, stdout, last line of stderr)."""
    assert found[0] == status and re.fullmatch(f'error: {told}', found[2]), found


NAMED = r'worker \d \(127\.0\.0\.1:\d+\)'
GIVEN = [*FC, '--log-every', 5, '--checkpoint-every', 5]
DIFFERENT = {    # what a worker has that the chief has not: (its flags, its environment, what both are told)
    'a flag': (['--g-hidden', 8, 16], {}, r'G_HIDDEN is \[16\] for worker 0 \(\S+\) but \[8, 16\] for worker 1 \(\S+\): '
                                          'give all workers the same'),
    'steps': (['--steps', 6], {}, r'STEPS is 5 for worker 0 \(\S+\) but 6 for worker 1 \(\S+\): give all workers the same'),
    'data': ([], {'DRIVE_COUNT': '95'}, r"data is \['96x28x28x1 \w{8}'\] for worker 0 \(\S+\) but \['95x28x28x1 \w{8}'\] for "
                                        r'worker 1 \(\S+\): bring the same to all machines')}


@pytest.mark.slow
@pytest.mark.parametrize('what', DIFFERENT)
def test_workers_that_differ_are_told_so(what, tmp_path):
    flags, environment, told = DIFFERENT[what]
    with started(2, 'gan_fc', *GIVEN, '--steps', 5, '--run-dir', tmp_path / 'run', each={1: flags},
                 environments={1: environment}) as processes:
        for found in ended(processes):
            one_line(found, 2, told)
    assert not (tmp_path / 'run').exists()


@pytest.mark.slow
def test_edited_code_of_one_worker_is_named(tmp_path):
    edited = tmp_path / 'gan_fc.py'
    edited.write_text((ROOT / 'gan_fc.py').read_text().replace('tf.nn.leaky_relu(h)', 'tf.nn.leaky_relu(h, 0.1)'))
    hosts = addresses(2)
    with started(2, 'gan_fc', *GIVEN, '--run-dir', tmp_path / 'run', hosts=hosts, late=[1]) as one, \
            started(2, edited, *GIVEN, '--run-dir', tmp_path / 'run', hosts=hosts, late=[0]) as other:
        for found in ended([*one, *other]):
            one_line(found, 2, r'gan_fc\.py of worker 1 \(\S+\) is not that of worker 0 \(\S+\) \(.*differs\): bring the same '
                               'code to all machines')


@pytest.mark.slow
def test_a_run_folder_of_other_settings_stops_the_chief_and_is_not_touched(tmp_path):
    train(1, 'gan_fc', *GIVEN, '--steps', 5, '--run-dir', tmp_path)
    before = contents(tmp_path)
    with started(2, 'gan_fc', *GIVEN, '--steps', 5, '--seed', 1, '--run-dir', tmp_path, patience=2) as processes:
        chief, other = ended(processes)
    one_line(chief, 2, '.* is a run with other settings: SEED was 0, now 1; .*')
    one_line(other, files.LOST, r'worker 0 \(\S+\) did not come within 2 s \(GAN_PATIENCE\): .*')
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_late_workers_are_waited_for(tmp_path):
    hosts = addresses(2)
    with started(2, 'gan_fc', *GIVEN, '--steps', 5, '--run-dir', tmp_path / 'run', hosts=hosts, late=[0]) as others:
        wait_for(lambda: said(others[0], 'waits for worker 0'), others[0], LIMIT)
        assert said(others[0], 'waits for worker 0')
        with started(2, 'gan_fc', *GIVEN, '--steps', 5, '--run-dir', tmp_path / 'run', hosts=hosts, late=[1]) as chief:
            assert [found[0] for found in ended([*chief, *others])] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize('rank', [0, 1])
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_ends_the_others(number, rank, tmp_path):
    """One line that names it, or says that it does not answer; then the same commands end with the bits of an undisturbed run."""
    given = [*GIVEN, '--steps', 2000, '--checkpoint-every', 50, '--run-dir', tmp_path / 'run']
    with started(3, 'gan_fc', *given, patience=15, bomb=START) as processes:
        wait_for(lambda: list(tmp_path.glob('run/checkpoints/*.index')), processes[0], LIMIT)
        processes[rank].send_signal(number)
        for found in ended([process for process in processes if process is not processes[rank]]):
            one_line(found, files.LOST, rf'({NAMED}( and {NAMED})* (is|are) gone|another worker has not answered within 15 s '
                                        r'\(GAN_PATIENCE\)): run the same command on all workers to resume from the last '
                                        'checkpoint')
    assert list(tmp_path.glob('run/checkpoints/*.index'))


@pytest.mark.slow
def test_a_second_signal_ends_a_worker_that_waits_for_one_that_hangs(tmp_path):
    with started(2, 'gan_fc', *GIVEN, '--steps', 5000, '--run-dir', tmp_path / 'run', patience=LIMIT) as (chief, other):
        wait_for(lambda: list(tmp_path.glob('run/checkpoints/*.index')), chief, LIMIT)
        other.send_signal(signal.SIGSTOP)
        for _ in range(2):
            chief.send_signal(signal.SIGTERM)
            time.sleep(1)
        found, = ended([chief])
    assert found[0] == 128 + signal.SIGTERM and found[2] == 'stopped by SIGTERM; what was saved is kept'


@pytest.mark.slow
@pytest.mark.parametrize('rank, statuses', [(0, [-9, files.LOST]), (1, [0, -9])])
def test_killed_while_the_chief_measures(rank, statuses, tmp_path):
    """Who waits for the chief's measurements has no limit of time, but notices its death; a chief that has all ends alone."""
    bomb = f"""
import time, viz
_film = viz.film
def film(*given):
    open({str(tmp_path / 'there')!r}, 'w')
    while not __import__('os').path.exists({str(tmp_path / 'go on')!r}):
        time.sleep(0.1)
    _film(*given)
viz.film = film
"""
    with started(2, 'gan_fc', *GIVEN, '--steps', 5, '--run-dir', tmp_path / 'run', bomb=START + bomb, patience=15) as processes:
        wait_for((tmp_path / 'there').exists, processes[0], LIMIT)
        time.sleep(20)                                                # longer than the patience
        assert not any(process.poll() is not None for process in processes)
        processes[rank].kill()
        (tmp_path / 'go on').touch()
        found = ended(processes)
    assert [one[0] for one in found] == statuses, found


WRONG = {   # what each worker's process is made to do, and what all workers are told
    'a loss that is not finite': (
        'import tensorflow.compat.v1 as tf\n_mean = tf.reduce_mean\n'
        'tf.reduce_mean = lambda x, *axis, name=None: _mean(x, *axis, name=name) / (0.0 if name == "d_loss" else 1.0)',
        'd_loss is inf at step 1; .*'),
    'gradients that pass by': ('from plumbing import cluster\ncluster.mean = lambda tensors: tensors',
                               r'\S+ and \d+ more variables are not the same on all workers: an update has passed by .*')}


@pytest.mark.slow
@pytest.mark.parametrize('what', WRONG)
def test_all_workers_end_with_the_same_line(what, tmp_path):
    bomb, told = WRONG[what]
    with started(2, 'gan_fc', *GIVEN, '--steps', 5, '--run-dir', tmp_path / 'run', bomb=bomb) as processes:
        for found in ended(processes):
            one_line(found, 2, told)


def test_what_may_differ_between_workers_and_what_not(joined, fresh_graph):
    """The same pictures may be in another place on each machine, and so may the data and the run."""
    joined(0, 2, 8)
    settings = {'DATASET': '/a', 'PICTURES': 'sum', 'DATA_DIR': '/x', 'RUN_DIR': 'r', 'SEED': 0}
    facts = {'tensorflow': '2.21.0', 'settings': settings}
    compare = functools.partial(coordination.Team._compare, types.SimpleNamespace(worker=cluster.here()))
    compare([facts, {**facts, 'settings': {**settings, 'DATASET': '/b', 'DATA_DIR': '', 'RUN_DIR': ''}}])
    pairs = {**settings, 'SOURCE': '/a/x', 'SOURCE_PICTURES': 'other sum'}
    compare([{**facts, 'settings': pairs}, {**facts, 'settings': {**pairs, 'DATASET': '/b', 'SOURCE': '/b/x'}}])
    for name, value in ('PICTURES', 'other'), ('SEED', 1):
        with pytest.raises(files.UserError, match=f'^{name} is .* for worker 0 .* but {value!r} for worker 1 .*: give all'):
            compare([facts, {**facts, 'settings': {**settings, name: value}}])
    with pytest.raises(files.UserError, match=r'^tensorflow is 2\.21\.0 for worker 0 .* but 2\.16\.1 for worker 1 .*: bring'):
        compare([facts, {**facts, 'tensorflow': '2.16.1'}])


# again

LONG = [*FC, '--steps', 60, '--log-every', 10, '--checkpoint-every', 10, '--sample-every', 30]


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """A run of two workers."""
    folder = tmp_path_factory.mktemp('undisturbed') / 'run'
    train(2, 'gan_fc', *LONG, '--run-dir', folder)
    return folder


@pytest.mark.slow
def test_the_same_cluster_gives_the_same_bits(undisturbed, tmp_path):
    train(2, 'gan_fc', *LONG, '--run-dir', tmp_path / 'run')
    assert_same_run(tmp_path / 'run', undisturbed)
    record = json.loads((tmp_path / 'run/settings.json').read_text())
    assert record['settings']['BATCH_SIZE'] == 12 and record['versions'][-1]['workers'] == 2
    assert 'trains further' in train(2, 'gan_fc', *LONG, '--run-dir', tmp_path / 'run')


@pytest.mark.slow
@pytest.mark.parametrize('killed', [[1], [0], [0, 1]], ids=['a worker', 'the chief', 'all'])
def test_killed_at_any_moment_it_ends_with_the_same_bits(killed, undisturbed, tmp_path):
    moments, run = random.Random(str(killed)), [*LONG, '--run-dir', tmp_path / 'run']
    for number in range(2):
        with started(2, 'gan_fc', *run, patience=15, bomb=START) as processes:
            if number == 0:
                wait_for(lambda: list(tmp_path.glob('run/checkpoints/step-0000[23]0.index')), processes[0], LIMIT)
            else:
                wait_for(lambda: said(processes[1], 'at step'), processes[0], LIMIT)
                time.sleep(moments.uniform(0, 1))
            for rank in killed:
                processes[rank].kill()
            for process in processes:
                process.communicate(LIMIT)
    train(2, 'gan_fc', *run)
    assert_same_run(tmp_path / 'run', undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize('rank', [0, 1])
def test_a_signal_at_any_worker_stops_all_at_the_same_step(rank, undisturbed, tmp_path):
    run = [*LONG, '--run-dir', tmp_path / 'run']
    with started(2, 'gan_fc', *run) as processes:
        wait_for(lambda: list(tmp_path.glob('run/checkpoints/step-000010.index')), processes[0], LIMIT)
        processes[rank].send_signal(signal.SIGTERM)
        chief, other = ended(processes)
    assert chief[0] == other[0] == 128 + signal.SIGTERM
    step, = re.findall(r'stopped and saved at step (\d+) of 60; run the same command to resume', chief[1])
    assert f'resumes at step {step} of 60' in train(2, 'gan_fc', *run)
    assert_same_run(tmp_path / 'run', undisturbed)


@pytest.mark.slow
def test_another_number_of_workers_goes_on_and_says_so(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / 'run')
    for step, (before, now) in zip((70, 80, 90), [(2, 3), (3, 1), (1, 2)], strict=True):
        out = train(now, 'gan_fc', *LONG, '--run-dir', folder, '--steps', step)
        assert f'workers was {before}, now {now}: bits may differ from here on' in out and f'resumes at step {step - 10}' in out
    history = json.loads((folder / 'settings.json').read_text())['versions']
    assert [(found['step'], found.get('workers', 1)) for found in history] == [(0, 2), (60, 3), (70, 1), (80, 2)]


# another implementation of the same

GRADIENTS = '''
import os, sys
import gan_fc, ops
from plumbing import cluster, coordination
import numpy as np
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from tensorflow.python.distribute import collective_all_reduce_strategy

tf.disable_eager_execution()
path, rank, theirs = sys.argv[1], int(sys.argv[2]), sys.argv[3] == 'theirs'
gan_fc.BATCH_NORM, gan_fc.DROPOUT, gan_fc.G_HIDDEN, gan_fc.D_HIDDEN = False, 0.0, (16,), (16,)
kept = {}

class Kept(tf.train.GradientDescentOptimizer):
    def apply_gradients(self, gradients, **more):
        kept.update({v.op.name: gradient for gradient, v in gradients})
        return super().apply_gradients(gradients, **more)

def losses():
    tf.set_random_seed(0)
    rows = slice(4 * rank, 4 * rank + 4)
    x, z = (np.random.default_rng(0).standard_normal(shape).astype(np.float32)[rows] for shape in ([8, 28, 28, 1], [8, 64]))
    return gan_fc.losses(gan_fc.discriminator(tf.constant(x)), gan_fc.discriminator(gan_fc.generator(tf.constant(z), True)))

def by_the_strategy():
    found = {}
    for loss, scope in zip(losses(), ('discriminator/', 'generator/'), strict=True):
        variables = [v for v in tf.trainable_variables() if v.op.name.startswith(scope)]
        means = tf2.distribute.get_replica_context().all_reduce('MEAN', tf.gradients(loss, variables))
        found.update(zip([v.op.name for v in variables], means, strict=True))
    return found

if theirs:
    resolver = tf2.distribute.cluster_resolver.TFConfigClusterResolver()
    strategy = collective_all_reduce_strategy.CollectiveAllReduceStrategyV1(cluster_resolver=resolver)
    options = strategy.update_config_proto(tf.ConfigProto())
    server = tf.train.Server(resolver.cluster_spec(), 'worker', rank, config=options)
    with strategy.scope():
        kept = strategy.extended.call_for_each_replica(by_the_strategy)
        kept = {name: strategy.experimental_local_results(value)[0] for name, value in kept.items()}
    opened = tf.Session(server.target, config=options)
else:
    script = {'BATCH_SIZE': 8}
    cluster.join(script)
    d_loss, g_loss = losses()
    ops.minimize(Kept(0.1), d_loss, 'discriminator/')
    ops.minimize(Kept(0.1), g_loss, 'generator/')
    opened = coordination.find_team().session(tf.ConfigProto(), {})
with opened as session:
    session.run(tf.global_variables_initializer())
    np.savez(path, **{name.replace('/', '.'): value for name, value in session.run(kept).items()})
    os._exit(0)
'''


@pytest.mark.slow
def test_gradients_are_those_of_multi_worker_mirrored_strategy(tmp_path):
    """TensorFlow's own, in graph mode, on the same rows; its means, like ours, are the same on both workers."""
    found = {}
    for who in 'ours', 'theirs':
        with started(2, 'gan_fc', bomb=GRADIENTS, driven=False,
                     each={rank: [tmp_path / f'{who}-{rank}.npz', rank, who] for rank in range(2)}) as processes:
            assert [one[0] for one in ended(processes)] == [0, 0]
        arrays = [dict(np.load(tmp_path / f'{who}-{rank}.npz')) for rank in range(2)]
        for name in arrays[0]:
            np.testing.assert_array_equal(arrays[0][name], arrays[1][name], err_msg=name)
        found[who] = arrays[0]
    assert len(found['ours']) == 8 and found['ours'].keys() == found['theirs'].keys()
    for name, ours in found['ours'].items():
        assert np.abs(ours).max() > 0
        np.testing.assert_allclose(ours, found['theirs'][name], rtol=1e-5, atol=1e-6 * np.abs(ours).max(), err_msg=name)


# launch.py

def launched(capfd, tmp_path, program, *arguments):
    """Launches a program of a few lines: (exit status, lines of stdout, lines of stderr)."""
    (tmp_path / 'program.py').write_text('import json, os, signal, sys, time\n'
                                         'rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]\n' + program)
    with pytest.raises(SystemExit) as caught:
        launch.main([*arguments, str(tmp_path / 'program.py'), '--flag', 'a b'])
    out, error = capfd.readouterr()
    return caught.value.code, sorted(out.splitlines()), sorted(error.splitlines())


def test_each_worker_has_its_number_in_tf_config_and_its_threads(capfd, tmp_path, monkeypatch):
    for name in launch.jobs.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(launch.jobs, 'cores', lambda: 7)
    status, out, error = launched(capfd, tmp_path, """
print(os.environ["TF_CONFIG"], os.environ["TF_NUM_INTRAOP_THREADS"], sys.argv[1:])
print("half\\rline", file=sys.stderr)
""", '-n', '3')
    assert status == 0 and error == [f'[{rank}] {part}' for rank in range(3) for part in ('half', 'line')]
    workers = [cluster.parse(line.removeprefix(f'[{rank}] ').partition(' 2 [')[0]) for rank, line in enumerate(out)]
    assert [worker.rank for worker in workers] == [0, 1, 2] and len({str(worker.tasks) for worker in workers}) == 1
    assert all(line.endswith("} 2 ['--flag', 'a b']") for line in out)


def test_each_worker_has_a_device_of_its_own(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,2')
    assert launched(capfd, tmp_path, 'print(os.environ["CUDA_VISIBLE_DEVICES"])')[:2] == (0, ['[0] 4', '[1] 2'])


@pytest.mark.parametrize('ends, status', [('sys.exit(3)', 3), ('os.kill(os.getpid(), signal.SIGKILL)', 128 + 9)])
def test_when_one_fails_the_others_are_ended(ends, status, capfd, tmp_path, monkeypatch):
    """By SIGTERM after a while, and who does not mind that by SIGKILL."""
    monkeypatch.setattr(launch, 'GRACE', 0.3)
    program = f"""
if rank == 1:
    {ends}
if rank == 2:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(100)
"""
    assert launched(capfd, tmp_path, program, '-n', '3')[0] == status


def test_a_signal_is_passed_on_once(tmp_path):
    """To each worker, and not by the terminal as well."""
    (tmp_path / 'program.py').write_text("""
import signal, sys, time
def stop(number, frame):
    print('got', number, flush=True)
    time.sleep(0.5)
    sys.exit(128 + number)
signal.signal(signal.SIGINT, stop)
print('there', flush=True)
time.sleep(100)
""")
    process = subprocess.Popen([sys.executable, str(ROOT / 'launch.py'), '-n', '2', str(tmp_path / 'program.py')], text=True,
                               stdout=subprocess.PIPE, start_new_session=True)
    assert sorted(process.stdout.readline() for _ in range(2)) == ['[0] there\n', '[1] there\n']
    launch.os.killpg(process.pid, signal.SIGINT)
    assert sorted(process.communicate(timeout=LIMIT)[0].splitlines()) == ['[0] got 2', '[1] got 2']
    assert process.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize('arguments, complaint', [
    (['nothing.py'], 'there is no script nothing.py'), (['../nothing.py'], 'there is no script ../nothing.py'),
    (['-n', '0', 'toy.py'], 'a whole number from 1 to 64'),
    (['--stepz'], 'the following arguments are required')])
def test_mistakes_of_the_launcher_are_one_line(arguments, complaint, refused):
    with refused(complaint):
        launch.main(arguments)


# the page

BASH = re.findall(r'^```bash\n(.*?)^```$', (ROOT / 'docs/cluster.md').read_text(), re.M | re.S)
STANDINS = '''
set -e
ssh() { sh -c "$2"; }
cd() { :; }
scontrol() { printf '%s\\n' host1 host2; }
srun() { for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@"; done; }
'''


@pytest.mark.parametrize('way', [0, 1], ids=['ssh', 'slurm'])
def test_what_the_page_says_gives_each_host_its_tf_config(way, tmp_path):
    (tmp_path / 'gans').mkdir()
    (tmp_path / 'python').write_text('#!/bin/sh\necho "$TF_CONFIG" "$@"\n')
    (tmp_path / 'python').chmod(0o755)
    done = subprocess.run(['bash', '-c', STANDINS + BASH[way]], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT,
                          env={'PATH': f'{tmp_path}:{launch.os.environ["PATH"]}', 'SLURM_JOB_NODELIST': 'host[1-2]'})
    workers = [cluster.parse(line.removesuffix(' dcgan.py --dataset mnist')) for line in done.stdout.splitlines()]
    assert sorted(worker.rank for worker in workers) == [0, 1] and not done.stderr
    assert all([task.address for task in worker.tasks] == ['host1:2222', 'host2:2222'] for worker in workers)


def test_the_manifest_agrees_with_the_schema_of_kubernetes():
    """And its TF_CONFIG, once Kubernetes has put the number in, with ours."""
    kubernetes_validate, yaml = pytest.importorskip('kubernetes_validate'), pytest.importorskip('yaml')
    found = {part['kind']: part for part in yaml.safe_load_all((ROOT / 'docs/cluster.yaml').read_text())}
    for part in found.values():
        kubernetes_validate.validate(part, kubernetes_validate.latest_version(), strict=True)
    job = found['Job']['spec']
    container, = job['template']['spec']['containers']
    text = next(variable['value'] for variable in container['env'] if variable['name'] == 'TF_CONFIG')
    workers = [cluster.parse(text.replace('$(INDEX)', str(rank))) for rank in range(job['completions'])]
    assert [worker.size for worker in workers] == [job['completions']] * job['parallelism']
    assert {int(task.address.partition(':')[2]) for task in workers[0].tasks} == {container['ports'][0]['containerPort']}
    failed = job['podFailurePolicy']['rules'][0]
    assert failed['action'] == 'FailJob' and failed['onExitCodes']['values'] == [files.UserError.status]


@pytest.mark.slow
def test_launched_by_one_command(tmp_path):
    """The real thing: a wrong flag is status 2, and the lines of both workers have their numbers."""
    given = ['gan_fc.py', *map(str, GIVEN), '--run-dir', str(tmp_path / 'run')]
    command = [sys.executable, str(ROOT / 'launch.py'), '-n', '2', *given]
    for more, status, told in (['--steps', '5'], 0, '[0] finished: look at'), (['--stepz', '5'], 2, '[1] error: unrecognized'):
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == status and told in done.stdout + done.stderr, done.stderr
    assert (tmp_path / 'run/samples.gif').exists()
