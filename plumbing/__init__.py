"""What carries the scripts: flags, files, run folders, graph surgery, readers of data. It imports nothing from the root."""
import os
import pathlib
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # before TensorFlow is imported: no notes about processors
os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')  # spares a second of importing Keras

# A program that is started without a standard stream (`2>&-`) would open a checkpoint under that stream's number.
for number, (name, mode) in enumerate([('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')]):
    try:
        os.fstat(number)
    except OSError:
        setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))


def _stopped(kind, error, trace):
    """Ctrl-C while a script of ours is still importing its libraries."""
    if issubclass(kind, KeyboardInterrupt):
        print('stopped before it began', file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


_program = getattr(sys.modules['__main__'], '__file__', None)
if _program and pathlib.Path(_program).resolve().parent == pathlib.Path(__file__).resolve().parents[1]:
    sys.excepthook = _stopped
