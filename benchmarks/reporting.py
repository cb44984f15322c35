"""What scalars.csv and TensorBoard cost: steps a second of a script with its reports and without, in turns in one process.

    python -m benchmarks.reporting dcgan.py --blocks 20

A block is as many steps as LOG_EVERY, the last of which is reported as run.train does: scalars, histograms, gradient norms,
learning rates. Blocks with and without reports take turns, so that a noisy machine disturbs both alike.
"""
import importlib
import pathlib
import statistics
import tempfile
import time

import run
from plumbing import flags, graph, hardware, recorder, runfolder

import tensorflow.compat.v1 as tf


def built(script):
    """What a script gives to run.train, with its graph as the default one."""
    given, train = {}, run.train
    run.train = lambda script, **arguments: given.update(arguments)
    try:
        script['main']()
    finally:
        run.train = train
    return given


def main():
    parser = flags.Parser(__doc__)
    parser.add_argument('script', help='for example dcgan.py; at its defaults')
    parser.add_argument('--blocks', type=flags.whole('the number of blocks', 1), default=20, help='of each kind [20]')
    given = parser.parse_args()
    script = vars(importlib.import_module(pathlib.Path(given.script).stem))
    precision = hardware.resolve(script.get('PRECISION', run.PRECISION))
    hardware.prepare(precision)
    with tf.Graph().as_default(), tempfile.TemporaryDirectory() as folder:
        found = built(script)
        updates, scalars, extras = found['updates'], found['scalars'], graph.extras(found.get('scores'))
        averaged = graph.sampling(found['networks'], script['WEIGHT_AVERAGE'], updates[-1])
        operations = [*updates[:-1], averaged.advance]
        fetches = [graph.fetches(operations, updates, wanted) for wanted in (scalars, {**scalars, **extras})]
        with tf.Session(config=hardware.session_config(precision)) as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            plain, reporting = ([(session.make_callable(tensors), names) for tensors, names in some] for some in fetches)
            columns = dict.fromkeys(scalars, 'loss')
            with recorder.Recorder(pathlib.Path(folder), runfolder.Completed(pathlib.Path(folder)), columns, 0,
                                   tf.get_default_graph().as_graph_def(), {}) as record:
                def block(number, reported):
                    for step in range(run.LOG_EVERY):
                        last, values = reported and step == run.LOG_EVERY - 1, {}
                        for call, names in reporting if last else plain:
                            values.update(zip(names, call()[1:], strict=True))
                    if reported:
                        record.scalars(number, values)
                        record.tell(number, {name: values[name] for name in extras})

                def timed(number, reported):
                    began = time.perf_counter()
                    block(number, reported)
                    return time.perf_counter() - began

                block(0, True)
                pairs = [(timed(number, False), timed(number, True)) for number in range(1, given.blocks + 1)]
    without, with_reports = zip(*pairs, strict=True)
    costs = sorted(100 * (b / a - 1) for a, b in pairs)
    quarter = len(costs) // 4
    print(f'{given.script}: {run.LOG_EVERY / statistics.median(without):.2f} steps a second without reports, '
          f'{run.LOG_EVERY / statistics.median(with_reports):.2f} with; a report every {run.LOG_EVERY} steps costs '
          f'{statistics.median(costs):.1f} % of the time (half of the {len(costs)} pairs of blocks: {costs[quarter]:.1f} to '
          f'{costs[-1 - quarter]:.1f} %)')


if __name__ == '__main__':
    main()
