"""How long until something happens: seconds from a command to its --help, to a complaint about a flag, and to the first step.

    python -m benchmarks.startup dcgan.py
    python -m benchmarks.startup dcgan.py --dataset fashion_mnist --repeat 9

The data set is in the cache after a first run that does not count. The first step is done when scalars.csv has its row.
"""
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from plumbing import flags

ROOT = pathlib.Path(__file__).parent.parent


def seconds(command, reached=None):
    """From the start of a Python program to the moment when `reached()` holds, or to its end; it is killed then."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (reached and reached()):
        time.sleep(0.002)
    took = time.perf_counter() - began
    process.kill()
    process.wait()
    return took


def first_step(command):
    with tempfile.TemporaryDirectory() as folder:
        rows = pathlib.Path(folder, 'run/scalars.csv')
        return seconds([*command, '--run-dir', f'{folder}/run', '--log-every', '1', '--steps', '1000000'],
                       lambda: rows.exists() and rows.read_bytes().count(b'\n') > 1)


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('script', help='for example dcgan.py')
    parser.add_argument('--dataset', default='mnist')
    parser.add_argument('--repeat', type=flags.whole('the number of repetitions', 1), default=5)
    given = parser.parse_args()
    script = str(ROOT / given.script)
    command = [script, '--dataset', given.dataset]
    first_step(command)
    for name, measure in [('--help', lambda: seconds([script, '--help'])),
                          ('a mistyped flag', lambda: seconds([script, '--stesp', '3'])),
                          ('importing TensorFlow alone', lambda: seconds(['-c', 'import tensorflow.compat.v1'])),
                          ('the first step', lambda: first_step(command))]:
        found = sorted(measure() for _ in range(given.repeat))
        print(f'{name}: {statistics.median(found):.2f} s ({found[0]:.2f} to {found[-1]:.2f})', flush=True)


if __name__ == '__main__':
    main()
