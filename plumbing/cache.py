"""The user's cache: downloaded data sets and decoded pictures."""
import os
import pathlib


def path(name):
    """Where `name` is kept: under $XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(base, 'gan-training', name)
