"""Files that appear whole or not at all, and errors that the user can fix, told in one line."""
import contextlib
import glob
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import sys

from plumbing import interrupts

LOST = 75  # the exit status of a worker whose peer is gone; EX_TEMPFAIL of sysexits.h: trying again may help


class UserError(Exception):
    """Something the person at the keyboard can fix; its message is one line that says what is wrong and what to do."""
    status = 2

    def _render_traceback_(self):
        """In a notebook that line is all that is shown."""
        return [f'{type(self).__name__}: {self}']


class Lost(UserError):
    """Another worker of a cluster is gone; see cluster.py."""
    status = LOST


def expanded(path):
    """A path as text with `~` and `~name` replaced by home folders, which a shell leaves alone in `--run-dir=~/x`.

    Raises UserError where there is no such home. A folder that is really called `~` is `./~`.
    """
    found = os.path.expanduser(path)
    if found.startswith('~'):
        raise UserError(f'there is no home folder for {path}: write the path in full, or ./{path} for a folder of that name')
    return found


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path for a file or a folder. On success it replaces `path`, otherwise it is removed.

    What is written reaches the disk before it gets its name, so that a power cut leaves the old one or the new one. A folder
    cannot be replaced in one go: the old one is set aside as .old-NAME for a moment, where `existing` finds it. The
    temporary name keeps the suffix, because image writers choose the format by it. A device or a pipe is written as it is.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.new-{os.getpid()}-{path.name}')
    _sweep(path.parent, glob.escape(path.name))
    try:
        remove(temporary)
        yield temporary
        to_disk(temporary)
        if temporary.is_dir():
            aside = _aside(path)
            if path.exists():
                remove(aside)
                os.replace(path, aside)
            os.replace(temporary, path)
            remove(aside)
        else:
            os.replace(temporary, path)
    finally:
        remove(temporary)


def write_json(path, record):
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + '\n')


def existing(path):
    """`path`, or where it is if a program was killed at the moment when it replaced that folder."""
    path = pathlib.Path(path)
    return path if path.exists() or not _aside(path).exists() else _aside(path)


def inside_folders(path):
    """Raises UserError if a file or folder cannot be made at `path`, because something above it is a file."""
    above = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if above and not above.is_dir():
        raise UserError(f'{above} is a file, so that {path} cannot be in it: give another name')


def clean(folder):
    """Mends a folder that only this program writes to: what replacements that were killed have left is removed or put back."""
    for aside in folder.glob('.old-*'):
        path = folder / aside.name.removeprefix('.old-')
        if path.exists():
            remove(aside)
        else:
            os.replace(aside, path)
    _sweep(folder, '*')


def _sweep(folder, pattern):
    for temporary in folder.glob(f'.new-*-{pattern}'):
        if not _runs(temporary.name.split('-')[1]):
            remove(temporary)


def _runs(process):
    """Whether a process of this number may be running."""
    if os.name != 'posix':
        return True
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        pass
    return True


def _aside(path):
    return path.with_name(f'.old-{path.name}')


def remove(path):
    """Removes a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def to_disk(path):
    """Waits until a file, or all files of a folder, are on the disk."""
    for inside in path.rglob('*') if path.is_dir() else [path]:
        if inside.is_file():
            with open(inside, 'rb') as file:
                os.fsync(file.fileno())


def content(path, most=2**26):
    """The bytes of a file. Raises OSError for one of more than `most` bytes, and for devices and pipes, which may never end."""
    if path.exists() and not path.is_file():
        raise OSError(f'{path} is not a file')
    with open(path, 'rb') as file:
        found = file.read(min(most, os.fstat(file.fileno()).st_size) + 1)
    if len(found) > most:
        raise OSError(f'{path} has more than {most:,} bytes')
    return found


def sums(folder):
    """{path of a file in the folder, with /: sha256 of its content}."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob('*') if path.is_file()}


def sha256(path):
    """Of a file's content; of a folder, over names and contents of its files; '' where there is nothing."""
    if path.is_dir():
        return hashlib.sha256(json.dumps(sums(path), sort_keys=True).encode()).hexdigest()
    if not path.is_file():
        return ''
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def inside(folder):
    """The context in which `folder` is the working folder: TensorFlow takes a path as a pattern, of which a name has none."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def shortened(name, most=100):
    """A file's name cut to so many bytes, for names that are made from it: a file system takes 255."""
    return os.fsdecode(os.fsencode(name)[:most].decode('utf-8', 'ignore')) if len(os.fsencode(name)) > most else name


def one_line(text):
    """A text without line breaks and other control characters, which names of files may have: they become '\\n' and the like."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape', 'surrogatepass').decode() for c in str(text))


def reason(error):
    """An exception as one line. Of a TensorFlow error, what happened without where in the graph it happened."""
    text = (getattr(error, 'message', None) or str(error)).partition('Traceback (most recent call last)')[0]
    text = re.split(r"Node: '.*'\n", text)[-1].partition('\nOriginal stack trace')[0]
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(('[[', 'Hint:'))]
    line = ' '.join(' '.join(lines).split()) or type(error).__name__
    return line.removeprefix('<urlopen error ').removesuffix('>')


@contextlib.contextmanager
def one_line_errors():
    """Turns what a user can cause into one line on stderr: errors with exit status 2, SIGINT and SIGTERM with 128 + theirs.

    Errors are UserError, OSError, MemoryError and TensorFlow's own. Others are our mistakes, and keep their traceback; with
    `python -X dev` all do. TensorFlow's warnings, which are not meant for users, are silenced.
    """
    logging.getLogger('tensorflow').setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')  # for names of files that are not UTF-8
    with interrupts.raised():
        try:
            yield
        except KeyboardInterrupt as error:
            number = getattr(error, 'number', signal.SIGINT)
            _end(f'stopped by {signal.Signals(number).name}; what was saved is kept', 128 + number)
        except BrokenPipeError:                            # of `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(128 + signal.SIGPIPE)
        except Exception as error:
            tensorflow = any(base.__name__ == 'OpError' for base in type(error).__mro__)
            if sys.flags.dev_mode or not (tensorflow or isinstance(error, UserError | OSError | MemoryError)):
                raise
            if isinstance(error, MemoryError):
                _end(f'error: there is not enough memory ({reason(error)}): make the networks, batches or pictures smaller', 2)
            where, status = getattr(getattr(error, 'op', None), 'name', None) if tensorflow else None, getattr(error, 'status', 2)
            _end(f'error: {reason(error) if tensorflow else error}{f" (in {where})" if where else ""}', status)


def _end(line, status):
    print(one_line(line), file=sys.stderr)
    sys.exit(status)
