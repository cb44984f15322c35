"""Programs that are run side by side, each with its share of the processors."""
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import typing

THREADS = 'OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS'


class Done(typing.NamedTuple):
    """How a program ended."""
    status: int   # its exit status
    out: str      # what it wrote to stdout
    error: str    # the last line that it wrote to stderr


def cores():
    """How many processors this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def run(commands, at_once, threads=None):
    """Runs Python programs, {key: [script, argument, ...]}, so many at once; yields (key, Done) as they end.

    threads: of each program; if None, those of the machine are shared out, but for what the
    environment says of them, unless each has all. A program that is still
    running when the caller stops, because of Ctrl-C for instance, is sent one SIGTERM, and waited for.
    """
    at_once = max(1, min(at_once, len(commands)))
    environment = {**os.environ, 'TF_FORCE_GPU_ALLOW_GROWTH': 'true'} if at_once > 1 else dict(os.environ)
    if threads or at_once > 1:
        shared = dict.fromkeys(THREADS, str(threads or max(1, cores() // at_once)))
        environment = environment | shared if threads else shared | environment
    running, stopped, lock = set(), threading.Event(), threading.Lock()

    def one(command):
        with lock:
            if stopped.is_set():
                return None
            process = subprocess.Popen([sys.executable, *map(str, command)], env=environment, text=True, errors='replace',
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       start_new_session=True)  # Ctrl-C is for us alone: two signals would be one too many
            running.add(process)
        out, error = process.communicate()
        with lock:
            running.discard(process)
        lines = [line for line in error.splitlines() if line.strip()]
        return Done(process.returncode, out, lines[-1] if lines else '')

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        started = {pool.submit(one, command): key for key, command in commands.items()}
        try:
            for ended in concurrent.futures.as_completed(started):
                yield started[ended], ended.result()
        finally:
            with lock:
                stopped.set()
                for process in running:
                    process.send_signal(signal.SIGTERM)
