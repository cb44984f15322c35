"""What happens before TensorFlow is imported, which takes seconds: it is made to keep quiet, and flags are checked."""
import contextlib
import importlib.util
import os
import sys
import tempfile

from plumbing import files, flags


def quiet_tensorflow():
    """From now on importing TensorFlow prints nothing, unless it raises.

    Its libraries write to the file descriptor 2 while they are loaded, before any logging can be turned off.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # what they would write later: notes about devices and graphs
    os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')   # spares a second of importing Keras
    if 'tensorflow' not in sys.modules:
        sys.meta_path.insert(0, _Finder)


class _Finder:
    """Finds `tensorflow`, once, with a loader that runs under `kept_back`."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != 'tensorflow':
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def exec_module(module):
                with kept_back():
                    load(module)

            spec.loader.exec_module = exec_module
        return spec


@contextlib.contextmanager
def kept_back():
    """The context in which what is written to the file descriptor 2 goes to a file, which is shown if there is an error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def program(path):
    """What is done first when the program at `path`, at the root, is started.

    Mistyped flags of a script, and its --help, end here: its constants and those of run.py are read, not imported.
    """
    sys.excepthook = _stopped
    script = flags.written(path)
    if 'STEPS' in script:
        with files.one_line_errors():
            flags.parse([script, flags.written(path.with_name('run.py'))])


def _stopped(kind, error, trace):
    """Ctrl-C while a script of ours is still importing its libraries."""
    if issubclass(kind, KeyboardInterrupt):
        print('stopped before it began', file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
