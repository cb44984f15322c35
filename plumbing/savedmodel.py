"""Networks of a run as SavedModels: written by run.train, read by the commands.

A SavedModel is a program, and a run folder may come from anywhere. So what is read is the path from the inputs to the output
alone, it may consist of OPERATIONS only, and nothing else of the file is run.
"""
import contextlib
import math
import pathlib

from plumbing import archives, files, graph, networks, pixels, runfolder

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf import saved_model_pb2

BATCH = 64  # inputs in a session call, always: an output does not depend on how many there are
LARGEST = 2**30  # bytes of a tensor, or CHANNELS times the output: somebody else's network could ask for any memory
CHANNELS = 256
HALF = 4096  # numbers of a weight that `freeze` keeps in 16 bits, at least
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
        _save(path, session, inputs, {network.output: output})


def freeze(folder, path):
    """Writes the generator of a run as a SavedModel of half its size: weights of 16 bits, and no variables.

    Raises files.UserError where there is none, where its weights cannot be constants, and where it cannot be written.
    """
    loaded = generator(folder)
    definition, given, made = loaded.constant(half=True)
    with tf.Graph().as_default(), tf.Session() as session:
        *inputs, output = tf.import_graph_def(definition, return_elements=[*given.values(), made], name='')
        _save(path, session, dict(zip(given, inputs, strict=True)), {loaded.output: output})


def _save(path, session, inputs, outputs):
    try:
        with files.replacing(path) as temporary:
            with files.inside(path.parent):
                tf.saved_model.simple_save(session, temporary.name, inputs, outputs)
            sums = ''.join(f'{sha256}  {name}\n' for name, sha256 in sorted(files.sums(temporary).items()))
            (temporary / SUMS).write_text(sums)
    except (tf.errors.OpError, OSError) as error:
        raise files.UserError(f'cannot save the network {path}: {files.reason(error)}') from None


class Loaded:
    """A network of a run. Call it with one array [N, ...] for each of its inputs, by name, to get its output, an array.

    A label is an array of whole numbers [N], or of mixtures of the classes [N, K], whose rows add up to 1.
    inputs: {name: networks.Input}; output: the name of what it makes; sum: over its files, 64 characters.
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
            self.sum = files.sha256(path / SUMS)
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
        self._network, self._producer, self._given, self._made = network, model.meta_info_def.stripped_op_list, given, made
        for node in handles:            # a name of its own finds the same variable, however often the network is applied
            node.attr['shared_name'].s = node.attr['shared_name'].s or node.name.encode()
        taken = {name: (networks.one_hot(name) + ':0', tf.float32, [found.classes]) if found.kind == 'label' else
                 (given[name], found.dtype, found.shape) for name, found in self.inputs.items()}
        self._apply = lambda tensors, name: tf.import_graph_def(
            network, {taken[key][0]: tensor for key, tensor in tensors.items()}, [made], name=name,
            producer_op_list=self._producer)[0]
        variables = files.inside(path / 'variables') if handles else contextlib.nullcontext()
        with self._session.graph.as_default(), variables:
            self._placeholders = {name: tf.placeholder(dtype, [BATCH, *shape]) for name, (_, dtype, shape) in taken.items()}
            self._output = self._apply(self._placeholders, 'network')
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
                self._session.run(assign, {value: values.get_tensor(node.attr['shared_name'].s.decode())})

    def _check_sizes(self):
        """Raises ValueError for a tensor that is computed with and may be too large."""
        most = max(LARGEST, CHANNELS * 4 * math.prod(self._output.shape))
        for operation in self._session.graph.get_operations():
            for tensor in [tensor for tensor in operation.outputs if tensor.consumers() and operation.type != 'Placeholder']:
                if not tensor.shape.is_fully_defined() or tensor.dtype.size * math.prod(tensor.shape) > most:
                    raise ValueError(f'{operation.name} of the shape {tensor.shape} may take more than {most:,} bytes')

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

    def applied(self, tensors, name):
        """The output for {name of an input: tensor [BATCH, ...]}, a label as one-hot vectors; name: of its nodes.

        The tensors are of the graph of `session`, in which the network's variables have their values.
        """
        return self._apply(tensors, name)

    @property
    def shape(self):
        """That of one output."""
        return tuple(self._output.shape[1:])

    @property
    def session(self):
        """A session with a graph of its own, the network's."""
        return self._session

    def first_layer(self):
        """The weights [n, units] of the layers that take the latents and nothing but them and labels; n: all latents' numbers.

        The rows are those of the latents in the order of `inputs`, next to each other. Raises files.UserError where a latent
        goes through something else than a fully connected layer first.
        """
        found, rows, start = {}, {}, 0
        for name, given in self.inputs.items():
            if given.kind not in ('normal', 'uniform'):
                continue
            taken = list(_layers(self._placeholders[name], 0))
            if not taken:
                raise files.UserError(f'the first layer that takes {name} is not fully connected: it has no directions')
            for offset, layer, weight in taken:
                if layer.name not in found:
                    found[layer.name] = self._session.run(weight)
                    if layer.get_attr('transpose_b'):
                        found[layer.name] = found[layer.name].T
                rows.setdefault(layer.name, []).append((start, found[layer.name][offset:offset + given.shape[0]]))
            start += given.shape[0]
        blocks = []
        for parts in rows.values():
            block = np.zeros([start, parts[0][1].shape[1]])
            for place, part in parts:
                block[place:place + len(part)] = part
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    def draw(self, inputs):
        """Images uint8 [N, H, W, C] for {name of an input: array}; points and the like stay floats."""
        count = len(next(iter(inputs.values())))
        blocks = [{name: array[i:i + 4 * BATCH] for name, array in inputs.items()} for i in range(0, count, 4 * BATCH)]
        made = [self(**block) for block in blocks]
        return np.concatenate([pixels.to_uint8(block) for block in made] if self.output == 'images' else made)

    def constant(self, half=False):
        """The network with its weights as constants: (GraphDef, {name of an input: name of its tensor}, that of its output).

        half: weights of HALF numbers and more are kept in 16 bits, and made 32 where they are used. Raises files.UserError for
        weights that are not read as a whole.
        """
        found, handles = tf.GraphDef(), {node.name for node in self._network.node if node.op == 'VarHandleOp'}
        for node in self._network.node:
            if node.op == 'ReadVariableOp':
                value = self._session.run(f'network/{node.name}:0')
                small = half and value.dtype == np.float32 and value.size >= HALF
                proto = tf.make_tensor_proto(value.astype(np.float16) if small else value)
                constant = found.node.add(op='Const', name=f'{node.name}/half' if small else node.name)
                constant.attr['dtype'].type = proto.dtype
                constant.attr['value'].tensor.CopyFrom(proto)
                if small:
                    cast = found.node.add(op='Cast', name=node.name, input=[constant.name])
                    cast.attr['SrcT'].type, cast.attr['DstT'].type = proto.dtype, tf.float32.as_datatype_enum
            elif node.name not in handles:
                if handles & {name.lstrip('^').partition(':')[0] for name in node.input}:
                    raise files.UserError(f'{node.name} ({node.op}) reads a part of a weight, which then cannot be a constant')
                found.node.add().CopyFrom(node)
        return found, self._given, self._made

    def frozen(self):
        """The network as a GraphDef with its weights as constants, for converters.

        It leads from placeholders [None, ...] with the names of the `inputs`, labels as whole numbers, to a tensor with the
        name `made`. Raises as `constant` does.
        """
        network, given, made = self.constant()
        with tf.Graph().as_default() as whole:
            tensors = {given[name]: tf.placeholder(found.dtype, [None, *found.shape], name)
                       for name, found in self.inputs.items()}
            made, = tf.import_graph_def(network, tensors, [made], name='network', producer_op_list=self._producer)
            tf.identity(made, self.made)
            return tf.graph_util.extract_sub_graph(whole.as_graph_def(), [self.made, *self.inputs])

    @property
    def made(self):
        """The output's name in files where no input may have it too: 'made_images' of a network from images to images."""
        return f'made_{self.output}' if self.output in self.inputs else self.output


def _layers(tensor, offset):
    """(offset of the tensor's numbers in its input, MatMul, weight) of each fully connected layer that takes a tensor [N, n]."""
    for operation in tensor.consumers():
        if operation.type == 'MatMul' and operation.inputs[0] is tensor and not operation.get_attr('transpose_a'):
            yield offset, operation, operation.inputs[1]
        elif operation.type == 'Identity':
            yield from _layers(operation.outputs[0], offset)
        elif operation.type == 'ConcatV2' and operation.outputs[0].shape.rank == 2:
            *parts, _ = operation.inputs
            if tensor.shape[0] == operation.outputs[0].shape[0]:
                before = next(place for place, part in enumerate(parts) if part is tensor)
                yield from _layers(operation.outputs[0], offset + sum(part.shape[1] for part in parts[:before]))


def saved(folder, name):
    """Path of the network `name` that the run in `folder` has saved; files.UserError if there is none."""
    path = files.existing(pathlib.Path(folder) / name)
    if not path.is_dir():
        cure = 'leave out --best' if name.endswith('-best') else 'give the folder of a run that has saved one'
        raise files.UserError(f'{folder} holds no {name}: {cure}')
    return path


def generator(folder, best=False):
    """The generator of a run: the last one, or the one that measured best while training. files.UserError if there is none."""
    return _drawn(folder, 'generator', Loaded(folder, 'generator-best' if best else 'generator'))


def sampled(folder, name='generator', best=False):
    """A network of a run that makes samples, of latents (`networks.can_be_drawn`) or of images (`networks.translates`).

    Raises files.UserError, which names those that there are, for other networks, and as `Loaded` does.
    """
    if name != 'generator' and name not in (described := runfolder.read(folder)['networks']):
        raise files.UserError(files.one_line(f'{folder} has no network {name!r}: it has {", ".join(described)}'))
    found = Loaded(folder, f'{name}-best' if best else name)
    return found if networks.translates(found.inputs, found.output) else _drawn(folder, name, found)


def _drawn(folder, name, found):
    if not networks.can_be_drawn(found.inputs):
        raise files.UserError(f'the {name} of {folder} takes images, not latents: there is nothing to draw it from')
    return found


def given(folder, network):
    """(the test pictures uint8 [N, h, w, c] that the generator of a run is drawn from, the classes [N] that they show, or None).

    network: it, or one that takes pictures of the same shape. Raises files.UserError where there are none of that.
    """
    images, labels = archives.read(pathlib.Path(folder) / 'inputs.npz')
    if images.shape[1:] != tuple(next(iter(network.inputs.values())).shape):
        raise files.UserError(f'{folder}/inputs.npz holds pictures of another size than its generator takes: '
                              'the training command writes it again')
    return images, labels


def translated(network, images):
    """What a network makes of images uint8 [N, h, w, c], uint8 [N, H, W, C]. network: a `Loaded` of images alone."""
    name, = network.inputs
    blocks = [images[i:i + 4 * BATCH] for i in range(0, len(images), 4 * BATCH)]
    return np.concatenate([network.draw({name: pixels.to_float(block)}) for block in blocks])


def samples(folder, count, seed=0, best=False):
    """`count` samples of a run, uint8 [count, H, W, C]; a seed's first samples are the same for every count.

    Of a generator that takes pictures they are what it makes of the first test pictures, as many as there are.
    """
    generate = sampled(folder, best=best)
    if networks.translates(generate.inputs, generate.output):
        return translated(generate, given(folder, generate)[0][:count])
    return generate.draw(networks.draw(generate.inputs, count, seed))
