"""What the attacks share: programs in processes of their own, how they are judged, whole artefacts, and damage.

tests/attack.py says what a case is and when it breaks.
"""
import atexit
import contextlib
import functools
import json
import math
import os
import pathlib
import pickle
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import typing

from plumbing import files

import forkserver
from extremes import memory

SECONDS = 120  # a guard: no case comes near it
BYTES = 5 * 2**29  # of which the libraries take a fifth, and a picture of decoder.MAX_PIXELS two thirds
MAKERS = {}  # name of an artefact: function that fills its folder


# Processes

class Done(typing.NamedTuple):
    """How a program ended. value: what the function returned, for a reader; hung: it was ended because of SECONDS."""
    status: int
    out: str = ''
    error: str = ''
    peak: int = 0
    hung: bool = False
    value: object = None


def judge(done, may=(0, 2)):
    """What is wrong with how a program ended, or ''. may: the exit statuses that are right."""
    lines = [line for line in re.split('[\n\r]', done.error) if line.strip()]
    errors = [line for line in lines if line.startswith('error: ')]
    odd = re.search(r'Traceback \(most recent|Exception ignored|\w+Warning: |Check failed|Fatal Python', done.error + done.out)
    wrong = (
        (done.hung, f'no end in {SECONDS} s'), (done.peak > BYTES, f'{done.peak / 2**30:.1f} GiB of memory'),
        (odd, odd and f'{odd[0]!r}'), (done.status not in may, f'status {done.status}'),
        (done.status == 2 and len(errors) != 1, f'{len(errors)} error lines'), (done.status != 2 and errors, 'an error line'),
        (len(errors) == 1 and not lines[-1].startswith('error: '), 'the error is not the last line'))
    found = ', '.join(what for is_so, what in wrong if is_so)
    return found and f'{found}: {" | ".join(lines)[-700:]}'


class Place:
    """A case's own folder: `home`, `tmp`, `cwd`, which programs run in, and whatever the case puts beside them."""

    def __init__(self, path):
        self.path, self.told = path, ''
        self.home, self.tmp, self.cwd = (path / name for name in ('home', 'tmp', 'cwd'))
        for folder in self.home, self.tmp, self.cwd:
            folder.mkdir()
        self.environment = {'HOME': str(self.home), 'TMPDIR': str(self.tmp), 'XDG_CACHE_HOME': None, 'GAN_DATA_DIR': None,
                            'DRIVE_COUNT': '100', 'MPLCONFIGDIR': str(made('matplotlib')), 'TF_CPP_MIN_LOG_LEVEL': '3'}

    def listing(self):
        return {path: (status.st_size, status.st_mtime_ns) for path in self.path.rglob('*')
                if not (status := path.lstat()).st_mode & 0o040000}

    @contextlib.contextmanager
    def closed(self, *may):
        """Raises Broke if a file outside the cache and the paths `may` appears, changes or goes."""
        before = self.listing()
        yield
        after, may = self.listing(), (*may, self.home / '.cache/gan-training', self.home / '.keras')
        odd = [path for path in {**before, **after} if before.get(path) != after.get(path)
               and not any(path == where or where in path.parents for where in may)]
        require(not odd, f'outside of its folder: {odd[:3]}')

    def forked(self, function, *may):
        """Done of a function in a child of this process, in which `files.one_line_errors` tells what it raises."""
        with self.closed(*may), tempfile.TemporaryDirectory() as folder:
            child = os.fork()
            if child == 0:
                self._be(function, pathlib.Path(folder))
            deadline, status = time.monotonic() + SECONDS, 0
            while not (ended := os.wait4(child, os.WNOHANG))[0] and time.monotonic() < deadline:
                time.sleep(0.002)
            if hung := not ended[0]:
                os.kill(child, signal.SIGKILL)
                ended = os.wait4(child, 0)
            status = os.waitstatus_to_exitcode(ended[1])
            out, error = (pathlib.Path(folder, name).read_text(errors='replace') for name in ('out', 'err'))
            value = pickle.loads(pathlib.Path(folder, 'value').read_bytes()) if status == 0 else None
            return Done(status, out, error, 1024 * ended[2].ru_maxrss, hung, value)

    def _be(self, function, folder):
        status = 1
        try:
            atexit._clear()
            for number, name in (1, 'out'), (2, 'err'):
                os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
            sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
            for name, value in self.environment.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
            tempfile.tempdir = None
            os.chdir(self.cwd)
            with files.one_line_errors():
                (folder / 'value').write_bytes(pickle.dumps(function()))
            status = 0
        except SystemExit as end:
            status = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            forkserver.leave(status)

    def start(self, script, *arguments, **options):
        return forkserver.start(script, *arguments, **{'cwd': self.cwd, 'environment': self.environment, **options})

    def command(self, script, *arguments, may=(), **options):
        """Done of a script; may: paths that it may write to."""
        with self.closed(*may):
            return finished(self.start(script, *arguments, **options))


def finished(process):
    """Done of a process of the fork server, once it has ended or was ended."""
    deadline, peak = time.monotonic() + SECONDS, 0
    while process.poll() is None and time.monotonic() < deadline and (peak := max(peak, memory(process.pid))) < BYTES:
        time.sleep(0.01)
    if hung := process.poll() is None and peak < BYTES:
        process.send_signal(signal.SIGUSR1)  # it tells where it is
        time.sleep(1)
    if process.poll() is None:
        process.kill()
    out, error = process.communicate()
    return Done(process.returncode, out, error, max(peak, process.peak), hung)


class Broke(Exception):
    """A case did not hold."""


def require(condition, complaint):
    if not condition:
        raise Broke(complaint)


def well(done, may=(0, 2), after=''):
    """`done`, judged."""
    complaint = judge(done, may)
    require(not complaint, f'{after}{complaint}')
    return done


# Whole artefacts, each made once

@functools.cache
def made(name):
    """The folder of an artefact, filled by the function of that name in MAKERS."""
    folder = made_in() / name
    if not folder.exists():
        folder.mkdir()
        MAKERS.get(name, lambda folder: None)(folder)
    return folder


@functools.cache
def made_in():
    folder = tempfile.mkdtemp(prefix='attack-')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return pathlib.Path(folder)


@contextlib.contextmanager
def place_of(label):
    folder = made_in() / f'case-{label}'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield Place(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# Damage

def damaged(draw, content):
    """Bytes, changed at random: near the start, where headers are, more often than elsewhere."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        end = max(1, min(len(content), draw.choice([16, 64, 2**30])))
        at, how = draw.randrange(end), draw.randrange(9)
        length = draw.choice([1, 2, 4, 16, 200])
        if how == 0 and content:
            content[at] ^= 1 << draw.randrange(8)
        elif how == 1:
            content[at:at + length] = draw.randbytes(length)
        elif how == 2:
            del content[at:]
        elif how == 3:
            content[at:at + length] = bytes(length) if draw.random() < 0.5 else b'\xff' * length
        elif how == 4:
            content[at:at] = draw.randbytes(length)
        elif how == 5:
            del content[at:at + length]
        elif how == 6:
            content += draw.choice([b'\0', b'\n', draw.randbytes(100), bytes(content[:5000])])
        elif how == 7:
            content[at:at] = content[at:at + length]
        else:
            content[at:at + 4] = draw.choice([b'\x7f\xff\xff\xff', b'\xff\xff\xff\x7f', b'\0\0\0\0', b'\x80\0\0\0'])
    return bytes(content)


ODD = (None, [], {}, '', 0, -1, 1, 1.5, 1e308, -1e308, 2**31, 2**63, 2**70, 10**400, math.nan, math.inf, True, 'x' * 10**5,
       'é\n\0', [[]], {'': None}, '../../x', [0] * 1000, 'normal', 'images')


def damaged_json(draw, content):
    """JSON with something else in one of its places, a key less or more, or nested deeply."""
    record = json.loads(content)
    places = [(record, key) for key in record]
    for inside, key in places:
        value = inside[key]
        if isinstance(value, dict | list):
            places += [(value, inner) for inner in (value if isinstance(value, dict) else range(len(value)))]
    for _ in range(draw.choice([1, 1, 3])):
        inside, key = draw.choice(places)
        other, others = draw.choice(places)
        how = draw.randrange(5)
        if how < 2:
            inside[key] = draw.choice(ODD)
        elif how == 2 and isinstance(inside, dict):
            inside.pop(key, None)
        elif how == 3 and isinstance(inside, dict):
            inside[str(key) + draw.choice(['', 'x', '_', '/', '\n'])] = draw.choice(ODD)
        elif isinstance(other, dict) and others in other:
            inside[key] = json.loads(json.dumps(other[others]))
    text = json.dumps(record)
    deep = draw.random()
    if deep < 0.05:
        text = text.replace('20', '[' * 10**5 + ']' * 10**5, 1)
    elif deep < 0.1:
        text = text.encode(draw.choice(['utf-16', 'utf-8-sig', 'utf-32'])).decode('latin1')
    return text.encode('latin1', 'replace')


def damage(draw, path):
    """Damages a file, or what its name stands for."""
    how, others = draw.random(), [other for other in path.parent.iterdir() if other != path]
    if how < 0.05:
        path.unlink()
    elif how < 0.07:
        path.unlink()
        path.mkdir()
    elif how < 0.1:
        path.unlink()
        path.symlink_to(draw.choice([path, pathlib.Path('nowhere'), pathlib.Path('/dev/zero'), pathlib.Path('/dev/null')]))
    elif how < 0.12:
        path.write_bytes(b'')
    elif how < 0.13:
        os.truncate(path, draw.choice([2**20, 2**32]))
    elif how < 0.2 and others and (other := draw.choice(others)).is_file():
        path.write_bytes(other.read_bytes())
    elif how < 0.22:
        path.rename(path.with_name(draw.choice(['odd', f'x{path.name}', path.name.upper()])))
    elif path.suffix == '.json' and how < 0.85:
        path.write_bytes(damaged_json(draw, path.read_bytes()))
    else:
        path.write_bytes(damaged(draw, path.read_bytes()))
