"""Runs as a user has them: killed, stopped, resumed, finished, refused. Each is a process of its own.

That a resumed run of every script has the bits of an undisturbed one is in test_scripts.py.
"""
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import time

import data
import dcgan
import run
import sample
from plumbing import drawing, files, flags, progress, savedmodel

import drive
import forkserver
import imageio.v3 as iio
import numpy as np
import pytest
import tensorflow as tf2
import tensorflow.compat.v1 as tf
from conftest import ROOT, THREE, as_flags, assert_same_run, contents, scalars, small, wait_for, weights
from tensorboard.plugins.hparams import plugin_data_pb2

pytestmark = pytest.mark.slow
SMALL = [*as_flags(small(dcgan)), *'--steps 40 --log-every 5 --sample-every 10 --checkpoint-every 5 --eval-every 0'.split()]


def start(folder, *more, **options):
    return forkserver.start('dcgan', '--run-dir', folder, *SMALL, *more, **options)


def train(folder, *more, **options):
    """(exit status, stdout, the last line of stderr)."""
    return forkserver.run('dcgan', '--run-dir', folder, *SMALL, *more, **options)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """The folder of an undisturbed run, and what it printed."""
    folder = tmp_path_factory.mktemp('finished') / 'run'
    status, out, error = train(folder)
    assert status == 0, error
    return folder, out


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / 'copy')


# what a run leaves

def test_the_folder_of_a_run(finished):
    folder, out = finished
    names = {path.name for path in folder.iterdir()}
    events, = [name for name in names if name.startswith('events.out.tfevents')]
    assert names == {'.lock', 'settings.json', 'completed.json', 'checkpoints', events, 'scalars.csv', 'samples', 'samples.gif',
                     'losses.png', 'generator'}
    assert sorted(path.name for path in folder.glob('samples/*')) == [f'step-{n:06d}.png' for n in (0, 10, 20, 30, 40)]
    assert [path.name for path in folder.glob('checkpoints/*.index')] == ['step-000040.index']
    assert re.search(r'generator: [\d,]+ parameters, discriminator: [\d,]+ parameters', out) and 'samples' in out
    record = json.loads((folder / 'settings.json').read_text())
    assert record['settings']['BATCH_SIZE'] == 8 and record['classes'] == list('0123456789')
    assert len(iio.imread(folder / 'samples.gif')) == 5
    rows = scalars(folder)
    assert [row['step'] for row in rows] == [str(n) for n in range(5, 41, 5)]
    assert list(rows[0]) == ['step', 'd_loss', 'g_loss', 'D(x)', 'D(G(z))']


def test_the_event_file(finished):
    folder, _ = finished
    path, = folder.glob('events.*')
    events = list(tf.train.summary_iterator(str(path)))
    tags = [(event.step, value.tag) for event in events for value in event.summary.value]
    assert [step for step, tag in tags if tag == 'loss/d_loss'] == list(range(5, 41, 5))
    assert [step for step, tag in tags if tag == 'samples'] == [0, 10, 20, 30, 40]
    assert [tag for _, tag in tags if 'settings' in tag]
    graph, = [tf.GraphDef.FromString(event.graph_def) for event in events if event.graph_def]
    assert {node.name.split('/')[0] for node in graph.node} == \
        {'data', 'generator', 'discriminator', 'losses', 'optimizers', 'sampling'}
    assert len(graph.SerializeToString()) < 2_000_000  # the data set is no constant of the graph


def test_samples_of_a_run(finished, tmp_path):
    folder, _ = finished
    many = savedmodel.samples(folder, 130, seed=3)
    assert many.shape == (130, 28, 28, 1) and many.dtype == np.uint8
    for count in 1, 65:
        np.testing.assert_array_equal(savedmodel.samples(folder, count, seed=3), many[:count])
    assert not np.array_equal(savedmodel.samples(folder, 2, seed=4), many[:2])
    sample.main([str(folder), '--count', '7', '--png', str(tmp_path / 'grid.png')])
    sample.main([str(folder), '--count', '130', '--seed', '3', '--npz', str(tmp_path / 'all.npz')])
    sample.main([str(folder), '--interpolate', str(tmp_path / 'walk.png')])
    np.testing.assert_array_equal(np.load(tmp_path / 'all.npz')['images'], many)
    assert iio.imread(tmp_path / 'grid.png').shape == (2 * (3 * 30 - 2), 2 * (3 * 30 - 2))
    assert iio.imread(tmp_path / 'walk.png').shape == (2 * (8 * 30 - 2), 2 * (10 * 30 - 2))


def test_a_walk_goes_from_one_latent_to_the_other(finished):
    frames = drawing.walk(savedmodel.generator(finished[0]), rows=3, columns=5, seed=2).reshape(3, 5, 28, 28, 1)
    ends = savedmodel.samples(finished[0], 6, seed=2)
    assert np.abs(frames[:, 0].astype(int) - ends[:3]).max() <= 1 and np.abs(frames[:, -1].astype(int) - ends[3:]).max() <= 1


def test_the_saved_model_has_one_signature_and_the_averaged_weights(finished):
    folder, _ = finished
    loaded = tf2.saved_model.load(str(folder / 'generator'))
    assert list(loaded.signatures) == ['serving_default']
    assert b'_gradient_op_type' not in (folder / 'generator/saved_model.pb').read_bytes()  # other programs differentiate it
    saved = tf.train.load_checkpoint(str(folder / 'generator/variables/variables'))
    average = weights(folder)
    for name in saved.get_variable_to_shape_map():
        np.testing.assert_array_equal(saved.get_tensor(name), average[f'sampling/{name}'], err_msg=name)
    z = np.random.default_rng(0).standard_normal([64, 100], np.float32)
    images = loaded.signatures['serving_default'](z=tf2.constant(z))['images'].numpy()
    assert images.shape == (64, 28, 28, 1) and np.abs(images).max() <= 1
    alone = loaded.signatures['serving_default'](z=tf2.constant(z[5:6]))['images'].numpy()
    np.testing.assert_allclose(alone[0], images[5], atol=1e-5)


def test_the_pictures_while_training_are_samples_of_the_averaged_generator(finished):
    """The same latents; perhaps in 16 bits, while the SavedModel computes in 32."""
    shown = iio.imread(finished[0] / 'samples/step-000040.png')
    images = savedmodel.samples(finished[0], 64, seed=0)[..., 0]
    picture = np.kron(np.pad(images, [(0, 0), (0, 2), (0, 2)]).reshape(8, 8, 30, 30)
                      .swapaxes(1, 2).reshape(240, 240)[:-2, :-2], np.ones([2, 2]))
    assert np.abs(picture - shown).mean() < 2


def test_again_is_finished_and_another_seed_is_another_run(finished, tmp_path):
    folder = finished[0]
    before = contents(folder)
    status, out, _ = train(folder)
    assert status == 0 and 'finished' in out and '--steps 80 trains further' in out and contents(folder) == before
    train(tmp_path / 'other', '--seed', '1', '--steps', '5')
    ours, theirs = scalars(folder)[0], scalars(tmp_path / 'other')[0]
    assert ours['step'] == theirs['step'] == '5' and ours != theirs  # in 16 bits one loss may be equal by chance


def test_measured_while_training_the_best_generator_is_kept(tmp_path):
    """Killed after two measurements, the run must end with the same numbers and the same best as without.

    The learning rate makes the distances rise and fall (here the second of four is the lowest).
    """
    flags = '--eval-every 5 --eval-count 200 --steps 20 --weight-average 0 --g-learning-rate 1e-2'.split()
    options = {'environment': {'DRIVE_COUNT': '300'}}
    status, out, _ = train(tmp_path / 'run', *flags, **options)
    assert status == 0 and '300 samples (real pictures): frechet distance' in out
    measured = {int(row['step']): float(row['frechet_200']) for row in scalars(tmp_path / 'run') if row['frechet_200']}
    assert list(measured) == [5, 10, 15, 20]
    process = start(tmp_path / 'killed', *flags, **options)
    wait_for(lambda: list(tmp_path.glob('killed/checkpoints/step-000010.index')), process)
    process.kill()
    process.communicate()
    train(tmp_path / 'killed', *flags, **options)
    assert_same_run(tmp_path / 'run', tmp_path / 'killed')
    best = min(measured, key=measured.get)
    train(tmp_path / 'short', *flags, '--steps', best, '--eval-every', 0, **options)  # ends at the step that measured best
    expected = savedmodel.samples(tmp_path / 'short', 5)
    for name in 'run', 'killed':
        np.testing.assert_array_equal(savedmodel.samples(tmp_path / name, 5, best=True), expected)
    assert not np.array_equal(savedmodel.samples(tmp_path / 'run', 5), expected) or best == 20
    result = json.loads((tmp_path / 'run/metrics.json').read_text())
    assert result['count'] == 300 and result['model']['frechet_distance'] > result['real']['frechet_distance']
    assert (tmp_path / 'run/nearest.png').exists()


# killed, stopped, damaged

def test_killed_at_any_moment_it_ends_with_the_same_bits(finished, tmp_path):
    folder, moments = tmp_path / 'run', random.Random(7)
    for number in range(4):
        process = start(folder)
        if number == 0:  # while a checkpoint is being written
            wait_for(lambda: list(folder.glob('checkpoints/*.data-*')), process)
        elif number == 1:  # while the generator is being exported
            wait_for(lambda: list(folder.glob('.new-*-generator')), process)
        else:
            events = len(list(folder.glob('events.*')))
            wait_for(lambda events=events: len(list(folder.glob('events.*'))) > events, process)
            time.sleep(moments.uniform(0, 2))
        process.kill()
        process.communicate()
    status, _, _ = train(folder)
    assert status == 0
    assert_same_run(folder, finished[0])
    assert not list(folder.rglob('.new-*')) and not list(folder.rglob('*tempstate*'))


def test_stopped_it_saves_and_says_how_to_resume(finished, tmp_path):
    """By SIGTERM, later by Ctrl-C; then it ends as if it had not been stopped."""
    folder, stopped = tmp_path / 'run', 0
    for number, picture in (signal.SIGTERM, 10), (signal.SIGINT, 20):
        process = start(folder)
        wait_for(lambda picture=picture: list(folder.glob(f'samples/step-{picture:06d}.png')), process)
        process.send_signal(number)
        out, error = process.communicate()
        assert process.returncode == 128 + number and 'Traceback' not in error
        assert not stopped or f'resumes at step {stopped} of 40' in out
        stopped = int(re.search(r'stopped and saved at step (\d+) of 40; run the same command to resume', out)[1])
        assert (folder / f'checkpoints/step-{stopped:06d}.index').exists() and stopped >= picture
    status, out, _ = train(folder)
    assert status == 0 and f'resumes at step {stopped} of 40' in out
    assert_same_run(folder, finished[0])


LATE = '''
import os, signal
from plumbing import coordination
_stops, asked = coordination.Alone.stops, []
def stops(self, caught):
    found = _stops(self, caught)
    asked.append(found)
    if len(asked) == 7:
        os.kill(os.getpid(), signal.SIGTERM)
    return found
coordination.Alone.stops = stops
'''


def test_a_signal_between_two_questions_does_not_end_a_step_unsaved(tmp_path):
    """It comes right after the loop has asked for signals; what is told to be saved is there."""
    status, out, _ = train(tmp_path / 'run', '--checkpoint-every', 1000, bomb=LATE)
    stopped = int(re.search(r'stopped and saved at step (\d+) of 40', out)[1])
    assert status == 128 + signal.SIGTERM and (tmp_path / f'run/checkpoints/step-{stopped:06d}.index').exists()


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(finished, tmp_path):
    copy = tmp_path / 'run'
    assert train(copy, bomb=THREE)[0] == 0
    path, = copy.glob('checkpoints/step-000040.data-*')
    bits = bytearray(path.read_bytes())
    bits[len(bits) // 2] ^= 1
    path.write_bytes(bits)
    process = start(copy)
    out, error = process.communicate()
    assert process.returncode == 0 and 'step-000040 is damaged' in error and 'resumes at step 35 of 40' in out
    assert_same_run(copy, finished[0])


def test_checkpoints_all_damaged(copy):
    for path in copy.glob('checkpoints/step-*.index'):
        path.write_bytes(path.read_bytes()[:100])
    status, _, error = train(copy)
    assert status == 2 and 'no checkpoint can be read' in error and 'delete' not in error


# refused

@pytest.mark.parametrize('flags, complaint', [
    (['--seed', '5'], 'is a run with other settings: SEED was 0, now 5'),
    (['--beta1', '0.9', '--z-dim', '7'], 'Z_DIM was 100, now 7; BETA1 was 0.5, now 0.9'),
    (['--batch-size', '1000'], 'BATCH_SIZE')])
def test_other_settings_are_refused_and_nothing_is_touched(flags, complaint, finished):
    before = contents(finished[0])
    status, _, error = train(finished[0], *flags)
    assert status == 2 and error.startswith('error: ') and complaint in error
    assert contents(finished[0]) == before


def test_another_script_in_the_folder_of_a_run_is_refused(finished):
    status, _, error = forkserver.run('gan_fc', '--run-dir', finished[0], '--batch-size', 8)
    assert status == 2 and "script was 'dcgan.py', now 'gan_fc.py'" in error


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    status, _, error = train(tmp_path)
    assert status == 2 and 'not the folder of a run' in error and [path.name for path in tmp_path.iterdir()] == ['thesis.txt']


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / 'run').write_text('a file')
    status, _, error = train(tmp_path / 'run')
    assert status == 2 and error.startswith('error: ')


def older(text):
    """settings.json as runs had it before networks went by name."""
    record = json.loads(text)
    for key in 'networks', 'classes':
        del record[key]
    return json.dumps(record)


@pytest.mark.parametrize('change, complaint', [
    (lambda text: '{"script":', 'settings.json is damaged'), (lambda text: '[]', 'settings.json is damaged'),
    (older, 'is a run of an earlier version')])
def test_damaged_and_older_settings_are_refused(change, complaint, copy, refused):
    """By the script and by the command that draws; nothing is touched."""
    path = copy / 'settings.json'
    path.write_text(change(path.read_text()))
    before = contents(copy)
    status, _, error = train(copy)
    assert status == 2 and error.startswith('error: ') and complaint in error
    with refused(complaint):
        sample.main([str(copy)])
    assert contents(copy) == before


# what goes wrong while it trains

def test_a_full_disk_while_saving(tmp_path):
    status, _, error = train(tmp_path / 'run', '--hidden', '256', limit=1_200_000)  # below a checkpoint, above all else
    assert status == 2 and re.match('error: cannot save step 5 in .*/checkpoints: .*File too large', error)
    assert not list(tmp_path.glob('run/checkpoints/*.index'))


def test_nan_stops_with_the_step_the_name_and_the_last_good_checkpoint(tmp_path):
    folder = tmp_path / 'run'
    status, _, error = train(folder, '--d-learning-rate', '1e30', '--checkpoint-every', '1')
    assert status == 2
    assert re.search(r'((_loss|\)) is -?(nan|inf)|no longer finite) at step \d+; (the last good|no) checkpoint', error), error
    saved = weights(folder) if list(folder.glob('checkpoints/*.index')) else {}
    assert all(np.isfinite(value).all() for value in saved.values())


def test_no_operation_is_created_once_training_begins(tmp_path, monkeypatch):
    counts, finalize = [], tf.Graph.finalize

    def watch(graph):
        counts.append((graph, len(graph.get_operations())))
        finalize(graph)
    monkeypatch.setattr(tf.Graph, 'finalize', watch)
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(sys, 'argv', ['dcgan.py', '--run-dir', str(tmp_path / 'run'), *SMALL, '--steps', '10'])
    for module in dcgan, run:  # flags set constants: put them back afterwards
        for name, value in flags.constants(vars(module)).items():
            monkeypatch.setattr(module, name, value)
    run.main(vars(dcgan))
    (graph, count), = counts
    assert graph.finalized and len(graph.get_operations()) == count
    assert (tmp_path / 'run/samples.gif').exists()


# sizes

@pytest.mark.parametrize('size', [16, 24])
def test_digits_smaller_than_the_classifier_takes_are_measured(size, tmp_path):
    status, out, error = train(tmp_path / 'run', *f'--image-size {size} --steps 2 --eval-every 2 --eval-count 80'.split())
    assert status == 0 and '96 samples (real pictures): frechet distance' in out, error
    assert [row['step'] for row in scalars(tmp_path / 'run') if row['frechet_80']] == ['2']
    result = json.loads((tmp_path / 'run/metrics.json').read_text())
    assert result['evaluator'] == 'evaluator-mnist-v1' and savedmodel.samples(tmp_path / 'run', 1).shape == (1, size, size, 1)


# experiments

def edited(tmp_path, *changes):
    """A copy of dcgan.py in which each (text, other text) of `changes` has been replaced."""
    source = (ROOT / 'dcgan.py').read_text()
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    (tmp_path / 'dcgan.py').write_text(source)
    return tmp_path / 'dcgan.py'


def test_an_edit_of_what_is_computed_is_noticed_and_a_comment_is_not(copy, tmp_path):
    before = contents(copy)
    for changes, told in [([('tf.nn.softplus(fake_logits), name', '2 * tf.nn.softplus(fake_logits), name')], 'losses'),
                          ([('updates=[d_step, g_step]', 'updates=[d_step, d_step, g_step]')], 'updates'),
                          ([("'conv1', ", "'conv1', size=3, ")], 'discriminator')]:
        status, _, error = forkserver.run(edited(tmp_path, *changes), '--run-dir', copy, *SMALL)
        assert status == 2 and error == (f'error: dcgan.py was edited since {copy} was begun ({told}): give another --run-dir, '
                                         'or --fresh to start again')
        assert contents(copy) == before
    harmless = edited(tmp_path, ('# [B, 14, 14, WIDTH]', '# half the side'), ('"""z [B, Z_DIM] from', '"""Latents from'))
    status, out, _ = forkserver.run(harmless, '--run-dir', copy, *SMALL)
    assert status == 0 and out.splitlines()[-1].startswith('finished: ')


def test_fresh_removes_the_run_and_nothing_else_and_says_so(finished, copy):
    (copy / 'notes.txt').write_text('mine')
    status, out, _ = train(copy, '--fresh', '--seed', 1)
    assert status == 0 and f'removes the run at step 40 in {copy}' in out and 'starts at step 0' in out
    assert (copy / 'notes.txt').read_text() == 'mine' and len(list(copy.glob('events*'))) == 1
    assert json.loads((copy / 'settings.json').read_text())['settings']['SEED'] == 1
    shutil.rmtree(copy / 'checkpoints')
    status, out, _ = train(copy, '--fresh')
    assert status == 0 and f'removes the run without a checkpoint in {copy}' in out
    assert_same_run(copy, finished[0])


def test_a_folder_that_no_run_has_got_to_a_checkpoint_in_is_taken_over(finished, tmp_path):
    process = start(tmp_path / 'run', '--seed', 7, '--checkpoint-every', 0, '--log-every', 1, '--steps', 100000)
    wait_for(lambda: (tmp_path / 'run/scalars.csv').exists() and len(scalars(tmp_path / 'run')) > 2, process)
    process.kill()
    process.communicate()
    status, out, _ = train(tmp_path / 'run')
    assert status == 0 and 'removes the run without a checkpoint' in out
    assert_same_run(tmp_path / 'run', finished[0])


def test_the_versions_that_a_run_saw_are_kept(copy, finished):
    record = json.loads((copy / 'settings.json').read_text())
    assert [found['step'] for found in record['versions']] == [0] and record['versions'][0]['tensorflow'] == tf2.__version__
    record['versions'][0]['tensorflow'] = '2.16.1'
    record['code']['graph']['losses'] = 'as another version builds it'
    (copy / 'settings.json').write_text(json.dumps(record))
    status, out, _ = train(copy, '--steps', 50)
    assert status == 0 and f'tensorflow was 2.16.1, now {tf2.__version__}: bits may differ from here on' in out
    again = json.loads((copy / 'settings.json').read_text())
    assert [(found['step'], found['tensorflow']) for found in again['versions']] == [(0, '2.16.1'), (40, tf2.__version__)]
    assert again['code'] == json.loads((finished[0] / 'settings.json').read_text())['code']
    assert 'bits may differ' not in train(copy, '--steps', 50)[1]


def test_the_default_folder_tells_what_was_changed(tmp_path):
    few = [*SMALL[:SMALL.index('--steps')], '--steps', 1, '--eval-every', 0]
    for more in [], ['--seed', 2, '--upsample', 'resize']:
        assert forkserver.run('dcgan', *few, *more, cwd=tmp_path)[0] == 0
    assert {path.name for path in (tmp_path / 'runs').iterdir()} == {
        'dcgan-mnist-width-2-hidden-16-batch-size-8-eval-every-0',
        'dcgan-mnist-width-2-hidden-16-upsample-resize-batch-size-8-seed-2-eval-every-0'}


def test_a_script_can_be_run_twice_in_one_process(tmp_path, monkeypatch, finished):
    """As a notebook does: flags hold for one call, and both runs have the bits of a program of its own."""
    monkeypatch.setattr(data, 'load', drive.load)
    constants = flags.constants(vars(dcgan))
    run.main(vars(dcgan), ['--run-dir', str(tmp_path / 'one'), *SMALL, '--width', '3'])
    run.main(vars(dcgan), ['--run-dir', str(tmp_path / 'two'), *SMALL])
    assert flags.constants(vars(dcgan)) == constants
    assert_same_run(tmp_path / 'two', finished[0])
    with pytest.raises(files.UserError, match='other settings: WIDTH was 3, now 2'):
        run.main(vars(dcgan), ['--run-dir', str(tmp_path / 'one'), *SMALL])


def test_from_python_a_mistake_raises_and_ctrl_c_saves_first(tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'load', drive.load)
    with pytest.raises(files.UserError, match='--stepz 5'):
        run.main(vars(dcgan), ['--run-dir', str(tmp_path / 'run'), '--stepz', '5'])
    monkeypatch.setattr(run, '_check_finite', lambda values, step, folder: step == 3 and os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run.main(vars(dcgan), ['--run-dir', str(tmp_path / 'run'), *SMALL])
    assert (tmp_path / 'run/checkpoints/step-000003.index').exists()


# TensorBoard

def test_what_tensorboard_gets(tmp_path):
    """Sections, histograms, norms, rates, final numbers and HParams; and reporting more often leaves the weights as they are."""
    shared = [*SMALL[:SMALL.index('--steps')], *'--steps 12 --sample-every 6 --eval-every 6 --eval-count 80'.split()]
    for folder, every in ('one', 4), ('two', 1):
        status, _, error = forkserver.run('dcgan', '--run-dir', tmp_path / folder, *shared, '--log-every', every,
                                          environment={'DRIVE_COUNT': '80'})
        assert status == 0, error
    ours, theirs = weights(tmp_path / 'one'), weights(tmp_path / 'two')
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    path, = (tmp_path / 'one').glob('events.*')
    found = {}
    for event in tf.train.summary_iterator(str(path)):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value))
    steps = {tag: [step for step, _ in values] for tag, values in found.items()}
    logged = [4, 6, 8, 12]
    for tag in 'loss/d_loss', 'loss/g_loss', 'D/D(x)', 'D/D(G(z))':
        assert steps[tag] == logged
    for tag in 'gradient_norms/d_step', 'gradient_norms/g_step', 'learning_rates/d_step', 'D/real/histogram_summary':
        assert steps[tag] == [4, 8, 12]
    assert steps['quality/frechet_80'] == [6, 12]
    assert {value.simple_value for _, value in found['learning_rates/d_step']} == {np.float32(dcgan.D_LEARNING_RATE)}
    assert all(value.simple_value > 0 for _, value in found['gradient_norms/g_step'])
    buckets = tf.make_ndarray(found['D/fake/histogram_summary'][0][1].tensor)
    assert buckets[:, 2].sum() == 8                                               # a score of each sample of the batch
    model = json.loads((tmp_path / 'one/metrics.json').read_text())['model']
    for name in 'frechet_distance', 'precision', 'recall', 'coverage':
        (step, value), = found[f'quality/{name}']
        assert step == 12 and value.simple_value == pytest.approx(model[name])
    for tag in 'samples', 'nearest':
        shown = found[tag][-1][1].image
        assert iio.imread(shown.encoded_image_string).shape[:2] == (shown.height, shown.width) and shown.height > 28
    hparams = plugin_data_pb2.HParamsPluginData.FromString(
        found['_hparams_/session_start_info'][0][1].metadata.plugin_data.content).session_start_info
    assert hparams.hparams['BATCH_SIZE'].number_value == 8 and 'SAMPLE_EVERY' not in hparams.hparams
    assert '_hparams_/session_end_info' in found


def test_a_bar_fits_and_says_the_last_distance_and_the_best(monkeypatch):
    monkeypatch.setattr(progress, '_columns', lambda: 79)
    scalars = {'d_loss': 1.2345, 'g_loss': 12.345, 'D(x)': 0.5, 'D(G(z))': 0.25}
    assert progress.told(scalars, 0.5, 0.25) == 'd_loss=1.23, FD=0.500 (best 0.250)'
    assert progress.told(scalars) == 'd_loss=1.23, g_loss=12.3, D(x)=0.50' and progress.told({}, 0.5, 0.5) == 'FD=0.500'
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    for steps in 4000, 100_000:
        bar = progress.bar(steps // 2, steps)
        bar.set_postfix_str(progress.told(scalars, 34.5, 33.2), refresh=False)
        assert len(str(bar)) <= 79 and 'best 33.200' in str(bar)
        bar.close()


def test_tanh_after_resizing_can_be_sampled(tmp_path):
    """TensorFlow's remapper fuses a convolution, batch norm and tanh into a kernel that it does not have."""
    status, _, error = train(tmp_path, '--activation', 'tanh', '--upsample', 'resize', '--steps', 2)
    assert status == 0 and savedmodel.samples(tmp_path, 3).shape == (3, 28, 28, 1), error


def test_a_settings_file_of_another_program_is_left_alone(tmp_path):
    """With --fresh and without: what is not a run is not removed."""
    (tmp_path / 'settings.json').write_text('{"editor.tabSize": 2}')
    (tmp_path / 'samples').mkdir()
    before = contents(tmp_path)
    for more in [], ['--fresh']:
        status, _, error = train(tmp_path, *more)
        assert status == 2 and error.startswith('error: ') and 'settings.json is damaged' in error
        assert {path: text for path, text in contents(tmp_path).items() if path.name != '.lock'} == before


def test_fresh_removes_what_commands_made_and_no_network_of_the_users(copy):
    shutil.copytree(copy / 'generator', copy / 'generator-keep')
    sample.main([str(copy), '--index', '3'])
    sample.main([str(copy)])
    assert (copy / 'sample-3.png').exists() and (copy / 'samples.png').exists()
    assert train(copy, '--fresh', '--steps', 1)[0] == 0
    assert (copy / 'generator-keep/saved_model.pb').exists()
    assert not (copy / 'sample-3.png').exists() and not (copy / 'samples.png').exists()
