"""What the workers of a cluster agree on while they train: one session each, the chief's variables, a signal, and the end.

Without workers there is nothing to agree on, and `find_team` gives an object that does just that.
"""
import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time

from plumbing import cluster, code, files, graph, runfolder
from plumbing.files import UserError

import numpy as np
import tensorflow.compat.v1 as tf

STOP = 'cluster/stop'     # the name among the values of a step of the signal that stops all workers; 0 is none
BLOCK = 2**24             # numbers that are sent at once when the chief's variables are spread
GONE = (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError, tf.errors.CancelledError,
        tf.errors.FailedPreconditionError, tf.errors.InternalError)  # what a lost peer may show as


def find_team():
    """What run.train has to do with other workers: a Team, or Alone where there are none. Of a graph that is complete."""
    worker = cluster.here()
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
        measuring = {v.op.name for v in tf.get_collection('standing')}  # the chief alone moves these, and counters of its draws
        variables = [v for v in tf.global_variables() if v.op.name not in measuring
                     and not (v.op.name.startswith('sampling/') and v.op.name.endswith('_draws'))]
        self._variables, self._patience = variables, cluster.patience()
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
        return cluster.reduced(self.worker, tf.convert_to_tensor(x), merge, cluster.ON_CPU, key)

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
        cluster.wait(worker, [rank for rank in range(worker.size) if rank != worker.rank])
        with self._watch, tf.Session(server.target, config=config) as session, self._lost():
            with self._limit():
                texts = self._exchange(session, json.dumps({'cluster': worker.spec(), **facts}))
            self._compare(list(map(json.loads, texts)))
            yield session

    def _limit(self):
        """The context of the first calls, for which TensorFlow has no limit: it waits until all workers have come."""
        return self._watch.limit(self._patience + 5, f'error: no answer from other workers within {self._patience} s '
                                 f'(GAN_PATIENCE): {cluster.AGAIN}', files.LOST)

    @contextlib.contextmanager
    def _lost(self):
        """Turns TensorFlow's errors of a peer that is gone into files.Lost, and sees to it that the process ends then."""
        try:
            yield
        except GONE:
            lost = files.Lost(f'{_missing(self.worker)}: {cluster.AGAIN} from the last checkpoint')
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
                    free = 'RUN_DIR', 'DATA_DIR', *runfolder.moved(ours, theirs)
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
        raise SystemExit(128 + self._signal) if self._signal else cluster.Finished


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


def _missing(worker):
    """What to tell once TensorFlow has lost a peer: whose port is closed, for its messages may name one that lost another."""
    found = [rank for rank in range(worker.size) if rank != worker.rank and not cluster.is_open(worker.tasks[rank].address)]
    if not found:
        return f'another worker has not answered within {cluster.patience()} s (GAN_PATIENCE)'
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
