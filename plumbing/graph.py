"""What run.train adds to a script's graph: the step counter, the averaged networks, and what to fetch with which update.

And whether the machine's memory can hold it.
"""
import math
import typing

from plumbing import hardware
from plumbing.files import UserError
from plumbing.networks import can_be_drawn, makes_codes

import tensorflow.compat.v1 as tf


def progress():
    """(done, total): resource variables int64 [], the steps that are done and those of the whole run.

    `done` is saved with the weights; `total` is a local variable that run.train sets when it starts. Both are in the
    scope 'optimizers', wherever this is called.
    """
    with tf.variable_scope(tf.VariableScope(tf.AUTO_REUSE, 'optimizers'), auxiliary_name_scope=False), \
            tf.name_scope('optimizers/'):
        return tuple(tf.get_variable(name, [], tf.int64, initializer=tf.zeros_initializer(), trainable=False,
                                     use_resource=True, collections=[collection])
                     for name, collection in [('step', tf.GraphKeys.GLOBAL_VARIABLES),
                                              ('steps', tf.GraphKeys.LOCAL_VARIABLES)])


class Sampling(typing.NamedTuple):
    """Networks with averaged weights; see `sampling`."""
    advance: tf.Operation  # ends a step: moves the averages and counts the step
    inputs: dict           # {network: {input: placeholder}}
    outputs: dict          # {network: tensor}
    pictures: object       # what the script's `pictures` returned, or None
    measured: dict         # what its `measures` returned: {name: scalar tensor}
    averages: list         # [(averaged variable, its source)]; the source itself where nothing is averaged
    norms: list            # [Norm] in the order in which they are applied
    done: tf.Variable      # int64 [], the steps that are done


class Norm(typing.NamedTuple):
    """A layer of batch norm whose moving averages are not averaged again, but found out; see `sampling`."""
    network: str           # the one of the inputs that it is applied on
    moments: tuple         # tensors [c]: mean and variance of what comes in
    rows: tf.Tensor        # int32 []: of how many inputs
    mean: tf.Variable      # [c], of an averaged network, like `variance`
    variance: tf.Variable


def sampling(networks, decay, after, pictures=None, measures=dict):
    """Applies all networks on exponential moving averages (EMA) of their weights, in the scope 'sampling'.

    networks: {name: networks.Network}. pictures, measures: functions without arguments that apply networks of their own.
    After `after`, the last update of a step, each average moves by (1 - d) of the way to its source, d =
    min(decay, (1 + t) / (10 + t)) at step t: it grows with the step, so that the first pictures do not lag. decay 0: the
    weights themselves.

    Moving averages of batch norm belong to the weights and the inputs that they were found with: to weights that move, whose
    activations vary more than those of their average, and in D to generated pictures, too. So those of networks that can be drawn
    from, and of encoders, are found out anew before the averaged networks are used, by `sampler.Sampler` ("standing statistics":
    Brock et al. 2018, arXiv:1809.11096). Nothing goes back from there into the training.
    """
    done, _ = progress()
    sources = {variable.op.name: variable for variable in tf.global_variables()}

    def averaged(getter, name, *args, **options):
        if not decay and name.removeprefix('sampling/') in sources:
            return sources[name.removeprefix('sampling/')]
        return getter(name, *args, **{**options, 'trainable': False})

    with tf.variable_scope('sampling', custom_getter=averaged):
        inputs = {name: network.placeholders() for name, network in networks.items()}
        outputs = {name: network.apply(inputs[name].values()) for name, network in networks.items()}
        with tf.name_scope('pictures'):
            shown = pictures and tf.nest.map_structure(lambda tensor: tf.identity(tensor, 'shown'), pictures())
        with tf.name_scope('measures'):
            measured = {name: tf.identity(scalar, name) for name, scalar in measures().items()}
        norms = _norms(networks, outputs) if decay else []
        found_out = {variable.op.name for norm in norms for variable in (norm.mean, norm.variance)}
        averages = [(variable, sources[variable.op.name.removeprefix('sampling/')]) for variable in tf.global_variables()
                    if not decay or variable.op.name not in sources]
        with tf.control_dependencies([after]), tf.name_scope('average'):
            t = tf.cast(done.read_value(), tf.float32)
            d = tf.minimum(float(decay), (1 + t) / (10 + t))
            moves = [tf.raw_ops.ResourceApplyGradientDescent(  # average -= (1 - d) (average - source)
                var=average.handle, alpha=1 - d, delta=average.read_value() - source.read_value())
                for average, source in averages if decay and average.op.name not in found_out]
            with tf.control_dependencies(moves):
                advance = done.assign_add(1).op
    return Sampling(advance, inputs, outputs, shown, measured, averages, norms, done)


def _norms(networks, outputs):
    """[Norm] of the networks that can be drawn from, and of encoders; each pair of variables once."""
    found = {}
    for name, network in networks.items():
        covered = can_be_drawn(network.inputs) or makes_codes(network.inputs, network.output)
        passed = ancestors(outputs[name].op) if covered else ()
        for x, mean, variance in tf.get_collection('norms'):        # all that batch norm is applied on with moving averages
            if x.op in passed and mean.op.name not in found:
                with tf.name_scope('standing'):
                    moments = tf.nn.moments(x, [0, 1, 2])
                for moved in mean, variance:
                    tf.add_to_collection('standing', moved)
                found[mean.op.name] = Norm(name, moments, tf.shape(x)[0], mean, variance)
    return [*found.values()]


def fetches(operations, updates, scalars):
    """[([operation, scalar, ...], [name, ...])] for each operation of a step, which are `updates` but for the last one.

    A scalar is fetched along with the last update that depends on it, so that the loss that is reported is the loss that
    was minimized; or else with the last update that draws all the random batches that the scalar depends on. Either way
    a report draws nothing and costs next to nothing.
    Raises ValueError for a scalar of random batches that no update draws.
    """
    fetched = [([operation], []) for operation in operations]
    found = {update: ancestors(update) for update in updates}  # many of them may be the same one
    needed = [found[update] for update in updates]
    drawn = [_counters(found) for found in needed]
    for name, scalar in scalars.items():
        its = _counters(ancestors(scalar.op))
        places = [i for i, found in enumerate(needed) if scalar.op in found] or [i for i, d in enumerate(drawn) if its <= d]
        if not places:
            raise ValueError(f'no update draws all the random batches that {name!r} depends on')
        fetched[places[-1]][0].append(scalar)
        fetched[places[-1]][1].append(name)
    return fetched


def extras(scores):
    """{section/name: tensor} of what TensorBoard gets besides scalars: D's scores, gradient norms, learning rates.

    Fetching them leaves the weights as they are, bit for bit. Mixed precision does not round what is fetched, and so not what
    is computed from it; copies of the scores are fetched, of which nothing is.
    """
    return {**{f'D/{name}': tf.identity(tensor) for name, tensor in (scores or {}).items()},
            **{f'{section}/{name}': tensor for section in ('gradient_norms', 'learning_rates')
               for name, tensor in tf.get_collection(section)}}


def counters(operation):
    """The operations that move a counter (of data or noise) when `operation` runs."""
    return _counters(ancestors(operation))


def ancestors(operation):
    """The operations that run when `operation` does, itself among them."""
    seen, todo = set(), [operation]
    while todo:
        operation = todo.pop()
        if operation not in seen:
            seen.add(operation)
            todo += [tensor.op for tensor in operation.inputs] + operation.control_inputs
    return seen


def _counters(operations):
    return {operation for operation in operations if operation.type == 'AssignAddVariableOp'}


def parameter_counts():
    """'discriminator: 123 parameters, generator: 456 parameters'."""
    sizes = {}
    for variable in tf.trainable_variables():
        network = variable.name.split('/')[0]
        sizes[network] = sizes.get(network, 0) + math.prod(variable.shape)
    return ', '.join(f'{network}: {size:,} parameters' for network, size in sizes.items())


def check_size(name, shape, itemsize=4):
    """Raises UserError if a tensor of this shape, `itemsize` bytes a number, is larger than the machine's memory."""
    if (size := itemsize * math.prod(shape)) > hardware.memory():
        raise UserError(f'{name} of the shape {list(shape)} takes {_gigabytes(size)}, but this machine has '
                        f'{_gigabytes(hardware.memory())}: make the networks, batches or pictures smaller')


def check_memory():
    """Raises UserError if the variables of the graph and its largest tensor, as far as shapes are known, exceed the memory.

    The variables include the slots of optimizers and the averages. A lower bound: what a step holds besides is not known.
    """
    variables = tf.global_variables() + tf.local_variables()
    for variable in variables:
        check_size(variable.op.name, variable.shape, variable.dtype.size)
    largest = max((tensor for operation in tf.get_default_graph().get_operations() for tensor in operation.outputs), key=_size)
    check_size(largest.op.name, largest.shape, largest.dtype.size)
    held = sum(map(_size, variables))
    if held + _size(largest) > hardware.memory():
        raise UserError(f'{len(variables)} variables, with what optimizers and averages keep, take {_gigabytes(held)} and the '
                        f'largest tensor, {largest.op.name}, {_gigabytes(_size(largest))}, but this machine has '
                        f'{_gigabytes(hardware.memory())}: make the networks, batches or pictures smaller')


def _size(tensor):
    """Bytes of a tensor or variable; 0 where its shape is not known."""
    return tensor.dtype.size * math.prod(tensor.shape) if tensor.shape.is_fully_defined() else 0


def _gigabytes(size):
    return f'{size / 2**30:,.1f} GiB'
