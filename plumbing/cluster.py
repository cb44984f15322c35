"""Several processes that train as one, through TensorFlow's own servers and collectives, as TF_CONFIG says.

Each worker has the whole graph and takes its rows of every batch and of every random draw; gradients, the statistics of batch
norm and what is reported are reduced over the workers, so that their weights stay the same. Without TF_CONFIG, or with one task
in it, every function here leaves the graph as it is.

A worker whose peer is gone ends with files.LOST. GPUs and NCCL are written for, and were not run: there was no GPU at hand.
"""
import contextlib
import itertools
import json
import math
import os
import re
import signal
import socket
import sys
import threading
import time
import typing
import zlib

from plumbing import code, files, graph
from plumbing.files import UserError

import numpy as np
import tensorflow.compat.v1 as tf

PATIENCE = 600            # seconds that a worker waits for the others; the environment variable GAN_PATIENCE sets it
COMMON_STATISTICS = True  # batch norm over the rows of all workers; False: of each worker's own, faster but another algorithm
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
ON_CPU, ON_ANY = 1, 2     # group keys: of what is agreed on, which stays on the CPU; of what is computed, perhaps on a GPU
STOP = 'cluster/stop'     # the name among the values of a step of the signal that stops all workers; 0 is none
BLOCK = 2**24             # numbers that are sent at once when the chief's variables are spread
GONE = (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError, tf.errors.CancelledError,
        tf.errors.FailedPreconditionError, tf.errors.InternalError)  # what a lost peer may show as
AGAIN = 'run the same command on all workers to resume'

_keys = itertools.count(1)  # of collectives, in the order in which all workers build them


class Finished(BaseException):
    """Ends the script of a worker that is not the chief, whose part is done once the chief's run.train has ended."""


class Task(typing.NamedTuple):
    """A process of the cluster."""
    job: str      # 'chief' or 'worker'
    index: int
    address: str  # 'host:port'

    @property
    def device(self):
        return f'/job:{self.job}/replica:0/task:{self.index}'


class Worker:
    """This process among those of the cluster.

    rank: its number, 0 for the chief; share: how many rows of a batch are its own; number: the rank as a tensor int32 [], the
    one constant in which the workers' graphs differ.
    """

    def __init__(self, tasks, rank):
        self.tasks, self.rank, self.size, self.chief = tasks, rank, len(tasks), rank == 0
        self.share = self.number = None                   # `join` sets them
        self.text_keys = [next(_keys) for _ in range(2)]  # taken first: workers that differ have other keys later on

    def __str__(self):
        return f'worker {self.rank} of {self.size}'

    def told(self, rank):
        return f'worker {rank} ({self.tasks[rank].address})'

    def spec(self):
        return {job: [task.address for task in self.tasks if task.job == job] for job in dict.fromkeys(t.job for t in self.tasks)}


# who is in it

def parse(text):
    """The Worker of a TF_CONFIG, or None where it names no other process. The jobs are 'worker' and, of one task, 'chief'.

    Raises UserError, which shows an EXAMPLE, for any other text.
    """
    if not text.strip():
        return None
    try:
        found = json.loads(text)
        cluster, task = (found.get(key) or {} for key in ('cluster', 'task'))
        tasks = [Task(job, index, _checked(address)) for job in sorted(cluster) for index, address in enumerate(cluster[job])]
        if odd := [job for job in cluster if job not in ('chief', 'worker') or not isinstance(cluster[job], list)]:
            raise ValueError(f'{odd[0]!r} is no list of chief or worker')
        if len(cluster.get('chief', [])) > 1:
            raise ValueError('there is more than one chief')
        addresses = [task.address for task in tasks]
        if twice := [address for address in addresses if addresses.count(address) > 1]:
            raise ValueError(f'{twice[0]} is there twice')
        if len(tasks) < 2:
            return None
        kind, index = task.get('type'), task.get('index')
        here = [rank for rank, (job, number, _) in enumerate(tasks) if (job, str(number)) == (kind, str(index))]
        if not here:
            raise ValueError(f'the task {kind!r} {index!r} is none of the cluster')
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(files.one_line(f'TF_CONFIG is malformed ({error}): it is like {EXAMPLE}')) from None
    return Worker(tasks, here[0])


def _checked(address):
    if not isinstance(address, str) or not re.fullmatch(r'([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}', address) \
            or not 0 < int(address.rpartition(':')[2]) < 2**16:
        raise ValueError(f'{address!r} is no host:port')
    return address


def patience():
    """Seconds that a worker waits for another one. Raises UserError for a GAN_PATIENCE that is no number from 1 to 1000000."""
    text = os.environ.get('GAN_PATIENCE') or str(PATIENCE)
    if not re.fullmatch(r'\d{1,7}', text) or not 1 <= int(text) <= 10**6:
        raise UserError(f'GAN_PATIENCE is a whole number of seconds from 1 to 1000000, not {files.shortened(repr(text))}')
    return int(text)


def join(script):
    """Makes the default graph one of a worker's, if TF_CONFIG says so, and BATCH_SIZE in `script` its share.

    script: the namespace of a script. Whoever is not the chief waits until it has built its graph, so that data sets are
    downloaded and decoded once.
    Raises UserError for a malformed TF_CONFIG and a BATCH_SIZE that cannot be shared out, files.Lost if the chief does not come.
    """
    worker = parse(os.environ.get('TF_CONFIG', ''))
    if worker is None:
        return
    patience()
    batch = script.get('BATCH_SIZE')
    if not isinstance(batch, int) or batch % worker.size:
        raise UserError(f'BATCH_SIZE is {batch}, which {worker.size} workers cannot share out: give a multiple of {worker.size}')
    worker.share = script['BATCH_SIZE'] = batch // worker.size
    with tf.name_scope('cluster/'):
        worker.number = tf.constant(worker.rank, name='rank')
    tf.add_to_collection('cluster', worker)
    print(f'{worker}: takes {worker.share} of the {batch} samples of a batch', flush=True)
    if not worker.chief:
        _wait(worker, [0])


def here():
    """The Worker of the default graph, or None."""
    return next(iter(tf.get_collection('cluster')), None)


def is_chief():
    """Whether this process is the one that writes, draws and measures."""
    worker = here()
    return worker is None or worker.chief


def whole(script):
    """The constants of a script as all workers together have them: its BATCH_SIZE is that of the whole batch."""
    worker = here()
    return {**script, 'BATCH_SIZE': worker.share * worker.size} if worker else script


def note(arrays):
    """Notes the arrays that batches are taken of, so that the workers' can be compared; of what is on a disk, the shape alone."""
    if here():
        for array in arrays:
            content = zlib.crc32(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else 0
            tf.add_to_collection('sums', f'{"x".join(map(str, array.shape))} {content:08x}')


# rows and means, as tensors

def size():
    """How many workers share a batch."""
    worker = here()
    return worker.size if worker else 1


def first_row(start, count):
    """Where this worker's `count` rows begin, of those of all workers that begin at the tensor `start`, int64 []."""
    worker = here()
    return start + tf.cast(worker.number * count, tf.int64) if worker else start


def rows(shape, draw):
    """draw(shape); or, of numbers for each row of a batch, this worker's rows of those that one process would draw.

    shape: list of sizes, or a tensor. A draw has a row for each sample if its first size is a multiple of the worker's share of
    the batch, or is not known beforehand; what has another first size, or none, is the same on all workers.
    """
    worker = here()
    if worker is None:
        return draw(shape)
    if tf.is_tensor(shape):
        count, static = shape[0], tf.TensorShape(None)
        full = tf.concat([shape[:1] * worker.size, shape[1:]], 0)
    else:
        static = tf.TensorShape(shape)
        if not static.ndims or static[0] % worker.share:
            return draw(shape)
        count, full = static[0], [static[0] * worker.size, *static[1:]]
    found = draw(full)
    start = worker.number * count
    mine = found[start:start + count]
    mine.set_shape(static)
    return mine


def mean(tensors):
    """The means over all workers of a list of tensors, float32, as one collective; None stays None. Not differentiable."""
    worker = here()
    found = [tensor for tensor in tensors if tensor is not None]
    if worker is None or not found:
        return tensors
    found = iter([total / worker.size for total in _sums(worker, list(map(tf.convert_to_tensor, found)))])
    return [tensor if tensor is None else next(found) for tensor in tensors]


def refuse_condition(name):
    """Raises UserError for an update inside tf.cond, where there are workers: one that decides otherwise would be waited for."""
    if here():
        raise UserError(f'the update {name!r} depends on a condition, which each worker may decide otherwise: train with one')


def _sums(worker, tensors):
    """The sums over all workers of tensors of known shapes and one dtype, with the same bits on each."""
    with tf.name_scope('all_reduce'):
        flat = _reduced(worker, tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0))
        parts = tf.split(flat, [math.prod(tensor.shape) for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _reduced(worker, x, merge='Add', group=ON_ANY, key=None):
    """The numbers x [n] of all workers, added or by another `merge`. Zeros go along with few numbers.

    A worker that has nothing to receive would not learn that its neighbour is gone.
    """
    count, least = x.shape[0], 16 * worker.size
    if count is None:
        count = tf.size(x)
        x = tf.concat([x, tf.zeros([tf.maximum(0, least - count)], x.dtype)], 0)
    elif count < least:
        x = tf.concat([x, tf.zeros([least - count], x.dtype)], 0)
    gpu = group == ON_ANY and tf.config.experimental.list_physical_devices('GPU')
    found = tf.raw_ops.CollectiveReduceV2(
        input=x, group_size=worker.size, group_key=group, instance_key=key or next(_keys), ordering_token=[], merge_op=merge,
        final_op='Id', communication_hint='nccl' if gpu else 'auto')
    return found[:count]


def batch_norm(x, scale, offset, epsilon):
    """x [B, h, w, c] -> (x normalized over the batch, mean [c], variance [c] without bias), the batch being that of all workers.

    Each worker's mean and variance are known to all, which the common ones follow from without a cancellation (Chan et al. 1979,
    "Updating formulae and a pairwise algorithm for computing sample variances"). The gradient is that of the whole batch (Ioffe &
    Szegedy 2015, arXiv:1502.03167), with its two sums taken over all workers.
    Raises UserError where a gradient of that gradient is asked for.
    """
    worker = here()
    if worker is None:
        return tf.nn.fused_batch_norm(x, scale, offset, epsilon=epsilon)
    ones, zeros = tf.ones_like(scale), tf.zeros_like(offset)

    def common(mean, variance, count):
        own = tf.concat([mean, variance * (count - 1) / count], 0)
        placed = tf.one_hot(worker.number, worker.size)[:, None] * own              # [workers, 2 c]: one row is not 0
        means, variances = tf.split(_sums(worker, [placed])[0], 2, axis=1)
        mean = tf.reduce_mean(means, 0)
        return mean, tf.reduce_mean(variances + (means - mean) ** 2, 0), count * worker.size

    @tf.custom_gradient
    def normalized(x, scale, offset):
        count = tf.cast(tf.size(x) // x.shape[3], tf.float32)
        _, own_mean, own_variance = tf.nn.fused_batch_norm(x, ones, zeros, epsilon=epsilon)
        mean, variance, total = common(own_mean, own_variance, count)
        y, _, _ = tf.nn.fused_batch_norm(x, scale, offset, mean, variance, epsilon, is_training=False)

        def gradients(dy, *_):
            return once(dy, x, scale, mean, variance, total)

        return (y, mean, variance * total / (total - 1)), gradients

    @tf.custom_gradient
    def once(dy, x, scale, mean, variance, total):
        dx, dscale, doffset, _, _ = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=dy, x=x, scale=scale, reserve_space_1=mean, reserve_space_2=variance, reserve_space_3=zeros,
            epsilon=epsilon, is_training=False)
        all_scale, all_offset = _sums(worker, [dscale, doffset])                       # of dy x^ and of dy
        factor = -scale * tf.math.rsqrt(variance + epsilon) / total
        rest, _, _ = tf.nn.fused_batch_norm(
            x, factor * all_scale, factor * all_offset, mean, variance, epsilon, is_training=False)

        def gradients(*_):
            raise UserError('a gradient of a gradient through batch norm over several workers is not known: train with one')

        return (dx + rest, dscale, doffset), gradients

    if COMMON_STATISTICS:
        return normalized(x, scale, offset)
    y, own_mean, own_variance = tf.nn.fused_batch_norm(x, scale, offset, epsilon=epsilon)
    mean, variance, total = common(own_mean, own_variance, tf.cast(tf.size(x) // x.shape[3], tf.float32))
    return y, mean, variance * total / (total - 1)


# a run

def team():
    """What run.train has to do with other workers: a Team, or Alone where there are none. Of a graph that is complete."""
    worker = here()
    return Team(worker) if worker else Alone()


class Alone:
    """One process: nothing to agree on."""
    chief = True

    def means(self, fetched, scalars):
        return fetched

    def session(self, config, facts):
        return tf.Session(config=config)

    def spread(self, session, step):
        return step

    def hear(self, session, values, caught):
        pass

    def stops(self, caught):
        return caught[0] if caught else 0

    def agree(self, session):
        pass

    def end(self, session):
        pass


class Team:
    """What the workers of a training agree on. All of them build and call the same things in the same order."""

    def __init__(self, worker):
        self.worker, self.chief, self._signal, self._raised, self._watch = worker, worker.chief, 0, False, _Watch(worker)
        self._done = graph.progress()[0]
        variables = [v for v in tf.global_variables() if not (v.op.name.startswith('sampling/') and v.op.name.endswith('_draws'))]
        self._variables, self._patience = variables, patience()
        with tf.name_scope('cluster/'), tf.device('/device:CPU:0'):
            self._number = tf.get_variable('cluster/signal', [], tf.int32, initializer=tf.zeros_initializer(), trainable=False,
                                           use_resource=True, collections=[tf.GraphKeys.LOCAL_VARIABLES])
            self._given = tf.placeholder(tf.int32, [], 'signal_given')
            self._set = self._number.assign(self._given).op
            self._stop = self._joined([self._number.read_value()], 'Max')[0]
            self._ended = self._joined([tf.constant(1)])[0]
            self._lengths, self._letters = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.int32, [None])
            self._all_lengths, self._all_letters = (
                self._joined(x, key=key) for x, key in zip((self._lengths, self._letters), worker.text_keys, strict=True))
            words = [_words(v.read_value()) for v in variables]
            sums = tf.stack([tf.reduce_sum(found) for found in words])
            self._sums = tf.reshape(self._joined(tf.concat([sums, -sums], 0), 'Max'), [2, -1])
            self._spread = self._spreading(variables, words)

    def _joined(self, x, merge='Add', key=None):
        return _reduced(self.worker, tf.convert_to_tensor(x), merge, ON_CPU, key)

    def _spreading(self, variables, words):
        """Operations, a block of variables each, that give the chief's values to all."""
        blocks, room = [[]], BLOCK
        for variable, found in zip(variables, words, strict=True):
            if blocks[-1] and room < math.prod(found.shape):
                blocks.append([])
                room = BLOCK
            blocks[-1].append((variable, found))
            room -= math.prod(found.shape)
        operations = []
        for block in blocks:
            flat = tf.concat([found for _, found in block], 0)
            parts = tf.split(self._joined(flat if self.chief else tf.zeros_like(flat)), [found.shape[0] for _, found in block])
            operations.append(tf.group([part.op for part in parts] if self.chief else [
                variable.assign(_from_words(part, variable)) for part, (variable, _) in zip(parts, block, strict=True)]))
        return operations

    def means(self, fetched, scalars):
        """`graph.fetches` with the means over all workers in the place of `scalars`, and STOP with the last one."""
        found = []
        with tf.name_scope('cluster/'), tf.device('/device:CPU:0'):
            for tensors, names in fetched:
                own = [(i, tensor) for i, (tensor, name) in enumerate(zip(tensors[1:], names, strict=True), 1) if name in scalars]
                tensors = list(tensors)
                if own:
                    totals = self._joined([tf.cast(tensor, tf.float64) for _, tensor in own])
                    for number, (i, tensor) in enumerate(own):
                        tensors[i] = tf.cast(totals[number] / self.worker.size, tensor.dtype)
                found.append((tensors, list(names)))
        found[-1][0].append(self._stop)
        found[-1][1].append(STOP)
        return found

    @contextlib.contextmanager
    def session(self, config, facts):
        """A session on this worker's server, once all workers are there and have the same facts, {name: value for JSON}.

        facts: 'settings', 'code' (a `code.fingerprint`), and others, each of which is compared as it is.
        Raises UserError for a port that is taken and for facts that differ, files.Lost for workers that do not come or go.
        """
        worker, own = self.worker, self.worker.tasks[self.worker.rank]
        _check_port(own)
        config.experimental.collective_group_leader = worker.tasks[0].device
        config.device_filters.append(own.device)
        config.operation_timeout_in_ms = 1000 * self._patience
        config.graph_options.rewrite_options.remapping = type(config.graph_options.rewrite_options).OFF  # no bfloat16 fusing
        if tf.config.experimental.list_physical_devices('GPU'):
            config.experimental.collective_nccl = True
            config.experimental.collective_deterministic_sequential_execution = True
        server = tf.train.Server(tf.train.ClusterSpec(worker.spec()), own.job, own.index, config=config)
        _wait(worker, [rank for rank in range(worker.size) if rank != worker.rank])
        with self._watch, tf.Session(server.target, config=config) as session, self._lost():
            with self._limit():
                texts = self._exchange(session, json.dumps({'cluster': worker.spec(), **facts}))
            self._compare(list(map(json.loads, texts)))
            yield session

    def _limit(self):
        """The context of the first calls, for which TensorFlow has no limit: it waits until all workers have come."""
        return self._watch.limit(self._patience + 5, f'error: no answer from other workers within {self._patience} s '
                                 f'(GAN_PATIENCE): {AGAIN}', files.LOST)

    @contextlib.contextmanager
    def _lost(self):
        """Turns TensorFlow's errors of a peer that is gone into files.Lost, and sees to it that the process ends then."""
        try:
            yield
        except GONE:
            lost = files.Lost(f'{_missing(self.worker)}: {AGAIN} from the last checkpoint')
            self._watch.leave(f'error: {lost}', files.LOST)
            raise lost from None

    def _exchange(self, session, text):
        """The texts of all workers."""
        worker, letters = self.worker, np.frombuffer(text.encode(), np.uint8)
        lengths = session.run(self._all_lengths, {self._lengths: np.eye(worker.size, dtype=int)[worker.rank] * len(letters)})
        table = np.zeros([worker.size, lengths.max()], np.int32)
        table[worker.rank, :len(letters)] = letters
        table = session.run(self._all_letters, {self._letters: table.ravel()}).reshape(table.shape)
        return [bytes(row[:length].astype(np.uint8)).decode() for row, length in zip(table, lengths, strict=True)]

    def _compare(self, facts):
        """Raises the same UserError on all workers if their facts differ."""
        chief = facts[0]
        for rank, other in enumerate(facts[1:], 1):
            pair = self.worker.told(0), self.worker.told(rank)
            for name, ours in chief.items():
                theirs = other[name]
                if name == 'settings':
                    same = ours.get('PICTURES') and ours.get('PICTURES') == theirs.get('PICTURES')  # perhaps in another place
                    free = ('RUN_DIR', 'DATA_DIR', *(['DATASET'] if same else []))
                    for constant in ours:
                        if constant not in free and ours[constant] != theirs.get(constant):
                            raise UserError(f'{constant} is {ours[constant]!r} for {pair[0]} but {theirs.get(constant)!r} for '
                                            f'{pair[1]}: give all workers the same')
                elif name == 'code':
                    edited, boxes = code.edited(ours, theirs)
                    if boxes := [box for box in boxes if box != 'cluster']:
                        raise UserError(f'{" and ".join(edited) or "the project"} of {pair[1]} is not that of {pair[0]} '
                                        f'({", ".join(boxes)} differs): bring the same code to all machines')
                elif ours != theirs:
                    raise UserError(f'{name} is {ours} for {pair[0]} but {theirs} for {pair[1]}: bring the same to all machines')

    def spread(self, session, step):
        """Gives the chief's variables to all, and returns the step that they are of."""
        with self._limit():
            for operation in self._spread:
                session.run(operation)
            return int(session.run(self._done))

    def hear(self, session, values, caught):
        """Takes STOP out of the values of a step, and tells the others what signal this worker has caught."""
        self._signal = int(values.pop(STOP))
        if caught and not self._raised:
            session.run(self._set, {self._given: caught[0]})
            self._raised = True

    def stops(self, caught):
        """The signal that all workers stop for at this step, or 0."""
        return self._signal

    def agree(self, session):
        """Raises UserError, on all workers, where the variables of one are not the others'."""
        highest, lowest = session.run(self._sums)
        odd = [v.op.name for v, differs in zip(self._variables, highest != -lowest, strict=True) if differs]
        if odd:
            raise UserError(f'{odd[0]} and {len(odd) - 1} more variables are not the same on all workers: an update has passed '
                            'by ops.minimize, a random number by ops.noise and ops.uniform, or a batch by data.batches')

    def end(self, session):
        """Ends the training of all workers. Who is not the chief waits for it without a limit: its measurements may take long."""
        if self.chief:
            with contextlib.suppress(*GONE):      # all is done and saved
                session.run(self._ended)
            return
        session.run(self._ended, options=tf.RunOptions(timeout_in_ms=10**10))
        raise SystemExit(128 + self._signal) if self._signal else Finished


def _words(x):
    """The bits of a tensor of any shape and type, as int32 [n]."""
    x = x if x.dtype.size in (4, 8) and x.dtype != tf.bool else tf.cast(x, tf.int32)
    return tf.reshape(x if x.dtype == tf.int32 else tf.bitcast(x, tf.int32), [-1])


def _from_words(words, variable):
    """The tensor with these bits that a variable can be assigned."""
    if variable.dtype.size not in (4, 8):
        return tf.cast(tf.reshape(words, variable.shape), variable.dtype.base_dtype)
    shape = [*variable.shape, variable.dtype.size // 4] if variable.dtype.size == 8 else variable.shape
    words = tf.reshape(words, shape)
    return words if variable.dtype.base_dtype == tf.int32 else tf.bitcast(words, variable.dtype.base_dtype)


# processes and ports

def _check_port(task):
    """Raises UserError if the port is taken. TensorFlow's server would share it with another one, and get half of its calls."""
    port = int(task.address.rpartition(':')[2])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
        except OSError as error:
            raise UserError(f'port {port} of {task.address} cannot be had ({error.strerror}): end the program that has it, or '
                            'give another one in TF_CONFIG') from None


def _is_open(address):
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host.strip('[]'), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def _wait(worker, ranks):
    """Returns once the ports of these workers are open, and says for whom it waits. files.Lost after GAN_PATIENCE seconds."""
    began, told, missing = time.monotonic(), None, list(ranks)
    while missing := [rank for rank in missing if not _is_open(worker.tasks[rank].address)]:
        waited, names = time.monotonic() - began, ', '.join(map(worker.told, missing))
        if waited > patience():
            raise files.Lost(f'{names} did not come within {patience()} s (GAN_PATIENCE): {AGAIN}')
        if waited > 2 and names != told:
            print(f'{worker}: waits for {names}', flush=True)
            told = names
        time.sleep(0.1)


def _missing(worker):
    """What to tell once TensorFlow has lost a peer: whose port is closed, for its messages may name one that lost another."""
    found = [rank for rank in range(worker.size) if rank != worker.rank and not _is_open(worker.tasks[rank].address)]
    if not found:
        return f'another worker has not answered within {patience()} s (GAN_PATIENCE)'
    return f'{" and ".join(map(worker.told, found))} {"is" if len(found) == 1 else "are"} gone'


class _Watch:
    """A thread that ends this process where its main one cannot, because it waits in a session call that does not return."""

    def __init__(self, worker):
        self._deadline, self._ended, self._begin = None, threading.Event(), '\n' if worker.chief else ''  # it has a bar

    def __enter__(self):
        self._reading, self._writing = socket.socketpair()
        for end in self._reading, self._writing:
            end.setblocking(False)
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._run, daemon=True).start()

    def __exit__(self, *_):
        self._ended.set()
        if self._main:
            signal.set_wakeup_fd(self._before)

    @contextlib.contextmanager
    def limit(self, seconds, line, status):
        """The context that takes no longer than this; else the process ends with the line on stderr and the status."""
        self._deadline = time.monotonic() + seconds, line, status
        try:
            yield
        finally:
            self._deadline = None

    def leave(self, line, status):
        """Has the process end in a few seconds if it has not ended by itself."""
        self._deadline = time.monotonic() + 5, line, status

    def _run(self):
        signals = []
        while not self._ended.wait(0.1):
            with contextlib.suppress(BlockingIOError):
                signals += [number for number in self._reading.recv(64) if number in (signal.SIGINT, signal.SIGTERM)]
            if len(signals) > 1:        # the second one ends it at once, if the main thread does not see it
                self.leave(f'stopped by {signal.Signals(signals[1]).name}; what was saved is kept', 128 + signals[1])
                signals = []
            if self._deadline and time.monotonic() > self._deadline[0]:
                print(self._begin + files.one_line(self._deadline[1]), file=sys.stderr, flush=True)
                os._exit(self._deadline[2])
