"""Networks of a run as SavedModels: written by run.train, read by the commands.

A SavedModel is a program, and a run folder may come from anywhere. So what is read is the path from the inputs to the output
alone, it may consist of OPERATIONS only, and nothing else of the file is run.
"""
import math
import pathlib

from plumbing import files, graph, networks, pixels, runfolder

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import saved_model_pb2

BATCH = 64  # inputs in a session call, always: an output does not depend on how many there are
LARGEST = 2**30  # bytes of a tensor, or CHANNELS times the output: somebody else's network could ask for any memory
CHANNELS = 256
SUMS = 'SHA256SUMS'  # beside the SavedModel; `sha256sum -c SHA256SUMS` checks it too
OPERATIONS = {  # that our networks consist of: they compute, and read or write nothing but their own variables
    'AddV2', 'AvgPool', 'BiasAdd', 'Cast', 'ConcatV2', 'Const', 'Conv2D', 'Conv2DBackpropInput', 'Cos', 'DepthToSpace', 'Elu',
    'Erf', 'Exp', 'ExpandDims', 'FusedBatchNormV3', 'GatherV2', 'Identity', 'IdentityN', 'LeakyRelu', 'MatMul', 'MaxPool',
    'MaxPoolWithArgmax', 'Maximum', 'Mean', 'Minimum', 'Mul', 'Neg', 'OneHot', 'Pack', 'Placeholder', 'Range', 'ReadVariableOp',
    'RealDiv', 'Relu', 'Reshape', 'ResizeNearestNeighbor', 'ResourceGather', 'ReverseV2', 'Rsqrt', 'Selu', 'Shape', 'Sigmoid',
    'Sin', 'Softmax', 'Softplus', 'Split', 'Sqrt', 'Square', 'Squeeze', 'StridedSlice', 'Sub', 'Sum', 'Tanh', 'Tile',
    'Transpose', 'VarHandleOp', 'ZerosLike'}


def export(path, network, values):
    """Writes a network (networks.Network) as a SavedModel with one signature, its inputs [N, ...] to its output.

    values: {name of a variable: array}. Raises files.UserError where it cannot be written.
    """
    with tf.Graph().as_default(), tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
        inputs = network.placeholders()
        output = network.apply(inputs.values())
        for operation in session.graph.get_operations():
            operation._clear_attr('_gradient_op_type')  # names a function of ours, which other programs do not have
        variables = tf.global_variables()
        session.run([v.initializer for v in variables], {v.initial_value: values[v.op.name] for v in variables})
        try:
            with files.replacing(path) as temporary:
                with files.inside(path.parent):
                    tf.saved_model.simple_save(session, temporary.name, inputs, {network.output: output})
                sums = ''.join(f'{sha256}  {name}\n' for name, sha256 in sorted(files.sums(temporary).items()))
                (temporary / SUMS).write_text(sums)
        except (tf.errors.OpError, OSError) as error:
            raise files.UserError(f'cannot save the network {path}: {files.reason(error)}') from None


class Loaded:
    """A network of a run. Call it with one array [N, ...] for each of its inputs, by name, to get its output, an array.

    A label is an array of whole numbers [N], or of mixtures of the classes [N, K], whose rows add up to 1.
    inputs: {name: networks.Input}; output: the name of what it makes.
    """

    def __init__(self, folder, name):
        """Raises files.UserError if the run in `folder` has no network `name`, a damaged one, or one that is not of our kind."""
        path = saved(folder, name)
        found = runfolder.read(folder)['networks'].get(name.removesuffix('-best'))
        if not found:
            raise files.UserError(f'{path} is not of the run in {folder}: its settings.json has no network {name}')
        self.inputs, self.output = networks.inputs_of(found), found['output']
        try:
            listed = dict(reversed(line.split('  ', 1)) for line in files.content(path / SUMS).decode().splitlines())
            if listed != {file: sha256 for file, sha256 in files.sums(path).items() if file != SUMS}:
                raise ValueError(f'its files are not those listed in {SUMS}')
            self._session = tf.Session(graph=tf.Graph(), config=tf.ConfigProto(allow_soft_placement=True))
            self._read(path)
        except files.UserError:
            raise
        except Exception as error:  # damaged files make the parsers raise anything
            advice = 'leave out --best' if name.endswith('-best') else 'the training command writes it again'
            raise files.UserError(f'{path} is damaged ({files.reason(error)}): {advice}') from None

    def _read(self, path):
        model, = saved_model_pb2.SavedModel.FromString(files.content(path / 'saved_model.pb', 2**31)).meta_graphs
        signature = model.signature_def['serving_default']
        given, made = {name: signature.inputs[name].name for name in self.inputs}, signature.outputs[self.output].name
        network = tf.graph_util.extract_sub_graph(model.graph_def, [name.partition(':')[0] for name in (
            *given.values(), made, *(networks.one_hot(name) for name, found in self.inputs.items() if found.kind == 'label'))])
        network.ClearField('library')
        if odd := sorted({node.op for node in network.node} - OPERATIONS):
            raise files.UserError(f'{path} has operations that no network of ours has ({", ".join(odd)}), and they could do '
                                  'anything on this machine: it is not loaded')
        handles = [node for node in network.node if node.op == 'VarHandleOp']
        with self._session.graph.as_default(), files.inside(path / 'variables'):
            taken = {name: (networks.one_hot(name) + ':0', tf.float32, [found.classes]) if found.kind == 'label' else
                     (given[name], found.dtype, found.shape) for name, found in self.inputs.items()}
            self._placeholders = {name: tf.placeholder(dtype, [BATCH, *shape]) for name, (_, dtype, shape) in taken.items()}
            self._output, = tf.import_graph_def(
                network, {taken[name][0]: placeholder for name, placeholder in self._placeholders.items()}, [made],
                name='network', producer_op_list=model.meta_info_def.stripped_op_list)
            shape = self._output.shape
            if self._output.dtype != tf.float32 or not shape.is_fully_defined() or shape[0] != BATCH or (
                    self.output == 'images') != (shape.rank == 4 and shape[3] in (1, 3)):
                raise ValueError(f'it makes {self._output.dtype.name} {shape}')
            graph.check_memory()
            self._check_sizes()
            values = tf.train.load_checkpoint('variables') if handles else None
            for node in handles:
                handle = self._session.graph.get_tensor_by_name(f'network/{node.name}:0')
                value = tf.placeholder(tf.DType(node.attr['dtype'].type), tf.TensorShape(node.attr['shape'].shape))
                assign = tf.raw_ops.AssignVariableOp(resource=handle, value=value)
                self._session.run(assign, {value: values.get_tensor(node.attr['shared_name'].s.decode() or node.name)})
        self._network, self._producer, self._given, self._made = network, model.meta_info_def.stripped_op_list, given, made

    def _check_sizes(self):
        """Raises ValueError for a tensor that is computed with and may be too large."""
        most = max(LARGEST, CHANNELS * 4 * math.prod(self._output.shape))
        for operation in self._session.graph.get_operations():
            for tensor in [tensor for tensor in operation.outputs if tensor.consumers() and operation.type != 'Placeholder']:
                if not tensor.shape.is_fully_defined() or tensor.dtype.size * math.prod(tensor.shape) > most:
                    raise ValueError(f'{operation.name} of the shape {tensor.shape} may take more than {most:,} bytes')

    def frozen(self):
        """The network as a GraphDef with its weights as constants, for converters.

        It leads from placeholders [None, ...] with the names of the `inputs`, labels as whole numbers, to a tensor with the
        name of the `output`.
        """
        network = tf.GraphDef.FromString(self._network.SerializeToString())
        for node in [node for node in network.node if node.op == 'ReadVariableOp']:
            kind, value = node.attr['dtype'].type, self._session.run(f'network/{node.name}:0')
            for field in 'input', 'attr':
                node.ClearField(field)
            node.op, node.attr['dtype'].type = 'Const', kind
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))
        with tf.Graph().as_default() as whole:
            tensors = {self._given[name]: tf.placeholder(found.dtype, [None, *found.shape], name)
                       for name, found in self.inputs.items()}
            made, = tf.import_graph_def(network, tensors, [self._made], name='network', producer_op_list=self._producer)
            tf.identity(made, self.output)
            return tf.graph_util.extract_sub_graph(whole.as_graph_def(), [self.output, *self.inputs])

    def __call__(self, **arrays):
        count = len(next(iter(arrays.values())))
        padded = {}
        for name, array in arrays.items():
            if self.inputs[name].kind == 'label' and np.ndim(array) == 1:
                array = np.arange(self.inputs[name].classes) == array[:, None]
            shape = self._placeholders[name].shape[1:]
            padded[name] = np.zeros([-(-count // BATCH) * BATCH, *shape], self._placeholders[name].dtype.as_numpy_dtype)
            padded[name][:count] = array
        parts = [self._session.run(self._output, {self._placeholders[name]: padded[name][i:i + BATCH] for name in padded})
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
    path = files.existing(pathlib.Path(folder) / name)
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
