"""Floating-point operations of a graph, counted from its static shapes: multiplications and additions of products."""
import math


def count(targets):
    """Operations of the MatMul and Conv2D kernels, gradients included, that one session call of `targets` runs.

    What is behind a control edge alone runs only for its effects on variables: TensorFlow drops the rest of it. Two for
    each product that is added up; those with a padding zero count too, as is usual. What is not a product
    (normalization, activations, Adam) does not count, and neither does the body of a loop.
    Raises ValueError for a kernel of unknown shape.
    """
    needed, walked, todo = set(), set(), [(getattr(target, 'op', target), True) for target in targets]
    while todo:
        operation, wanted = todo.pop()
        wanted = wanted or operation.op_def.is_stateful
        if operation in needed or (operation in walked and not wanted):
            continue
        (needed if wanted else walked).add(operation)
        todo += [(tensor.op, wanted) for tensor in operation.inputs] + [(op, False) for op in operation.control_inputs]
    total = 2 * sum(PRODUCTS[operation.type](operation) for operation in needed if operation.type in PRODUCTS)
    return total


def _size(tensor):
    if not tensor.shape.is_fully_defined():
        raise ValueError(f'{tensor.name} has the shape {tensor.shape}: nothing to count')
    return math.prod(tensor.shape.as_list())


def _matmul(operation):
    a = operation.inputs[0]
    inner = a.shape[-2 if operation.get_attr('transpose_a') else -1]
    return _size(operation.outputs[0]) * inner


def _conv(operation):           # every output pixel and channel: window x inputs
    y, kernel = operation.outputs[0], operation.inputs[1]
    return _size(y) * _size(kernel) // kernel.shape[3]


def _conv_input(operation):     # as the convolution from the result to inputs[2]
    y, kernel = operation.inputs[2], operation.inputs[1]
    return _size(y) * _size(kernel) // kernel.shape[3]


def _conv_filter(operation):
    y, kernel = operation.inputs[2], operation.outputs[0]
    return _size(y) * _size(kernel) // kernel.shape[3]


PRODUCTS = {'MatMul': _matmul, 'Conv2D': _conv, 'Conv2DBackpropInput': _conv_input, 'Conv2DBackpropFilter': _conv_filter}
