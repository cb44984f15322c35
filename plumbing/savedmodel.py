"""Networks of a run as SavedModels: written by run.train, read by the commands."""
import pathlib

from plumbing import files, networks, pixels, runfolder

import numpy as np
import tensorflow.compat.v1 as tf

BATCH = 64  # inputs in a session call, always: an output does not depend on how many there are


def export(path, network, values):
    """Writes a network (networks.Network) as a SavedModel with one signature, its inputs [N, ...] to its output.

    values: {name of a variable: array}.
    """
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
        inputs = network.placeholders()
        output = network.apply(inputs.values())
        for operation in session.graph.get_operations():
            operation._clear_attr('_gradient_op_type')  # names a function of ours, which other programs do not have
        variables = tf.global_variables()
        session.run([v.initializer for v in variables], {v.initial_value: values[v.op.name] for v in variables})
        with files.replacing(path) as temporary:
            tf.saved_model.simple_save(session, str(temporary), inputs, {network.output: output})


class Loaded:
    """A network of a run. Call it with one array [N, ...] for each of its inputs, by name, to get its output, an array.

    inputs: {name: networks.Input}; output: the name of what it makes.
    """

    def __init__(self, folder, name):
        """Raises files.UserError if the run in `folder` has no network `name`, or a damaged one."""
        path = saved(folder, name)
        found = runfolder.read(folder)['networks'][name.removesuffix('-best')]
        self.inputs, self.output = networks.inputs_of(found), found['output']
        self._session = tf.Session(graph=tf.Graph())
        try:
            signature = tf.saved_model.load(self._session, ['serve'], str(path)).signature_def['serving_default']
        except (OSError, RuntimeError, tf.errors.OpError) as error:
            raise files.UserError(f'{path} is damaged ({files.reason(error)}); train further to write it again') from None
        self._inputs = {name: tensor.name for name, tensor in signature.inputs.items()}
        self._output = signature.outputs[self.output].name

    def __call__(self, **arrays):
        count = len(next(iter(arrays.values())))
        padded = {name: np.zeros([-(-count // BATCH) * BATCH, *self.inputs[name].shape], self.inputs[name].dtype)
                  for name in self._inputs}
        for name, array in arrays.items():
            padded[name][:count] = array
        parts = [self._session.run(self._output, {self._inputs[name]: padded[name][i:i + BATCH] for name in padded})
                 for i in range(0, count, BATCH)]
        return np.concatenate(parts)[:count]

    def draw(self, inputs):
        """Images uint8 [N, H, W, C] for {name of an input: array}; points and the like stay floats."""
        count = len(next(iter(inputs.values())))
        blocks = [{name: array[i:i + 4 * BATCH] for name, array in inputs.items()} for i in range(0, count, 4 * BATCH)]
        made = [self(**block) for block in blocks]
        return np.concatenate([pixels.to_uint8(block) for block in made] if self.output == 'images' else made)


def saved(folder, name):
    """Path of the network `name` that the run in `folder` has saved; files.UserError if there is none."""
    path = pathlib.Path(folder) / name
    if not path.is_dir():
        raise files.UserError(f'{folder} holds no {name}: give the folder of a run that has saved one')
    return path


def generator(folder, best=False):
    """The generator of a run: the last one, or the one that measured best while training. files.UserError if there is none."""
    found = Loaded(folder, 'generator-best' if best else 'generator')
    if not networks.can_be_drawn(found.inputs):
        raise files.UserError(f'the generator of {folder} takes images, not latents: there is nothing to draw it from')
    return found


def samples(folder, count, seed=0, best=False):
    """`count` samples of a run, uint8 [count, H, W, C]; a seed's first samples are the same for every count."""
    generate = generator(folder, best)
    return generate.draw(networks.draw(generate.inputs, count, seed))
