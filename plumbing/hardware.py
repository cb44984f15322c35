"""What the machine can do: 16 or 32 bits, and the session that uses them."""
import math
import os
import pathlib

from plumbing import convolutions
from plumbing.files import UserError

import tensorflow.compat.v1 as tf
from tensorflow import config as tf_config


def prepare(precision):
    """Sets what has to be set before the graph is built. precision: 'auto', 'float32' or 'mixed', as `resolve` takes it.

    On a GPU operations become deterministic, which exact resuming needs, and float32 means float32, not TF32. None of
    this has been run: there was no GPU at hand.
    """
    resolved, gpu = resolve(precision), bool(tf_config.list_physical_devices('GPU'))
    if gpu:
        tf_config.experimental.enable_op_determinism()
        tf_config.experimental.enable_tensor_float_32_execution(resolved != 'float32')
    convolutions.BFLOAT16 = resolved == 'mixed' and not gpu


def memory():
    """Bytes of the machine's memory; infinite where the system does not say."""
    try:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):
        return math.inf


def resolve(wanted, images=True):
    """'mixed' or 'float32', what `wanted` ('auto' or one of these) means on this machine.

    images: whether the data are images. Their pixels have 8 bits, so that 16 do; coordinates would be rounded to a lattice.
    'auto' is 'mixed' for images where products in bfloat16 are faster than in float32: with AMX, or with AVX-512 on an AMD. On an
    Intel without AMX they take twice as long (docs/throughput.md).
    Raises UserError for 'mixed' on a CPU without bfloat16 instructions.
    """
    gpu = bool(tf_config.list_physical_devices('GPU'))
    told = _cpuinfo()
    fast = 'amx_bf16' in told or 'avx512_bf16' in told and 'AuthenticAMD' in told
    if wanted == 'mixed' and not gpu and not fast and 'avx512_bf16' not in told:
        raise UserError('this CPU has no bfloat16 instructions: use --precision float32')
    return wanted if wanted != 'auto' else 'mixed' if fast and images and not gpu else 'float32'


def _cpuinfo():
    told = pathlib.Path('/proc/cpuinfo')
    return told.read_text() if told.exists() else ''


def session_config(precision):
    """ConfigProto for 'float32' or 'mixed'; mixed precision is a rewrite of the graph, to bfloat16 on a CPU."""
    config = tf.ConfigProto(allow_soft_placement=True)
    if precision == 'mixed':
        rewrite = config.graph_options.rewrite_options
        on = type(rewrite).ON
        rewrite.auto_mixed_precision_onednn_bfloat16 = on  # CPU
        rewrite.auto_mixed_precision = on                  # GPU
    return config
