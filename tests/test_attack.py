"""A few hundred of the attacks, with a fixed seed; and that they can fail: what everything withstands proves nothing."""
import concurrent.futures
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from collections import Counter

from plumbing import mnist, picturecache

import attack
import attack_runs
import judged
import pytest
from conftest import ROOT
from judged import Broke, Done, judge

READERS = 'idx', 'gzip', 'npz', 'wheel', 'pictures', 'cache', 'archive'
ERROR = 'error: there is no such thing\n'


def attacked(*arguments):
    done = subprocess.run([sys.executable, '-m', 'tests.attack', *arguments], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'OMP_NUM_THREADS': '1', 'TF_CPP_MIN_LOG_LEVEL': '3'})
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_readers_hold():
    out = attacked('--cases', '220', '--seed', '11', '--only', *READERS)
    assert [line.split()[0] for line in out.splitlines()] == ['kind', *READERS, 'all']


@pytest.mark.slow
def test_runs_hold():
    """Kills and signals are in test_reliability.py."""
    kinds = 'hostile', 'export', 'checkpoint', 'record', 'report', 'flag', 'two', 'name'
    attacked('--cases', '32', '--seed', '11', '--only', *kinds)


# The judge

@pytest.mark.parametrize('done', [Done(0), Done(0, 'wrote x.png\n', 'a note\n'), Done(2, error=ERROR), Done(
    2, error='mnist: not from here: no\n 50%|###  | 1/2\r100%|#####| 2/2\n' + ERROR)])
def test_what_is_well(done):
    assert judge(done) == ''


@pytest.mark.parametrize('done, complaint', [
    (Done(1, error='Traceback (most recent call last):\n'), 'Traceback'),
    (Done(0, out='Traceback (most recent call last):\n'), 'Traceback'),
    (Done(2, error='Traceback (most recent call last):\n' + ERROR), 'Traceback'),
    (Done(2, error=ERROR + ERROR), '2 error lines'), (Done(2), '0 error lines'), (Done(2, out=ERROR), '0 error lines'),
    (Done(2, error=ERROR + 'and more\n'), 'not the last line'), (Done(0, error=ERROR), 'an error line'),
    (Done(0, error='x.py:3: RuntimeWarning: overflow\n'), 'RuntimeWarning'), (Done(-6), 'status -6'), (Done(-9), 'status -9'),
    (Done(1, error=ERROR), 'status 1'), (Done(130), 'status 130'), (Done(0, peak=3 * 2**30), '3.0 GiB'),
    (Done(-9, hung=True), 'no end in')])
def test_what_is_not_well(done, complaint):
    assert complaint in judge(done)


def test_signals_are_well_where_they_were_sent():
    assert judge(Done(-9), may=(0, -9)) == judge(Done(130), may=(0, 130)) == '' and judge(Done(143), may=(0, 130))


def test_files_elsewhere_are_noticed():
    with judged.place_of('elsewhere') as place:
        for change in (lambda: (place.home / 'x').write_text('x'), lambda: (place.home / 'x').write_text('more'),
                       lambda: (place.home / 'x').unlink(), lambda: (place.tmp / 'x').symlink_to('y')):
            with pytest.raises(Broke, match='outside'), place.closed(place.cwd):
                change()
        with place.closed(place.cwd):
            (place.cwd / 'mine').write_text('x')


def test_what_a_child_does_is_seen():
    with judged.place_of('child') as place:
        assert place.forked(lambda: [3]).value == [3]
        assert 'Traceback' in judge(place.forked(lambda: 1 / 0)) and judge(place.forked(lambda: os._exit(3))) == 'status 3: '
        assert place.forked(lambda: b'x' * 2**29).peak > 2**29
        with pytest.raises(Broke, match='outside'):
            place.forked(lambda: (place.home / 'x').write_text('x'))


def broken(case, numbers):
    """What the cases of so many numbers complain of."""
    found = Counter()
    for number in range(numbers):
        with judged.place_of(f'broken-{number}') as place:
            try:
                case(random.Random(number), place)
            except Broke as error:
                found[str(error)] += 1
    return found


def test_a_reader_that_believes_what_it_reads_is_caught(monkeypatch):
    monkeypatch.setattr(mnist, 'verify', lambda name, key, array, label: array)
    assert any('other pictures or labels' in complaint for complaint in broken(attack.KINDS['idx'].case, 20))


def test_a_cache_that_is_believed_is_caught(monkeypatch):
    judged.made('pictures')
    monkeypatch.setattr(picturecache, '_verify', lambda *arguments: None)
    found = broken(attack.KINDS['cache'].case, 30)
    assert any('other pictures' in complaint for complaint in found), found


def test_a_reader_that_does_not_tell_is_caught(monkeypatch):
    monkeypatch.setattr(mnist, 'load', lambda name, split, folder: 1 / 0)
    assert all('Traceback' in complaint for complaint in broken(attack.KINDS['gzip'].case, 3))


def of_another_run(name):
    """The complaint about a finished run in which one thing is that of a longer run."""
    attack.prepare(['record'])
    with judged.place_of('another') as place:
        folder, longer = place.path / 'run', judged.made('gan_fc') / '30' / name
        shutil.copytree(judged.made('gan_fc') / '20', folder)
        attack_runs.same_run(place, folder, 'gan_fc', 20)
        if longer.is_dir():
            shutil.rmtree(folder / name)
            shutil.copytree(longer, folder / name)
            differs = attack_runs.read(place, folder, 'sample')[1] != attack_runs.expected_reading('gan_fc', 'sample')
            assert differs == (name == 'generator')
        else:
            shutil.copy(longer, folder / name)
        try:
            attack_runs.same_run(place, folder, 'gan_fc', 20)
        except Broke as error:
            return str(error)
    return ''


@pytest.mark.slow
def test_what_is_of_another_run_is_caught():
    """In a process of its own, which has had no session before it forks."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
        for name in 'generator', 'scalars.csv', 'metrics.json', 'samples.gif', 'samples':
            assert name in pool.submit(of_another_run, name).result()


def test_cases_are_counted_and_repeat():
    cases = attack.cases(list(attack.KINDS), 10000)
    attacks = Counter()
    for kind, _ in cases:
        attacks[kind] += attack.KINDS[kind].per
    assert sum(attacks.values()) == 10000 and attacks['kill'] == 60 and len(set(cases)) == len(cases)
    assert attack.cases(['kill'], 1000) == [('kill', number) for number in range(100)]
    draws = [random.Random(f'1 idx {number}').random() for number in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
