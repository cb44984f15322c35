"""The user's cache: downloaded data sets and decoded pictures."""
import functools
import os
import pathlib
import stat
import tempfile


def path(name):
    """Where `name` is kept: under $XDG_CACHE_HOME, or ~/.cache, or the temporary folder for a user without a home."""
    base = os.path.expanduser(os.environ.get('XDG_CACHE_HOME') or '~/.cache')
    return pathlib.Path(_homeless(tempfile.gettempdir()) if base.startswith('~') else base, 'gan-training', name)


@functools.cache
def _homeless(parent):
    """A folder in `parent` that only this user can write to; a new one where somebody else has taken its name."""
    user = os.getuid() if hasattr(os, 'getuid') else 0
    folder = os.path.join(parent, f'gan-training-{user}')
    os.makedirs(parent, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o077:
            return tempfile.mkdtemp(prefix=f'gan-training-{user}-', dir=parent)
    return folder
