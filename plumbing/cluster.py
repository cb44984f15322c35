"""Several processes that train as one, through TensorFlow's own servers and collectives, as TF_CONFIG says.

Each worker has the whole graph and takes its rows of every batch and of every random draw; gradients, the statistics of batch
norm and what is reported are reduced over the workers, so that their weights stay the same. Without TF_CONFIG, or with one task
in it, every function here leaves the graph as it is. `coordination` leads a training.

A worker whose peer is gone ends with files.LOST. GPUs and NCCL are written for, and were not run: there was no GPU at hand.
"""
import itertools
import json
import math
import os
import re
import socket
import time
import typing
import zlib

from plumbing import files
from plumbing.files import UserError

import numpy as np
import tensorflow.compat.v1 as tf

PATIENCE = 600            # seconds that a worker waits for the others; the environment variable GAN_PATIENCE sets it
COMMON_STATISTICS = True  # batch norm over the rows of all workers; False: of each worker's own, faster but another algorithm
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
ON_CPU, ON_ANY = 1, 2     # group keys: of what is agreed on, which stays on the CPU; of what is computed, perhaps on a GPU
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
        wait(worker, [0])


def is_open(address):
    host, _, port = address.rpartition(':')
    try:
        socket.create_connection((host.strip('[]'), int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def wait(worker, ranks):
    """Returns once the ports of these workers are open, and says for whom it waits. files.Lost after GAN_PATIENCE seconds."""
    began, told, missing = time.monotonic(), None, list(ranks)
    while missing := [rank for rank in missing if not is_open(worker.tasks[rank].address)]:
        waited, names = time.monotonic() - began, ', '.join(map(worker.told, missing))
        if waited > patience():
            raise files.Lost(f'{names} did not come within {patience()} s (GAN_PATIENCE): {AGAIN}')
        if waited > 2 and names != told:
            print(f'{worker}: waits for {names}', flush=True)
            told = names
        time.sleep(0.1)


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
        flat = reduced(worker, tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0))
        parts = tf.split(flat, [math.prod(tensor.shape) for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def reduced(worker, x, merge='Add', group=ON_ANY, key=None):
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
