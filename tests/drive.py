"""Starts a script as a program on a small data set of its own: python tests/drive.py SCRIPT FLAGS…"""
import importlib
import sys

import data
import run

import numpy as np


def load(name, split='train'):
    """96 pictures with a bright bar each; as uint8 [96, 28, 28, 1], and labels."""
    images, labels = np.zeros([96, 28, 28, 1], np.uint8), np.arange(96, dtype=np.uint8) % 10
    for image, label in zip(images, labels, strict=True):
        image[2 * label:2 * label + 6, 4:24] = 100 + 15 * label
    return images, labels


if __name__ == '__main__':
    data.load = load
    run.main(vars(importlib.import_module(sys.argv.pop(1))))
