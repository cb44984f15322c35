"""Floating-point operations of a graph, counted from its static shapes: multiplications and additions of products."""
import math


def count(targets):
    """Operations of the MatMul and Conv2D kernels, gradients included, that one session call of `targets` runs.

    Two for each product that is added up; those with a padding zero count too, as is usual. What is not a product
    (normalization, activations, Adam) does not count, and neither does the body of a loop.
    Raises ValueError for a kernel of unknown shape.
    """
    seen, todo, total = set(), [getattr(target, 'op', target) for target in targets], 0
    while todo:
        operation = todo.pop()
        if operation not in seen:
            seen.add(operation)
            todo += [tensor.op for tensor in operation.inputs] + operation.control_inputs
            if operation.type in PRODUCTS:
                total += 2 * PRODUCTS[operation.type](operation)
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
