"""Runs as a user has them: killed, stopped, resumed, repeated, finished, refused. Each is a process of its own."""
import csv
import json
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import time

import data
import dcgan
import ops
import run
import sample

import drive
import files
import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from flags import constants

ROOT = pathlib.Path(__file__).parent.parent
SMALL = ('--width 2 --hidden 32 --batch-size 16 --steps 40 '
         '--log-every 5 --sample-every 10 --checkpoint-every 5 --eval-every 0').split()


def start(folder, *flags, **options):
    command = [sys.executable, 'tests/drive.py', 'dcgan', '--run-dir', str(folder), *SMALL, *flags]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, 'PYTHONPATH': str(ROOT)}, **options)


def train(folder, *flags, **options):
    """(exit status, stdout, the last line of stderr)."""
    process = start(folder, *flags, **options)
    out, error = process.communicate(timeout=300)
    assert 'Traceback' not in error, error
    return process.returncode, out, error.strip().splitlines()[-1] if error.strip() else ''


def weights(folder):
    latest = sorted(folder.glob('checkpoints/step-*.index'))[-1].with_suffix('')
    reader = tf.train.load_checkpoint(str(latest))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_run(folder, other):
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert (folder / 'scalars.csv').read_bytes() == (other / 'scalars.csv').read_bytes()
    pictures = sorted(path.name for path in folder.glob('samples/*'))
    assert pictures == sorted(path.name for path in other.glob('samples/*'))
    for name in pictures:
        np.testing.assert_array_equal(iio.imread(folder / 'samples' / name), iio.imread(other / 'samples' / name))


def wait_for(condition, process, seconds=120):
    """Until the condition holds or the process has ended; only a guard against waiting for ever, not a claim about speed."""
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The folder of an undisturbed run, and what it printed."""
    folder = tmp_path_factory.mktemp('finished') / 'run'
    status, out, _ = train(folder)
    assert status == 0
    return folder, out


def test_measured_while_training_the_best_generator_is_kept(tmp_path, monkeypatch):
    """Killed after the first measurement, the run must end with the same numbers and the same best as without."""
    monkeypatch.setenv('DRIVE_COUNT', '300')
    flags = '--eval-every 10 --eval-count 200 --steps 30'.split()
    status, out, _ = train(tmp_path / 'run', *flags)
    assert status == 0 and '300 samples (real pictures): frechet distance' in out
    rows = list(csv.DictReader((tmp_path / 'run/scalars.csv').read_text().splitlines()))
    measured = {int(row['step']): float(row['frechet_200']) for row in rows if row['frechet_200']}
    assert list(measured) == [10, 20, 30]
    process = start(tmp_path / 'killed', *flags)
    wait_for(lambda: list(tmp_path.glob('killed/checkpoints/step-000010.index')), process)
    process.kill()
    process.communicate()
    train(tmp_path / 'killed', *flags)
    assert_same_run(tmp_path / 'run', tmp_path / 'killed')
    best = min(measured, key=measured.get)
    train(tmp_path / 'short', *flags, '--steps', str(best))  # ends at the step that measured best
    expected = sample.draw(tmp_path / 'short', 5)
    for name in 'run', 'killed':
        np.testing.assert_array_equal(sample.draw(tmp_path / name, 5, best=True), expected)
    result = json.loads((tmp_path / 'run/metrics.json').read_text())
    assert result['count'] == 300 and result['model']['frechet_distance'] > result['real']['frechet_distance']
    assert (tmp_path / 'run/nearest.png').exists()


def copy(folder, target):
    subprocess.run(['cp', '-r', str(folder), str(target)], check=True)
    return target


def test_the_folder_of_a_run(finished):
    folder, out = finished
    names = {path.name for path in folder.iterdir()}
    events, = [name for name in names if name.startswith('events.out.tfevents')]
    assert names == {'settings.json', 'checkpoints', events, 'scalars.csv', 'samples', 'samples.gif', 'losses.png', 'generator'}
    assert sorted(path.name for path in folder.glob('samples/*')) == [f'step-{n:06d}.png' for n in (0, 10, 20, 30, 40)]
    assert len(list(folder.glob('checkpoints/*.index'))) == 3
    assert re.search(r'discriminator: [\d,]+ parameters, generator: [\d,]+ parameters', out) and 'samples' in out
    assert json.loads((folder / 'settings.json').read_text())['settings']['BATCH_SIZE'] == 16
    assert len(iio.imread(folder / 'samples.gif')) == 5
    rows = list(csv.DictReader((folder / 'scalars.csv').read_text().splitlines()))
    assert [row['step'] for row in rows] == [str(n) for n in range(5, 41, 5)]
    assert list(rows[0]) == ['step', 'd_loss', 'g_loss', 'D(x)', 'D(G(z))']


def test_the_event_file(finished):
    folder, _ = finished
    path, = folder.glob('events.*')
    events = list(tf.train.summary_iterator(str(path)))
    tags = [(event.step, value.tag) for event in events for value in event.summary.value]
    assert [step for step, tag in tags if tag == 'd_loss'] == list(range(5, 41, 5))
    assert [step for step, tag in tags if tag == 'samples'] == [0, 10, 20, 30, 40]
    assert [tag for _, tag in tags if 'settings' in tag]
    graph, = [tf.GraphDef.FromString(event.graph_def) for event in events if event.graph_def]
    assert {node.name.split('/')[0] for node in graph.node} == \
        {'data', 'generator', 'discriminator', 'losses', 'optimizers', 'sampling'}
    assert len(graph.SerializeToString()) < 2_000_000  # the data set is no constant of the graph


def test_again_is_finished_and_more_steps_go_on(finished, tmp_path):
    folder = copy(finished[0], tmp_path / 'run')
    before = (folder / 'scalars.csv').read_bytes()
    status, out, _ = train(folder)
    assert status == 0 and 'finished' in out and (folder / 'scalars.csv').read_bytes() == before
    status, out, _ = train(folder, '--steps', '50')
    assert status == 0 and 'goes on at step 40 of 50' in out
    straight = tmp_path / 'straight'
    train(straight, '--steps', '50')
    assert_same_run(folder, straight)


def test_the_same_seed_repeats_the_run_and_another_does_not(finished, tmp_path):
    train(tmp_path / 'again')
    assert_same_run(finished[0], tmp_path / 'again')
    train(tmp_path / 'other', '--seed', '1')
    assert (finished[0] / 'scalars.csv').read_bytes() != (tmp_path / 'other' / 'scalars.csv').read_bytes()


@pytest.mark.parametrize('script, flags', [
    ('gan_fc', '--g-hidden 16 --d-hidden 16'), ('wgan', '--g-hidden 16 --c-hidden 16'), ('wgan_gp', '--width 2')])
def test_every_script_goes_on_bit_for_bit_and_can_be_sampled(script, flags, tmp_path):
    flags = f'{flags} --batch-size 8 --log-every 1 --sample-every 3 --checkpoint-every 3 --eval-every 0'.split()

    def train_to(folder, steps):
        subprocess.run([sys.executable, 'tests/drive.py', script, '--run-dir', str(folder), '--steps', steps, *flags],
                       cwd=ROOT, check=True, capture_output=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    train_to(tmp_path / 'straight', '6')
    train_to(tmp_path / 'resumed', '3')
    train_to(tmp_path / 'resumed', '6')
    assert_same_run(tmp_path / 'straight', tmp_path / 'resumed')
    assert sample.draw(tmp_path / 'resumed', 3).shape == (3, 28, 28, 1)
    if script == 'wgan':
        critic = [w for name, w in weights(tmp_path / 'resumed').items() if name.startswith('critic/') and w.ndim]
        assert critic and max(np.abs(w).max() for w in critic) <= np.float32(0.01)


def test_killed_at_any_moment_it_ends_with_the_same_bits(finished, tmp_path):
    folder, moments = tmp_path / 'run', random.Random(7)
    for number in range(4):
        process = start(folder)
        if number == 0:  # while a checkpoint is being written
            wait_for(lambda: list(folder.glob('checkpoints/*.data-*')), process)
        elif number == 1:  # while the generator is being exported
            wait_for(lambda: list(folder.glob('.new-generator*')), process)
        else:
            wait_for(lambda: list(folder.glob('events.*')), process)
            time.sleep(moments.uniform(0, 6))
        process.kill()
        process.communicate()
    status, _, _ = train(folder)
    assert status == 0
    assert_same_run(folder, finished[0])
    assert not list(folder.rglob('.new-*')) and not list(folder.rglob('*tempstate*'))


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_saves_and_says_how_to_go_on(number, finished, tmp_path):
    folder = tmp_path / 'run'
    process = start(folder)
    wait_for(lambda: list(folder.glob('samples/step-000010.png')), process)
    process.send_signal(number)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 128 + number and 'Traceback' not in error
    step = int(re.search(r'stopped and saved at step (\d+) of 40; the same command goes on', out)[1])
    assert (folder / f'checkpoints/step-{step:06d}.index').exists()
    status, out, _ = train(folder)
    assert status == 0 and f'goes on at step {step} of 40' in out
    assert_same_run(folder, finished[0])


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(finished, tmp_path):
    folder = copy(finished[0], tmp_path / 'run')
    (folder / 'samples.gif').unlink()
    path, = folder.glob('checkpoints/step-000040.data-*')
    bits = bytearray(path.read_bytes())
    bits[len(bits) // 2] ^= 1
    path.write_bytes(bits)
    process = start(folder)
    out, error = process.communicate()
    assert process.returncode == 0 and 'step-000040 is damaged' in error and 'goes on at step 35 of 40' in out
    assert_same_run(folder, finished[0])


def test_checkpoints_all_damaged(finished, tmp_path):
    folder = copy(finished[0], tmp_path / 'run')
    for path in folder.glob('checkpoints/step-*.index'):
        path.write_bytes(path.read_bytes()[:100])
    status, _, error = train(folder)
    assert status == 2 and 'every checkpoint' in error


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('flags, complaint', [
    (['--seed', '5'], 'SEED was 0, now 5'), (['--beta1', '0.9', '--z-dim', '7'], 'Z_DIM was 100, now 7; BETA1 was 0.5, now 0.9'),
    (['--batch-size', '1000'], 'BATCH_SIZE')])
def test_other_settings_are_refused_and_nothing_is_touched(flags, complaint, finished):
    before = contents(finished[0])
    status, _, error = train(finished[0], *flags)
    assert status == 2 and error.startswith('error: ') and complaint in error
    assert contents(finished[0]) == before


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    status, _, error = train(tmp_path)
    assert status == 2 and 'not the folder of a run' in error and [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / 'run').write_text('a file')
    status, _, error = train(tmp_path / 'run')
    assert status == 2 and error.startswith('error: ')


def test_damaged_settings(finished, tmp_path):
    folder = copy(finished[0], tmp_path / 'run')
    (folder / 'settings.json').write_text('{"script":')
    status, _, error = train(folder)
    assert status == 2 and 'settings.json is damaged' in error


def test_a_full_disk_while_saving(tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_200_000, 1_200_000))  # below a checkpoint, above all else
    status, _, error = train(tmp_path / 'run', '--hidden', '256', preexec_fn=limit)
    assert status == 2 and re.match('error: cannot save step 5: .*File too large', error)
    assert not list(tmp_path.glob('run/checkpoints/*.index'))


def test_nan_stops_with_the_step_the_name_and_the_last_good_checkpoint(tmp_path):
    folder = tmp_path / 'run'
    status, _, error = train(folder, '--d-learning-rate', '1e30', '--checkpoint-every', '1')
    assert status == 2
    assert re.search(r'((_loss|\)) is -?(nan|inf)|no longer finite) at step \d+; (the last good|no) checkpoint', error), error
    saved = weights(folder) if list(folder.glob('checkpoints/*.index')) else {}
    assert all(np.isfinite(value).all() for value in saved.values())


def test_samples_of_a_run(finished, tmp_path):
    folder, _ = finished
    many = sample.draw(folder, 130, seed=3)
    assert many.shape == (130, 28, 28, 1) and many.dtype == np.uint8
    for count in 1, 65:
        np.testing.assert_array_equal(sample.draw(folder, count, seed=3), many[:count])
    assert not np.array_equal(sample.draw(folder, 2, seed=4), many[:2])
    sample.main([str(folder), '--count', '7', '--png', str(tmp_path / 'grid.png')])
    sample.main([str(folder), '--count', '130', '--seed', '3', '--npz', str(tmp_path / 'all.npz')])
    sample.main([str(folder), '--interpolate', str(tmp_path / 'walk.png')])
    np.testing.assert_array_equal(np.load(tmp_path / 'all.npz')['images'], many)
    assert iio.imread(tmp_path / 'grid.png').shape == (2 * (3 * 30 - 2), 2 * (3 * 30 - 2))
    assert iio.imread(tmp_path / 'walk.png').shape == (2 * (8 * 30 - 2), 2 * (10 * 30 - 2))


def test_a_walk_goes_from_one_latent_to_the_other(finished):
    frames = sample.walk(finished[0], rows=3, columns=5, seed=2).reshape(3, 5, 28, 28, 1)
    ends = sample.draw(finished[0], 6, seed=2)
    assert np.abs(frames[:, 0].astype(int) - ends[:3]).max() <= 1 and np.abs(frames[:, -1].astype(int) - ends[3:]).max() <= 1


def test_the_saved_model_has_one_signature_and_the_averaged_weights(finished):
    loaded = tf2.saved_model.load(str(finished[0] / 'generator'))
    assert list(loaded.signatures) == ['serving_default']
    signature = loaded.signatures['serving_default']
    z = np.random.default_rng(0).standard_normal([64, 100], np.float32)
    images = signature(z=tf2.constant(z))['images'].numpy()
    assert b'_gradient_op_type' not in (finished[0] / 'generator/saved_model.pb').read_bytes()  # other programs differentiate it
    assert images.shape == (64, 28, 28, 1) and np.abs(images).max() <= 1
    shown = iio.imread(finished[0] / 'samples/step-000040.png')  # the same latents, perhaps in 16 bits
    picture = np.kron(np.pad(np.rint((images + 1) * 127.5)[..., 0], [(0, 0), (0, 2), (0, 2)]).reshape(8, 8, 30, 30)
                      .swapaxes(1, 2).reshape(240, 240)[:-2, :-2], np.ones([2, 2]))
    assert np.abs(picture - shown).mean() < 2


@pytest.mark.parametrize('arguments, complaint', [
    (['nowhere'], 'holds no generator'), (['nowhere', '--count', '0'], '--count'), ([], 'run'),
    (['nowhere', '--bogus'], '--bogus')])
def test_sample_mistakes_are_one_line_with_status_2(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as caught:
        sample.main(arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count('\n') == 1 and complaint in error


def test_the_average_follows_its_formula():
    def generator(z, training):
        with tf.variable_scope('generator', reuse=tf.AUTO_REUSE):
            return z * tf.get_variable('w', [], initializer=tf.ones_initializer())
    with tf.Graph().as_default(), tf.Session() as session:
        w = generator(tf.zeros([1, 1]), True) is None or tf.global_variables()[0]
        follow, z, images, _, averages, _ = run._sampling(generator, 1, 0.6, after=w.assign_add(1.0).op)
        session.run(tf.global_variables_initializer())
        expected = 1.0
        for t in range(20):
            session.run(follow)
            decay = min(0.6, (1 + t) / (10 + t))
            expected = decay * expected + (1 - decay) * (t + 2)
        assert session.run(averages[0][0]) == pytest.approx(expected, rel=1e-5)
        assert session.run(images, {z: [[2.0]]}) == pytest.approx(2 * expected, rel=1e-5)


def test_without_an_average_the_weights_themselves_are_sampled():
    def generator(z, training):
        with tf.variable_scope('generator', reuse=tf.AUTO_REUSE):
            return z * tf.get_variable('w', [], initializer=tf.ones_initializer())
    with tf.Graph().as_default(), tf.Session() as session:
        generator(tf.zeros([1, 1]), True)
        w, = tf.global_variables()
        follow, z, images, _, averages, _ = run._sampling(generator, 1, 0.0, after=w.assign_add(1.0).op)
        session.run(tf.global_variables_initializer())
        for t in range(3):
            session.run(follow)
            assert session.run(images, {z: [[2.0]]}) == 2 * (t + 2)
        assert averages == [(w, w)] and [v.op.name for v in tf.global_variables()] == ['generator/w', 'sampling/step']


def test_a_scalar_is_fetched_with_the_last_update_that_draws_its_batches():
    with tf.Graph().as_default():
        images, _ = drive.load('')
        x, z = data.batches(images, 4), tf.reduce_mean(ops.noise([4]))
        d, g = tf.identity(x * z).op, tf.identity(z).op
        scalars = {'of both': tf.reduce_mean(x) + z, 'of z': z * 2, 'of none': tf.constant(1.0)}
        with tf.variable_scope('other'):
            elsewhere = tf.reduce_mean(data.batches(images, 4))
        assert [names for _, names in run._fetches([d, g], [d, g], scalars)] == [['of both'], ['of z', 'of none']]
        with pytest.raises(ValueError, match='elsewhere'):
            run._fetches([d, g], [d, g], {'elsewhere': elsewhere})


def test_no_operation_is_created_once_training_begins(tmp_path, monkeypatch):
    counts, finalize = [], tf.Graph.finalize

    def watch(graph):
        counts.append((graph, len(graph.get_operations())))
        finalize(graph)
    monkeypatch.setattr(tf.Graph, 'finalize', watch)
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(sys, 'argv', ['dcgan.py', '--run-dir', str(tmp_path / 'run'), *SMALL])
    for module in dcgan, run:  # flags set constants: put them back afterwards
        for name, value in constants(vars(module)).items():
            monkeypatch.setattr(module, name, value)
    run.main(vars(dcgan))
    (graph, count), = counts
    assert graph.finalized and len(graph.get_operations()) == count
    assert (tmp_path / 'run/samples.gif').exists()


def test_mixed_precision_without_the_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(pathlib.Path, 'read_text', lambda self: 'flags: sse2')
    assert run._precision('auto') == 'float32'
    with pytest.raises(files.UserError, match='float32'):
        run._precision('mixed')
