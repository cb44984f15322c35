"""Ctrl-C and SIGTERM, noticed between two steps."""
import contextlib
import signal


@contextlib.contextmanager
def caught():
    """Yields a list that receives the first SIGINT or SIGTERM; a second one interrupts at once."""
    received = []

    def catch(number, frame):
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
