"""Starts a script as several processes of this machine that train as one.

    python launch.py -n 2 dcgan.py --dataset mnist
    CUDA_VISIBLE_DEVICES=0,1 python launch.py -n 2 dcgan.py --dataset mnist

They find each other by TF_CONFIG, on ports that are free, and share the processors, or the devices of CUDA_VISIBLE_DEVICES. The
lines that they print begin with their numbers; that of the chief, which fills the run's folder, is 0. Ctrl-C and SIGTERM are
passed on. When one of them fails the others are ended, and the exit status is that of the first that failed.

Page: docs/cluster.md
"""
import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from plumbing import files, flags, interrupts, jobs

GRACE = 20  # seconds that the others have to end by themselves, then after SIGTERM, when one has failed


def parse(arguments):
    parser = flags.Parser(__doc__, usage='%(prog)s [-n N] SCRIPT [--FLAG VALUE] ...')
    parser.add_argument('-n', '--workers', type=flags.whole('the number of workers', 1, 64), default=2, help='processes [2]')
    parser.add_argument('script', type=flags.path, help='for example dcgan.py; `python dcgan.py --help` lists its flags')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, help='the flags of the script, the same for each')
    return parser.parse_args(arguments)


def free_ports(count):
    """Ports of this machine that no program has now."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(('', 0))
        return [one.getsockname()[1] for one in found]


def environments(count):
    """What each of `count` workers has in its environment besides ours."""
    hosts = [f'127.0.0.1:{port}' for port in free_ports(count)]
    threads = {name: str(max(1, jobs.cores() // count)) for name in jobs.THREADS if name not in os.environ}
    devices = os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',')
    found = []
    for rank in range(count):
        task = {'cluster': {'worker': hosts}, 'task': {'type': 'worker', 'index': rank}}
        gpu = {'CUDA_VISIBLE_DEVICES': devices[rank]} if len(devices) >= count > 1 else {}
        found.append({'TF_CONFIG': json.dumps(task), **threads, **gpu})
    return found


class Process:
    """A worker whose lines are printed with its number."""

    def __init__(self, rank, command, environment):
        self._process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         start_new_session=True)  # Ctrl-C is for us alone: two signals would be one too many
        self.send, self.poll = self._process.send_signal, self._process.poll
        self._readers = [threading.Thread(target=_pass_on, args=[stream, out, f'[{rank}] '], daemon=True)
                         for stream, out in ((self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr))]
        for reader in self._readers:
            reader.start()

    def drain(self):
        for reader in self._readers:
            reader.join(5)


def _pass_on(stream, out, prefix):
    for line in stream:
        for part in filter(None, line.decode(errors='backslashreplace').rstrip('\n').split('\r')):
            with contextlib.suppress(OSError):  # nobody reads it any more
                out.write(f'{prefix}{part}\n')              # at once, for another worker's line may come in between
                out.flush()


def supervise(processes):
    """Waits for all -> the exit status, 0 or that of the first that failed; the others are ended then."""
    first, deadline, ends = 0, None, [signal.SIGTERM, signal.SIGKILL]
    with interrupts.caught() as caught:
        passed = 0
        while running := [process for process in processes if process.poll() is None]:
            if len(caught) > passed:
                passed = len(caught)
                for process in running:
                    process.send(caught[0])
            failed = [process.poll() for process in processes if process.poll()]
            if failed and not first:
                first, deadline = failed[0], time.monotonic() + GRACE
            if deadline and time.monotonic() > deadline:
                for process in running:
                    process.send(ends[0])
                ends, deadline = ends[1:] or ends, time.monotonic() + GRACE
            time.sleep(0.1)
    first = first or next((process.poll() for process in processes if process.poll()), 0)
    return 128 - first if first < 0 else first


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        command, processes = [sys.executable, str(flags.script(given.script)), *given.arguments], []
        try:
            for rank, environment in enumerate(environments(given.workers)):
                processes.append(Process(rank, command, environment))
            status = supervise(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.send(signal.SIGKILL)
                process.drain()
        sys.exit(status)


if __name__ == '__main__':
    main()
