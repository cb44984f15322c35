"""Files that appear whole or not at all, and errors that the user can fix, told in one line."""
import contextlib
import logging
import os
import pathlib
import shutil
import sys


class UserError(Exception):
    """Something the person at the keyboard can fix; its message is one line that says what is wrong and what to do."""


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path for a file or a folder. On success it replaces `path`, otherwise it is removed.

    The temporary name keeps the suffix, because image writers choose the format by it.
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


def reason(error):
    """An exception as one line. Of a TensorFlow error, what happened without where in the graph it happened."""
    text = getattr(error, 'message', None) or str(error)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith('[[')]
    line = ' '.join(' '.join(lines).split()) or type(error).__name__
    return line.removeprefix('<urlopen error ').removesuffix('>')


@contextlib.contextmanager
def one_line_errors():
    """Turns a UserError or an OSError into one line on stderr and exit status 2; other exceptions keep their traceback.

    TensorFlow's own warnings, which are not meant for users, are silenced.
    """
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    try:
        yield
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
