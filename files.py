"""Files that appear whole or not at all, and the one kind of error that is the user's to mend."""
import contextlib
import logging
import os
import pathlib
import shutil
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # before TensorFlow is imported: no notes about the processor


class UserError(Exception):
    """Something the person at the keyboard can put right; its message is one line that says what and how."""


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path, for a file or a folder; on success it takes the place of `path`, else it is removed.

    The temporary name keeps the suffix, because writers of pictures choose the format by it.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.new-{path.name}')
    try:
        _remove(temporary)
        yield temporary
        if temporary.is_dir():
            _remove(path)
        os.replace(temporary, path)
    finally:
        _remove(temporary)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def one_line_errors():
    """Turns a UserError or a failing file system into one line on stderr and exit status 2; others keep their trace.

    The notes of TensorFlow's logger, which are not for users, are silenced.
    """
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    try:
        yield
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
