"""What carries the scripts: flags, files, run folders, graph surgery, readers of data. It imports nothing from the root."""
import os
import pathlib
import sys

# A program that is started without a standard stream (`2>&-`) would open a checkpoint under that stream's number.
for number, (name, mode) in enumerate([('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')]):
    try:
        os.fstat(number)
    except OSError:
        setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))

from plumbing import startup  # noqa: E402

startup.quiet_tensorflow()
_program = pathlib.Path(getattr(sys.modules['__main__'], '__file__', None) or '').resolve()
if _program.is_file() and _program.parent == pathlib.Path(__file__).resolve().parents[1]:
    startup.program(_program)
