"""The convolution, its transpose, its gradient with respect to the kernel, and batch norm, each as a CPU computes it fastest.

Each of the first three has the other two as its gradients, so that gradients of gradients are computed the fast way too.
"""
import tensorflow.compat.v1 as tf

BFLOAT16 = False       # whether the graph will be rewritten to bfloat16 on a CPU, where other ways are faster


def conv(x, kernel, stride, padding):
    """x [B, h, w, c], kernel [size, size, c, filters] -> [B, h', w', filters]; its gradients are computed as below."""
    shape = [x.shape[0] or tf.shape(x)[0], *x.shape[1:]]

    @tf.custom_gradient
    def convolved(x, kernel):
        def gradients(dy):
            return conv_transpose(dy, kernel, shape, stride, padding), kernel_gradient(x, dy, kernel.shape[0], stride, padding)

        return tf.nn.conv2d(x, kernel, stride, padding), gradients

    return convolved(x, kernel)


def conv_transpose(x, kernel, shape, stride, padding):
    """x [B, h, w, c], kernel [size, size, filters, c] -> `shape` [B, h', w', filters]: the gradient of `conv` with respect to x.

    oneDNN is slow for few filters. There the result is an ordinary convolution, each of whose pixels holds a square of
    stride x stride pixels as channels (Shi et al. 2016, arXiv:1609.05158); its kernel is 2x2 if size = 2 stride.
    """
    size, _, filters, c = kernel.shape
    doubled = size == 2 * stride and padding == 'SAME' and shape[1:3] == [x.shape[1] * stride, x.shape[2] * stride]

    @tf.custom_gradient
    def transposed(x, kernel):
        def gradients(dy):
            return conv(dy, kernel, stride, padding), kernel_gradient(dy, x, size, stride, padding)

        if not doubled or filters * stride ** 2 > 16:
            return tf.nn.conv2d_transpose(x, kernel, shape, stride, padding), gradients
        small = tf.transpose(tf.reshape(kernel, [2, stride, 2, stride, filters, c]), [0, 2, 5, 1, 3, 4])
        turned = tf.reverse(tf.reshape(small, [4, -1]), [0])     # both axes of 2x2; OpenVINO cannot reverse two at once
        small = tf.reshape(turned, [2, 2, c, stride ** 2 * filters])
        y = tf.nn.conv2d(x, small, 1, [[0, 0], [1, 1], [1, 1], [0, 0]])              # [B, h + 1, w + 1, stride^2 filters]
        start = stride // 2
        return tf.nn.depth_to_space(y, stride)[:, start:start + shape[1], start:start + shape[2]], gradients

    return transposed(x, kernel)


def in_full_channels(norm, *arrays):
    """norm(*arrays), where each of the arrays, and of norm's results, is [..., c], a channel depending on no other.

    In 16 bits, oneDNN's batch norm is 4 to 30 times as slow where c is no multiple of 16: there it gets more channels, of zeros.
    """
    c = arrays[0].shape[-1]
    if not BFLOAT16 or c % 16 == 0:
        return norm(*arrays)
    full = [tf.pad(x, [*[[0, 0]] * (x.shape.ndims - 1), [0, -c % 16]]) for x in arrays]
    return [tf.slice(y, [0] * y.shape.ndims, [-1] * (y.shape.ndims - 1) + [c]) for y in norm(*full)]


def kernel_gradient(x, dy, size, stride, padding):
    """The gradient of `conv` with respect to its kernel [size, size, c, filters], for x [B, h, w, c], dy [B, h', w', filters].

    It is itself a convolution, of x with the kernel dy and the dilation `stride`, where the examples are the channels: in 16
    bits and up to 16 x 16 pixels that is two to four times as fast as oneDNN's own kernel gradient.
    """
    (_, h, w, c), (batch, rows, columns, _) = x.shape, dy.shape
    if not BFLOAT16 or batch is None or h > 16 or w > 16 or c < 16:
        return tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=[size, size, c, dy.shape[3]], out_backprop=dy,
                                               strides=[1, stride, stride, 1], padding=padding)
    margins = [[0, 0]]
    for length, places in (h, rows), (w, columns):
        margin = max((places - 1) * stride + size - length, 0) if padding == 'SAME' else 0
        margins.append([margin // 2, margin - margin // 2])
    y = tf.nn.conv2d(tf.transpose(x, [3, 1, 2, 0]), tf.transpose(dy, [1, 2, 0, 3]), 1, [*margins, [0, 0]],
                     dilations=stride)                                                # [c, size, size, filters]
    return tf.transpose(y[:, :size, :size], [1, 2, 0, 3])
