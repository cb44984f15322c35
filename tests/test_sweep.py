"""sweep.py and plumbing/jobs.py: which runs there are, in which folders, and what becomes of those that fail or are stopped."""
import json
import signal
import statistics
import subprocess
import sys

import sweep
from plumbing import flags, jobs, naming

import pytest
from conftest import ROOT, wait_for

TOY = ROOT / 'toy.py'


def parsed(*arguments):
    given, modules, values = sweep.parse([str(TOY), *arguments])
    return sweep.combinations(modules, values)


def test_combinations_are_all_there_with_what_they_change():
    found = parsed('--packing', '1', '2', '--decay', '--no-decay', '--d-learning-rate', '1e-3', '--seeds', '2')
    assert len(found) == 8
    shipped = flags.written(TOY)
    changes = [changed for _, changed, _ in found]
    assert all(changed['D_LEARNING_RATE'] == 1e-3 for changed in changes)
    assert sum(changed.get('PACKING') == 2 for changed in changes) == 4
    assert sum(changed.get('SEED') == 1 for changed in changes) == 4
    assert sum(changed.get('DECAY') is (not shipped['DECAY']) for changed in changes) == 4
    assert len({naming.folder(TOY, 'grid', changed) for changed in changes}) == 8


def test_two_runs_of_one_folder_are_refused(tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    with refused('runs/dcgan-set-image-size-64 would be the folder of two runs'):
        sweep.main(['dcgan.py', '--dataset', 'a/set', 'b/set', '--image-size', '64'])
    assert not list(tmp_path.iterdir())


def test_values_of_tuples_and_texts():
    modules = [flags.written(ROOT / 'toy.py'), flags.written(ROOT / 'run.py')]
    modules[0] |= {'WIDTHS': (1, 2)}
    values = flags.alternatives(modules, ['--widths', '512,256', '64', '--dataset', 'ring', 'my set', '--decay'])
    assert values == {'WIDTHS': [['--widths', '512', '256'], ['--widths', '64']], 'DECAY': [['--decay']],
                      'DATASET': [['--dataset=ring'], ['--dataset=my set']]}


@pytest.mark.parametrize('arguments, complaint', [
    (['toy.py', '--packing', '1', 'x'], "PACKING is a whole number from 1 to 1000, not 'x'"),
    (['toy.py', '--pakcing', '1'], 'unrecognized arguments: --pakcing'),
    (['toy.py', '--steps', '1', '2'], '--steps tells no runs apart'),
    (['toy.py', '--run-dir', 'x'], '--run-dir tells no runs apart'),
    (['toy.py', '--seed', '1', '--seeds', '2'], '--seed and --seeds both give seeds'),
    (['toy.py', '--seeds', '0'], 'the number of seeds is a whole number from 1'),
    (['toy.py', '--fresh'], 'instead of giving --fresh'), (['toy.py', '--dataset', 'a/set', 'b/set'], "invalid choice: 'a/set'"),
    (['typo.py'], 'there is no script typo.py'), (['../typo.py'], 'there is no script ../typo.py'),
    (['ops.py'], 'trains nothing'), (['README.md'], 'trains nothing')])
def test_mistakes_end_before_anything_is_run(arguments, complaint, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    with refused(complaint):
        sweep.main(arguments)
    assert not list(tmp_path.iterdir())


def test_programs_run_side_by_side_with_their_share_of_the_threads(tmp_path, monkeypatch):
    script = tmp_path / 'a.py'
    script.write_text('import os, sys\nprint(os.environ["OMP_NUM_THREADS"])\nprint("no", file=sys.stderr)\n'
                      'sys.exit(int(sys.argv[1]))')
    found = dict(jobs.run({status: [script, status] for status in (0, 2, 3)}, 2, threads=5))
    assert found == {status: jobs.Done(status, '5\n', 'no') for status in (0, 2, 3)}
    monkeypatch.setenv('OMP_NUM_THREADS', '7')                      # as docs/resume.md says, for the same bits everywhere
    assert [done.out for _, done in jobs.run({status: [script, status] for status in (0, 2)}, 2)] == ['7\n'] * 2


def test_what_still_runs_is_asked_to_stop_once_and_the_rest_is_not_begun(tmp_path):
    script = tmp_path / 'a.py'
    script.write_text(f'''
import pathlib, signal, sys, time
here, name = pathlib.Path({str(tmp_path)!r}), sys.argv[1]
def stop(*_):
    with open(here / f'{{name}}.stopped', 'a') as file:
        file.write('x')
signal.signal(signal.SIGTERM, stop)
(here / f'{{name}}.began').touch()
while name != 'first' and not (here / f'{{name}}.stopped').exists():
    time.sleep(0.01)
while name == 'first' and not (here / 'second.began').exists():
    time.sleep(0.01)
''')
    running = jobs.run({name: [script, name] for name in ('first', 'second', 'third', 'fourth')}, 2)
    assert next(running)[0] == 'first'
    running.close()
    assert (tmp_path / 'second.stopped').read_text() == 'x' and not (tmp_path / 'fourth.began').exists()


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_stopped_and_ends_in_a_table(tmp_path):
    """The real thing: two seeds, stopped by Ctrl-C."""
    command = [sys.executable, ROOT / 'sweep.py', 'toy.py', '--g-learning-rate', '2e-3', '--d-learning-rate', '1e-3',
               '--seeds', '2', '-j', '2', '--steps', '40', '--sample-every', '0', '--json']
    process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: list(tmp_path.glob('runs/*/metrics.json')), process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert process.returncode in (130, 0) and 'Traceback' not in error, error
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob('runs/*/*') if path.name not in ('.lock', 'settings.json')}
    assert subprocess.run(command, cwd=tmp_path, text=True, capture_output=True).stdout == done.stdout
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.glob('runs/*/*')
                    if path.name not in ('.lock', 'settings.json')}                           # nothing is trained again
    folders = sorted(path.name for path in (tmp_path / 'runs').iterdir())
    assert len(folders) == 2 and sum('seed-1' in name for name in folders) == 1
    table, = json.loads(done.stdout)['tables']
    runs = [row for row in table['rows'] if row['kind'] == 'run']
    means = [row for row in table['rows'] if row['kind'] == 'mean']
    assert len(runs) == 2 and len(means) == 1 and table['rows'][-1]['kind'] == 'real'
    for mean in means:
        own = [row['numbers']['quality'] for row in runs if row['runs'][0] in mean['runs']]
        assert mean['numbers']['quality'] == pytest.approx(statistics.fmean(own)) and mean['counts']['quality'] == 2
    one = '--g-learning-rate 2e-3 --d-learning-rate 1e-3 --seed 1 --steps 40 --sample-every 0'.split()
    by_hand = subprocess.run([sys.executable, ROOT / 'toy.py', *one], cwd=tmp_path, text=True, capture_output=True)
    assert by_hand.returncode == 0 and 'finished: runs/toy-grid' in by_hand.stdout, by_hand.stderr


@pytest.mark.slow
def test_a_run_that_fails_is_named_with_its_line_and_the_others_go_on(tmp_path):
    done = subprocess.run([sys.executable, ROOT / 'sweep.py', 'toy.py', '--g-learning-rate', '1e-3', '1e30',
                           '--steps', '3', '--sample-every', '0', '--no-decay'],
                          cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 1 and '1 failed:' in done.stderr and done.stdout.count('| toy-grid') == 1
    failed = [line for line in done.stderr.splitlines() if line.startswith('  ')]
    assert len(failed) == 1 and '--g-learning-rate=1e30' in failed[0] and 'error: ' in failed[0]
