"""Memory and start-up of dcgan.py on folders of 1,000 and of 100,000 colour pictures of 64x64, which it makes for itself.

    python -m benchmarks.memory

A row for each folder: how long decoding takes (with everything else before the first step); then, with the decoded
pictures in the cache, how long it takes to the first step, and the largest resident memory of a run that trains, measures
while training and at the end.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
COUNTS = (1_000, 100_000)
FLAGS = '--image-size 64 --channels 3 --width 16 --batch-size 32 --steps 40 --eval-every 20 --sample-every 20'.split()


def make(folder, count):
    """Discs of all colours on slopes of all colours, as PNG files in folders of a thousand."""
    random = np.random.default_rng(0)
    down, right = np.mgrid[:64, :64].astype(np.float32) / 64
    for i in range(count):
        path = folder / f'{i // 1000:03d}' / f'{i:06d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        slope, start, disc = random.uniform(-128, 128, [2, 3]), random.uniform(0, 255, 3), random.uniform(0, 255, 3)
        y, x, radius = random.uniform(0.2, 0.8, 3)
        picture = start + down[..., None] * slope[0] + right[..., None] * slope[1]
        picture[(down - y) ** 2 + (right - x) ** 2 < (radius / 3) ** 2] = disc
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path, compress_level=1)


def train(folder, run, environment):
    """(seconds to the first step, seconds in all, largest resident memory in bytes) of a run."""
    began, first = time.monotonic(), None
    process = subprocess.Popen([sys.executable, 'dcgan.py', '--dataset', str(folder), '--run-dir', str(run), *FLAGS],
                               cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if line.startswith('starts at step'):
            first = time.monotonic() - began
        if re.match(r'/.* pictures of|[\d,]+ samples', line):
            print('   ', line.strip(), flush=True)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0 and first, f'dcgan.py failed: {status}'
    return first, time.monotonic() - began, usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def main():
    rows = []
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        environment = {**os.environ, 'XDG_CACHE_HOME': str(work / 'cache')}
        for count in COUNTS:
            make(work / str(count), count)
            decoding, _, _ = train(work / str(count), work / f'run-{count}', environment)
            start, _, memory = train(work / str(count), work / f'again-{count}', environment)
            rows.append(f'| {count:,} | {decoding:.0f} s | {start:.1f} s | {memory / 1e9:.2f} GB |')
    print('| pictures | first start, with decoding | start from the cache | resident at most |\n|---|---|---|---|')
    print('\n'.join(rows))


if __name__ == '__main__':
    main()
