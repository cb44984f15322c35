"""What a terminal shows while a run goes on: a bar of one line of 80 columns, and that a long measurement is alive."""
import contextlib
import math
import shutil
import sys
import threading
import time

import tqdm

BAR = '{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{remaining}, {rate_fmt}{postfix}]'
BESIDES = 38  # columns of it, with a bar of a few, besides the postfix


def bar(start, steps, unit='step'):
    """A tqdm bar that begins at step `start` of `steps`."""
    return tqdm.tqdm(total=steps, initial=start, unit=unit, bar_format=BAR, ncols=_columns(), smoothing=0.05,
                     mininterval=0.2 if _is_watched() else 20)


def told(scalars, last=math.inf, lowest=math.inf):
    """The text beside a bar: the Frechet distance measured last and the lowest one, and as many {name: value} as have room."""
    words = [f'FD={last:.3f}' + (f' (best {lowest:.3f})' if lowest < last else '')] if last < math.inf else []
    room = _columns() - BESIDES - sum(len(word) + 2 for word in words)
    found = []
    for name, value in scalars.items():
        found.append(f'{name}={_short(value)}')
        room -= len(found[-1]) + 2
        if room < 0:
            found.pop()
            break
    return ', '.join(found + words)


def _short(value):
    return f'{value:.3g}' if abs(value) >= 1 else f'{value:.2f}'


def _is_watched():
    """Whether somebody sees stderr, on a terminal or in a notebook; else it is a file, of which each line stays."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith('ipykernel.')


def _columns():
    return shutil.get_terminal_size().columns - 1 if _is_watched() else 120


@contextlib.contextmanager
def alive(text):
    """Prints the text and, on a terminal or in a notebook, the seconds that what is inside takes."""
    print(text, flush=True)
    if not _is_watched():
        yield
        return
    ended, began = threading.Event(), time.monotonic()

    def tick():
        while not ended.wait(1):
            print(f'\r{time.monotonic() - began:.0f} s', end='', file=sys.stderr, flush=True)

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    finally:
        ended.set()
        ticking.join()
        print('\r          \r', end='', file=sys.stderr, flush=True)
