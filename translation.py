"""What the translations from picture to picture share: how a picture of one kind is made from one of the other.

Read by cogan.py, pix2pix.py and cyclegan.py. Pictures are [B, s, s, C] in [-1, 1], and so is what is made of them.
"""
import tensorflow.compat.v1 as tf


def edges(x):
    """The outer edges of what is bright: the maximum of each 3x3 neighbourhood less the pixel itself, in units of [0, 1].

    Dilation minus picture, the external morphological gradient (Rivest, Soille & Beucher 1993); a pair of digits and edges as
    in Liu & Tuzel 2016, arXiv:1606.07536, section 4.
    """
    with tf.name_scope('edges'):
        return tf.nn.max_pool2d(x, 3, 1, 'SAME') - x - 1          # 2 (dilated - x) / 2 - 1


def negative(x):
    """White for black: -x."""
    return tf.negative(x, name='negative')
