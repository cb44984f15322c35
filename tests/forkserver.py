"""Starts scripts as processes of their own without importing TensorFlow anew for each: a server forks itself.

The server has imported TensorFlow and the project but has built no graph and no session. What it starts runs a script's
file, or a command such as sample.py, as `python SCRIPT ARGUMENTS` would, with the small data set of drive.py where
`driven`, and is killed, signalled and waited for like a process of `subprocess`.
"""
import atexit
import contextlib
import faulthandler
import importlib.util
import json
import os
import pathlib
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).parent.parent
_server = None


COMMANDS = 'sample', 'metrics', 'invert', 'retrieval', 'export', 'report', 'sweep', 'launch'  # what is no script of a run


def address():
    """Where the server is: that of $FORKSERVER, or else one of our own, which is started if it is not there yet."""
    global _server
    if 'FORKSERVER' in os.environ:
        return os.environ['FORKSERVER']
    if _server is None:
        _server = _Server()
    return _server.address


def start(script, *arguments, driven=True, environment=None, limit=None, cwd=ROOT, bomb=''):
    """script: a file, or the name of a script at the root. limit: the largest size in bytes of a file that it may write.

    environment: {name: value, or None for a variable that is not set}. bomb: Python that is run before the script.
    """
    path = script if str(script).endswith('.py') else ROOT / f'{script}.py'
    return Process(address(), {'script': str(path), 'arguments': list(map(str, arguments)), 'driven': driven,
                               'environment': environment or {}, 'limit': limit, 'cwd': str(cwd), 'bomb': bomb})


def run(script, *arguments, **options):
    """Starts a script and waits for it: (exit status, stdout, the last line of stderr). A traceback fails the test."""
    process = start(script, *arguments, **options)
    out, error = process.communicate()
    assert 'Traceback' not in error, error
    return process.returncode, out, error.strip().splitlines()[-1] if error.strip() else ''


class Process:
    """`peak`: once it has ended, the most bytes of memory that it held."""

    def __init__(self, address, request):
        self._folder = tempfile.TemporaryDirectory()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._lines = self._socket.makefile('rw')
        print(json.dumps({**request, 'folder': self._folder.name}), file=self._lines, flush=True)
        self.pid, self.returncode, self.peak = int(self._lines.readline()), None, 0

    def poll(self):
        if self.returncode is None and select.select([self._socket], [], [], 0)[0]:
            status, kilobytes = map(int, self._lines.readline().split())
            self.returncode, self.peak = os.waitstatus_to_exitcode(status), 1024 * kilobytes
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=300):
        """Waits for the end -> (stdout, stderr). TimeoutError, and the process is killed, if it never comes."""
        if self.returncode is None and not select.select([self._socket], [], [], timeout)[0]:
            self.kill()
            raise TimeoutError(f'no end after {timeout} s: {self._read("err")[-2000:]}')
        self.poll()
        self._lines.close()
        self._socket.close()
        return self._read('out'), self._read('err')

    def _read(self, name):
        return pathlib.Path(self._folder.name, name).read_text(errors='replace')


class _Server:
    def __init__(self):
        self._folder = folder = tempfile.TemporaryDirectory()
        self.address = f'{folder.name}/socket'
        process = subprocess.Popen(
            [sys.executable, __file__, self.address], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT}/tests'})
        assert process.stdout.readline() == 'ready\n'
        atexit.register(lambda: (process.kill(), process.wait(), folder.cleanup()))


def _serve(address):
    import run as training  # everything a script imports, before the first fork
    import testbed  # noqa: F401

    import matplotlib.backends.backend_agg  # noqa: F401  and what it imports at its end
    import matplotlib.figure  # noqa: F401
    import sklearn.decomposition  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print('ready', flush=True)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:  # that closes when the tests end
        connection, _ = listening.accept()
        if os.fork() == 0:                                   # one process watches the script, another one is it
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            lines = connection.makefile('rw')
            request = json.loads(lines.readline())
            child = os.fork()
            if child == 0:
                lines.close()
                connection.close()
                _be(request, training)
            print(child, file=lines, flush=True)
            _, status, used = os.wait4(child, 0)
            with contextlib.suppress(OSError):               # nobody waits for a process that was killed with its test
                print(status, used.ru_maxrss, file=lines, flush=True)
            os._exit(0)
        connection.close()


def _be(request, training):
    status = 1
    try:
        for number, name in enumerate(['in', 'out', 'err']):
            path = '/dev/null' if name == 'in' else f'{request["folder"]}/{name}'
            os.dup2(os.open(path, os.O_RDONLY if name == 'in' else os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        faulthandler.register(signal.SIGUSR1, file=2)        # where it is, of one that seems to hang
        os.chdir(request['cwd'])
        for name, value in request['environment'].items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        tempfile.tempdir = None                              # TMPDIR may be another one now
        if request['limit']:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request['limit'], request['limit']))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        script = pathlib.Path(request['script'])
        sys.argv = [str(script), *request['arguments']]
        if request['driven']:
            import data

            import drive
            data.load = drive.load
        exec(request['bomb'], {})
        if script.stem in COMMANDS or script.parent.name == 'benchmarks':
            runpy.run_path(str(script), run_name='__main__')
        else:
            spec = importlib.util.spec_from_file_location(script.stem, script)
            module = sys.modules[script.stem] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            training.main(vars(module))
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except KeyboardInterrupt:                                # before the script's own handler; see plumbing/__init__.py
        print('stopped before it began', file=sys.stderr)
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)


def leave(status):
    """Ends a forked process as one that was started would end."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == '__main__':
    _serve(sys.argv[1])
