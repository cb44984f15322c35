"""Ctrl-C and SIGTERM: raised at once, or noticed between two steps."""
import contextlib
import signal
import threading


class Interrupted(KeyboardInterrupt):
    """A signal that asks the program to stop; `number` is which."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number

    def _render_traceback_(self):
        """What a notebook shows."""
        return [f'stopped by {self}']


def _stop(number, frame):
    raise Interrupted(number)


@contextlib.contextmanager
def _handled_by(handler):
    if threading.current_thread() is not threading.main_thread():  # another thread cannot ask for signals
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raised():
    """The context in which SIGINT and SIGTERM raise Interrupted."""
    return _handled_by(_stop)


@contextlib.contextmanager
def caught():
    """Yields a list that receives the first SIGINT or SIGTERM; a second one raises Interrupted."""
    received = []

    def catch(number, frame):
        if received:
            raise Interrupted(number)
        received.append(number)

    with _handled_by(catch):
        yield received
