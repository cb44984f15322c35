"""Nothing silently wrong in a run's folder: killed, signalled, damaged, shared, full. Each is a process of its own.

A bomb is a line of code at the end of a copy of the script: it goes off at a named point of the run.
"""
import json
import os
import pathlib
import re
import shutil
import signal

import sample
from plumbing import checkpoints, files, runfolder, savedmodel

import forkserver
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import ROOT, THREE, assert_same_run, contents, scalars, wait_for
from tensorflow.core.protobuf import saved_model_pb2

pytestmark = pytest.mark.slow
SMALL = ('--g-hidden 8 --d-hidden 8 --batch-size 8 --grid 4 --checkpoint-every 5 --log-every 5 --sample-every 10 --eval-every 10 '
         '--eval-count 80 --weight-average 0.9').split()
KILL = 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'


def start(folder, *more, bomb='', place=None, **options):
    """place: folder for the script with the bomb."""
    script = 'gan_fc'
    if bomb:
        script = place / 'gan_fc.py'
        script.write_text((ROOT / 'gan_fc.py').read_text() + bomb)
    return forkserver.start(script, '--run-dir', folder, *SMALL, *more, **options)


def train(folder, *more, **options):
    """(exit status, stdout, stderr without the progress bar)."""
    process = start(folder, *more, **options)
    out, error = process.communicate()
    error = '\n'.join(line for line in re.split('[\n\r]', error) if line.strip() and 'step/s' not in line and '?step' not in line)
    assert 'Traceback' not in error, error
    return process.returncode, out, error


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """Runs of 20 and of 30 steps."""
    folder = tmp_path_factory.mktemp('undisturbed')
    for steps in 20, 30:
        status, _, error = train(folder / str(steps), '--steps', steps)
        assert status == 0, error
    return folder


@pytest.fixture
def run20(undisturbed, tmp_path):
    return shutil.copytree(undisturbed / '20', tmp_path / 'run')


def assert_same(folder, other):
    """The same run, with the same networks, numbers and film."""
    assert_same_run(folder, other)
    for name in 'generator', 'generator-best':
        z = np.random.default_rng(0).standard_normal([8, 64], np.float32)
        np.testing.assert_array_equal(savedmodel.Loaded(folder, name)(z=z), savedmodel.Loaded(other, name)(z=z))
    for name in 'metrics.json', 'samples.gif':
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    assert completed(folder) == completed(other)
    assert not [path for path in folder.rglob('*') if path.name.startswith(('.new-', '.old-')) or 'tempstate' in path.name]


def completed(folder):
    """{what is as of the checkpoint: its step}."""
    made = json.loads((folder / 'completed.json').read_text())['made']
    return {name: step for name, (step, _) in made.items() if name != 'generator-best'}


# killed and signalled at named points

def before(where, name, action, at=1, when='True'):
    """A bomb that goes off before the call number `at`, of those for which `when` holds, of `name` in the module `where`."""
    module = f'plumbing.{where}' if (ROOT / f'plumbing/{where}.py').exists() else where
    return f'''
import importlib
_module = importlib.import_module({module!r})
_whole, _calls = _module.{name}, []
def _bomb(*args, **options):
    if {when}:
        _calls.append(args)
        if len(_calls) == {at}:
            {action}
    return _whole(*args, **options)
_module.{name} = _bomb
'''


POINTS = {
    'before the checkpoint': before('checkpoints', 'save', KILL, at=2),
    'between the checkpoint and its record': before('runfolder', 'Completed.add_checkpoint', KILL, at=2),
    'between the checkpoint and its export': before('savedmodel', 'export', KILL, at=2, when='args[0].name == "generator"'),
    'before the last film': before('viz', 'film', KILL),
    'while the samples are measured': before('evaluation', 'measure', KILL),
    'before the metrics are recorded': before('runfolder', 'Completed.add', KILL, at=5),
}


@pytest.mark.parametrize('point', POINTS)
def test_killed_at_a_point_a_lengthened_run_ends_as_it_would(point, run20, undisturbed, tmp_path):
    status, _, _ = train(run20, '--steps', 30, bomb=POINTS[point], place=tmp_path)
    assert status == -signal.SIGKILL
    status, out, error = train(run20, '--steps', 30)
    assert status == 0 and 'finished: look at' in out and not error
    assert_same(run20, undisturbed / '30')
    assert completed(run20) == dict.fromkeys(('checkpoints', 'generator', 'losses.png', 'metrics.json', 'samples.gif'), 30)
    status, out, _ = train(run20, '--steps', 30)
    assert status == 0 and 'trains further' in out


def test_killed_while_a_folder_is_replaced_its_old_one_is_found(run20, undisturbed, tmp_path):
    """The moment between the two renames: the commands read the old generator, and the training puts things in order."""
    once = '''
import plumbing.files
_remove = plumbing.files.remove
def _bomb(path):
    _remove(path)
    if path.name == '.old-generator' and path.with_name('generator').exists():
        os.replace(path.with_name('generator'), path)
        os.kill(os.getpid(), signal.SIGKILL)
import os, signal
plumbing.files.remove = _bomb
'''
    expected = savedmodel.samples(run20, 5)
    status, _, _ = train(run20, '--steps', 30, bomb=once, place=tmp_path)
    assert status == -signal.SIGKILL and not (run20 / 'generator').exists()
    np.testing.assert_array_equal(savedmodel.samples(run20, 5), expected)
    assert train(run20, '--steps', 30)[0] == 0
    assert_same(run20, undisturbed / '30')


@pytest.mark.parametrize('where, name, number', [
    ('graph', 'sampling', signal.SIGINT), ('checkpoints', 'restore', signal.SIGTERM), ('evaluation', 'measure', signal.SIGINT),
    ('viz', 'film', signal.SIGTERM)])
def test_a_signal_outside_the_steps_is_one_line(where, name, number, run20, undisturbed, tmp_path):
    bomb = before(where, name, f'import os; os.kill(os.getpid(), {number.value})')
    status, out, error = train(run20, '--steps', 30, bomb=bomb, place=tmp_path)
    assert status == 128 + number and error == f'stopped by {number.name}; what was saved is kept'
    assert train(run20, '--steps', 30)[0] == 0
    assert_same(run20, undisturbed / '30')


def test_a_second_signal_while_it_saves_is_one_line(run20, undisturbed, tmp_path):
    bomb = before('checkpoints', 'save', 'import os; os.kill(os.getpid(), 2); os.kill(os.getpid(), 15)', at=1)
    status, _, error = train(run20, '--steps', 30, bomb=bomb, place=tmp_path)
    assert status == 128 + 15 and error == 'stopped by SIGTERM; what was saved is kept'
    assert train(run20, '--steps', 30)[0] == 0
    assert_same(run20, undisturbed / '30')


def test_a_signal_when_the_last_step_is_done_already(run20, undisturbed, tmp_path):
    """The checkpoint is the last one, and only the reports are to be made."""
    (run20 / 'samples.gif').unlink()
    bomb = before('viz', 'film', 'import os; os.kill(os.getpid(), 15)')
    status, _, error = train(run20, '--steps', 20, bomb=bomb, place=tmp_path)
    assert status == 128 + 15 and error.startswith('stopped by SIGTERM')
    status, out, _ = train(run20, '--steps', 20)
    assert status == 0 and 'finished: look at' in out
    assert_same(run20, undisturbed / '20')


# names

def test_brackets_in_a_name_are_no_pattern(tmp_path):
    """`lr[1]` matches `lr1` as a pattern, and not itself."""
    for name, steps in ('lr1', 10), ('lr[1]', 25), ('lr[1]', 30):
        status, _, error = train(tmp_path / name, '--steps', steps, '--eval-every', 0)
        assert status == 0 and not error
    assert checkpoints.steps(tmp_path / 'lr1/checkpoints') == [10]
    assert checkpoints.steps(tmp_path / 'lr[1]/checkpoints') == [30]
    assert savedmodel.samples(tmp_path / 'lr[1]', 2).shape == (2, 28, 28, 1)


@pytest.mark.parametrize('name', [b'\xff\xfe', b'two\nlines', b'n' * 240, '日本'.encode()])
def test_any_name_that_a_folder_can_have(name, tmp_path):
    folder = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b'/' + name))
    for steps, told in (5, 'finished: look at'), (10, 'resumes at step 5'):
        process = forkserver.start('gan_fc', *SMALL, '--eval-every', 0, '--steps', steps, f'--run-dir={folder}')
        out, error = process.communicate()
        assert process.returncode == 0 and told in out and 'Traceback' not in error, error
    assert savedmodel.samples(folder, 2).shape == (2, 28, 28, 1)


def test_home_in_a_flag(tmp_path):
    options = {'environment': {'HOME': str(tmp_path)}, 'cwd': tmp_path}
    process = forkserver.start('gan_fc', *SMALL, '--eval-every', 0, '--steps', 1, '--run-dir=~/run', **options)
    process.communicate()
    assert process.returncode == 0 and (tmp_path / 'run/generator').is_dir() and not (tmp_path / '~').exists()
    process = forkserver.start('gan_fc', *SMALL, '--steps', 1, '--run-dir=~nobody-here/run', **options)
    assert 'error: there is no home folder for ~nobody-here/run' in process.communicate()[1]
    assert process.returncode == 2 and not list(tmp_path.glob('~*'))


# two programs

def test_a_folder_in_use_is_refused_until_its_program_is_gone(tmp_path):
    folder, there = tmp_path / 'run', tmp_path / 'there'
    waits = before('viz', 'film', f'import time; open({str(there)!r}, "w"); time.sleep(300)')
    process = start(folder, '--steps', 10, bomb=waits, place=tmp_path)
    wait_for(there.exists, process)
    then = contents(folder)
    status, _, error = train(folder, '--steps', 40)
    assert status == 2 and re.fullmatch(rf'error: {folder} is in use by process {process.pid} on \S+ since 20[-\d]+ [:\d]+: '
                                        'wait for its end, or give another --run-dir', error)
    now = contents(folder)
    assert {path: now.get(path) for path in then} == then
    process.kill()
    process.communicate()
    status, out, _ = train(folder, '--steps', 10)
    assert status == 0 and 'finished: look at' in out


# damaged

def flip(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


def test_a_checkpoint_under_another_name_is_not_taken(undisturbed, tmp_path):
    run20 = tmp_path / 'run'
    assert train(run20, '--steps', 20, bomb=THREE, place=tmp_path)[0] == 0
    for end in checkpoints.ENDS:
        shutil.copy(run20 / f'checkpoints/step-000010{end}', run20 / f'checkpoints/step-000020{end}')
    status, out, error = train(run20, '--steps', 30)
    assert status == 0 and 'resumes at step 15' in out and 'step-000020 is damaged (it holds step 10)' in error
    assert_same(run20, undisturbed / '30')


def test_a_flipped_bit_of_an_export_is_noticed_and_mended(run20, undisturbed, refused):
    for path in [path for path in (run20 / 'generator').rglob('*') if path.is_file()]:
        for place in 0.1, 0.5, 0.9:
            flip(path, place)
            with refused('generator is damaged'):
                sample.main([str(run20)])
            flip(path, place)
    flip(run20 / 'generator/saved_model.pb')
    status, out, error = train(run20, '--steps', 20)
    assert status == 0 and 'finished: look at' in out and not error
    assert_same(run20, undisturbed / '20')


def test_reports_that_are_damaged_or_gone_are_made_again(run20, undisturbed):
    whole = (run20 / 'losses.png').read_bytes()
    for damage in flip, pathlib.Path.unlink:
        for name in 'metrics.json', 'samples.gif', 'losses.png':
            damage(run20 / name)
        assert train(run20, '--steps', 20)[0] == 0
        assert_same(run20, undisturbed / '20')
        assert (run20 / 'losses.png').read_bytes() == whole


def test_what_the_first_checkpoint_of_all_left_when_it_was_killed_is_removed(tmp_path):
    for name in '.new-step-000005.data-00000-of-00001', '.new-step-000005.index.tempstate123':
        (tmp_path / name).write_text('half')
    assert checkpoints.restore(tmp_path, None, None) == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize('damage', [
    lambda path: flip(path, 0.4), lambda path: path.unlink(), lambda path: path.write_bytes(b'\0' * 99),
    lambda path: path.write_text(path.read_text().replace('step', 'stop'))])
def test_scalars_that_are_not_as_they_were_are_set_aside(damage, run20):
    damage(run20 / 'scalars.csv')
    kept = contents(run20).get(run20 / 'scalars.csv')
    status, _, error = train(run20, '--steps', 30)
    assert status == 0 and 'scalars.csv is damaged or was edited' in error and 'a new one begins at step 20' in error
    assert [row['step'] for row in scalars(run20)] == ['25', '30']
    assert kept is None or (run20 / 'scalars-damaged.csv').read_bytes() == kept


@pytest.mark.parametrize('content', [
    '[]', 'null', '7', '{"made": 3}', '{"made": {"generator": 1}, "scalars": {}, "lowest": []}', '[' * 9999])
def test_a_damaged_record_of_completion_knows_nothing_and_says_so(content, tmp_path, capsys):
    (tmp_path / 'metrics.json').write_text('{}')
    runfolder.Completed(tmp_path).add(['metrics.json'], 20)
    assert not runfolder.Completed(tmp_path).lacks(['metrics.json'], 20) and not capsys.readouterr().err
    (tmp_path / 'completed.json').write_text(content)
    assert runfolder.Completed(tmp_path).lacks(['metrics.json'], 20) == ['metrics.json']
    assert 'completed.json is damaged' in capsys.readouterr().err


def test_with_a_damaged_record_of_completion_everything_is_made_again(run20, undisturbed):
    (run20 / 'completed.json').write_bytes((run20 / 'completed.json').read_bytes()[:-9])
    status, out, error = train(run20, '--steps', 20)
    assert status == 0 and 'measuring the samples' in out and 'completed.json is damaged' in error
    assert_same(run20, undisturbed / '20')


def generator_of(**z):
    return {'generator': {'inputs': {'z': z}, 'output': 'images'}}


@pytest.mark.parametrize('change', [
    lambda record: None, lambda record: [], lambda record: 7, lambda record: {**record, 'settings': []},
    lambda record: {**record, 'settings': {}}, lambda record: {**record, 'networks': 'generator'},
    lambda record: {**record, 'networks': generator_of(kind='normal', shape='x')},
    lambda record: {**record, 'networks': generator_of(kind='normal', shape=[2**40])},
    lambda record: {**record, 'networks': generator_of(kind='exec', shape=[64])},
    lambda record: {**record, 'networks': {'../made': generator_of(kind='normal', shape=[64])['generator']}},
    lambda record: {**record, 'classes': 3}])
def test_settings_of_wrong_types_are_one_line(change, run20, refused):
    path = run20 / 'settings.json'
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with refused('settings.json is damaged'):
        sample.main([str(run20)])
    with pytest.raises(files.UserError, match='settings.json is damaged'):
        runfolder.check(run20, 'gan_fc.py', {})



@pytest.mark.parametrize('name', ['../mine', '{folder}/mine', 'a/../../mine'])
def test_fresh_removes_no_folder_outside_whatever_a_record_says(name, tmp_path):
    """settings.json is anybody's; a network is a folder in the run's own."""
    name = name.format(folder=tmp_path)
    for folder in 'mine', 'run/a':
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'mine/saved_model.pb').write_text('mine')
    (tmp_path / 'run/settings.json').write_text(json.dumps({'script': 'gan_fc.py', 'settings': {}, 'networks': {name: {}}}))
    runfolder._remove(tmp_path / 'run')
    assert (tmp_path / 'mine/saved_model.pb').exists() and not (tmp_path / 'run/settings.json').exists()


def test_files_where_folders_belong_and_odd_names(run20, tmp_path):
    (run20 / 'checkpoints/step-abc.index').write_text('odd')
    (run20 / 'samples/step-abc.png').write_text('odd')
    assert train(run20, '--steps', 25)[0] == 0
    shutil.rmtree(run20 / 'checkpoints')
    (run20 / 'checkpoints').write_text('a file')
    status, _, error = train(run20, '--steps', 30)
    assert status == 2 and error.startswith('error: ') and 'checkpoints is a file' in error


# foreign programs

def test_our_networks_consist_of_the_operations_that_are_read():
    """Of the registry of TensorFlow: those operations have no state of their own, but for variables, and touch no files."""
    from tensorflow.python.framework import op_def_registry
    for name in savedmodel.OPERATIONS - {'VarHandleOp', 'ReadVariableOp', 'ResourceGather', 'Placeholder'}:
        found = op_def_registry.get(name)
        assert found and not found.is_stateful and not re.search('File|Save|Restore|Py|Print|Dataset', name)


@pytest.mark.parametrize('operation', ['WriteFile', 'ReadFile', 'PyFunc', 'Print'])
def test_a_network_that_could_do_more_than_compute_is_not_run(operation, run20, tmp_path, refused):
    """The output is made to depend on the operation, and the sums are those of the changed file."""
    path, target = run20 / 'generator/saved_model.pb', tmp_path / 'target'
    target.write_text('mine')
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    network = model.meta_graphs[0].graph_def
    with tf.Graph().as_default() as graph:
        name, content = tf.constant(str(target), name='evil_name'), tf.constant('theirs', name='evil_content')
        if operation == 'WriteFile':
            tf.raw_ops.WriteFile(filename=name, contents=content, name='evil')
        elif operation == 'ReadFile':
            tf.raw_ops.ReadFile(filename=name, name='evil')
        elif operation == 'PyFunc':
            tf.raw_ops.PyFunc(input=[name], token='pyfunc_0', Tout=[tf.string], name='evil')
        else:
            tf.raw_ops.Print(input=name, data=[content], name='evil')
        network.node.extend(graph.as_graph_def().node)
    output = model.meta_graphs[0].signature_def['serving_default'].outputs['images'].name.partition(':')[0]
    next(node for node in network.node if node.name == output).input.append('^evil')
    path.write_bytes(model.SerializeToString())
    sums = {name: value for name, value in files.sums(run20 / 'generator').items() if name != savedmodel.SUMS}
    (run20 / 'generator' / savedmodel.SUMS).write_text(''.join(f'{value}  {name}\n' for name, value in sums.items()))
    with refused(f'has operations that no network of ours has ({operation})'):
        sample.main([str(run20)])
    assert target.read_text() == 'mine'


# disks and streams

@pytest.mark.parametrize('limit', [300, 10_000, 100_000, 400_000])
def test_a_full_disk_is_one_line_whatever_is_being_written(limit, tmp_path):
    """The limit is that of one file: settings, events, checkpoint and SavedModel reach it in turn."""
    status, _, error = train(tmp_path / 'run', '--steps', 10, '--g-hidden', 32, limit=limit)
    assert status in (0, 2) and (status == 0 or error.startswith('error: ') and '\n' not in error), error
    assert status == 0 or 'File too large' in error or 'No space' in error
    assert train(tmp_path / 'run', '--steps', 10, '--g-hidden', 32)[0] == 0
