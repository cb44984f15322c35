"""Flags from a source file written for the test."""
import os
import subprocess
import sys

from plumbing import flags, naming

import pytest
from conftest import ROOT

SCRIPT = '''"""A script for a test."""
STEPS = 3000              # how long, 0.5 hours
RATE = 2e-4               # Adam's
NAME = 'mnist'            # free text
LOSS = 'a'                # 'a', 'b' or 'c d': the choices
RESIZE = False            # a switch
WIDTHS = (256, 512)       # several
COPIES = 2                # 0 makes none; 10 is plenty
ROWS = 3                  # of the picture, from 2 to 50
LAYERS = (2, 3)           # from 0 to 9: one after the other
SHARE = 0                 # of the pixels, in [0, 1)
SHARES = (0, 0.5)         # of two kinds, in [0, 1]
WEIGHT = 1                # in [0, inf): of the penalty
CLIP = 0.1                # the largest weight, in (0, inf)
PRECISION = 'float32'     # enough here
SEED = 0                  # start
lower = 1                 # not a constant
TABLE = {'a': 1}          # not a flag
'''
SHARED = '''
STEPS = 10          # here too
EVERY = 5           # 100 % shared
LOG_EVERY = 5       # steps
PRECISION = 'auto'  # 'auto', 'float32' or 'mixed': the choices of every script
'''


def modules(tmp_path, script=SCRIPT):
    result = []
    for name, source in [('script.py', script), ('shared.py', SHARED)]:
        (tmp_path / name).write_text(source)
        module = {'__file__': str(tmp_path / name), '__doc__': None}
        exec(source, module)
        result.append(module)
    return result


def edited(line):
    """SCRIPT with another value in the line of a constant, and the same comment."""
    name = line.split()[0]
    before = next(line for line in SCRIPT.splitlines() if line.startswith(f'{name} '))
    return SCRIPT.replace(before, f'{line}  # {before.split("# ")[1]}')


def test_defaults_stay(tmp_path):
    script, shared = modules(tmp_path)
    assert flags.parse([script, shared], []) == set()
    assert (script['STEPS'], script['RATE'], script['WIDTHS'], script['RESIZE']) == (3000, 2e-4, (256, 512), False)
    assert (shared['EVERY'], shared['STEPS'], shared['PRECISION']) == (5, 3000, 'float32')  # the script's default rules


def test_every_type(tmp_path):
    script, shared = modules(tmp_path)
    flags.parse([script, shared], '--steps 7 --rate 1 --name x --loss b --resize --widths 1 2 3 --every 9'.split())
    assert [script[name] for name in ('STEPS', 'RATE', 'NAME', 'LOSS', 'RESIZE', 'WIDTHS')] == [7, 1.0, 'x', 'b', True, (1, 2, 3)]
    assert isinstance(script['RATE'], float) and shared['EVERY'] == 9 and shared['STEPS'] == 7
    flags.parse([script, shared], ['--no-resize', '--loss', 'c d', '--log-every', '0', '--copies', '0', '--seed', '0'])
    assert [script['COPIES'], script['SEED'], shared['LOG_EVERY']] == [0, 0, 0]  # what 0 does is said, SEED, or never
    assert script['RESIZE'] is False and script['LOSS'] == 'c d'


def test_an_interval_makes_a_real_number_of_whatever_is_written_in_the_file(tmp_path):
    """The default 0, a whole number, once made a flag that refused 0.5."""
    script, shared = modules(tmp_path)
    given = flags.parse([script, shared], '--share 0.5 --shares 1 0.25 --weight 1e9 --clip 1e-9'.split())
    assert given == {'SHARE', 'SHARES', 'WEIGHT', 'CLIP'}
    assert [script[name] for name in ('SHARE', 'SHARES', 'WEIGHT', 'CLIP')] == [0.5, (1.0, 0.25), 1e9, 1e-9]
    for line in 'CLIP = 3', 'WEIGHT = 0', 'SHARE = 0.25':
        script, shared = modules(tmp_path, edited(line))
        flags.parse([script, shared], [])
        name, value = line.split(' = ')
        assert script[name] == float(value) and isinstance(script[name], float)


def test_a_whole_number_may_be_what_32_bits_have_room_for(tmp_path, refused):
    """A seed of a graph has no more, nor have many shapes in TensorFlow; 64 bits overflow where steps are counted in pictures."""
    script, shared = modules(tmp_path)
    flags.parse([script, shared], ['--seed', '2147483647', '--steps', '2_147_483_647'])
    assert script['SEED'] == script['STEPS'] == 2147483647
    for name in 'seed', 'steps', 'every':
        for number in '2147483648', str(2**63 - 1), '9' * 5000:
            with refused(f'{name.upper()} is a whole number from {0 if name == "seed" else 1} to 2147483647, not '):
                flags.parse(modules(tmp_path), [f'--{name}', number])


def test_a_whole_number_is_in_the_range_that_its_comment_states(tmp_path, refused):
    script, shared = modules(tmp_path)
    for rows in '2', '50':
        flags.parse([script, shared], ['--rows', rows, '--layers', '0', '9'])
        assert script['ROWS'] == int(rows) and script['LAYERS'] == (0, 9)
    for arguments, complaint in [('--rows 1', 'ROWS is a whole number from 2 to 50, not \'1\''), ('--rows 51', 'from 2 to 50'),
                                 ('--rows 1000000000', 'from 2 to 50'), ('--layers 0 10', 'LAYERS'), ('--rows 2.0', 'ROWS'),
                                 ('--rows 1_', 'ROWS')]:
        with refused(complaint):
            flags.parse(modules(tmp_path), arguments.split())
    with refused('ROWS is a whole number from 2 to 50'):
        flags.parse(modules(tmp_path, edited('ROWS = 51')), [])
    with refused('LAYERS is empty'):
        flags.parse(modules(tmp_path, edited('LAYERS = ()')), [])


@pytest.mark.parametrize('arguments', [['--steps', '1\n2'], ['--loss', 'a\nb'], ['--share', '\x1b[31m'], ['--bo\ngus'],
                                       ['--precision', 'x\r\ny'], ['stray\nword']])
def test_what_was_typed_breaks_no_line(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse(modules(tmp_path), arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.startswith('error: ') and error[-1] == '\n' and error[:-1].isprintable()


def test_choices_of_every_script_apply_to_a_scripts_own_default(tmp_path, refused, capsys):
    script, shared = modules(tmp_path)
    flags.parse([script, shared], ['--precision', 'mixed'])
    assert script['PRECISION'] == shared['PRECISION'] == 'mixed'
    with refused("'auto', 'float32', 'mixed'"):
        flags.parse(modules(tmp_path), ['--precision', 'float23'])
    with refused("'auto', 'float32', 'mixed'"):
        flags.parse(modules(tmp_path, edited("PRECISION = 'float23'")), [])


@pytest.mark.parametrize('arguments, complaint', [
    ('--nonsense 1', '--nonsense'), ('--steps 1.5', '--steps'), ('--steps -1', '--steps'), ('--steps 0', 'STEPS'),
    ('--widths 1 0', 'WIDTHS'), ('--rate nan', '--rate'),
    ('--rate -1', '--rate'), ('--rate x', '--rate'), ('--loss z', "'a', 'b', 'c d'"), ('--table 1', '--table'),
    *((f'--share {text}', 'SHARE must be in [0, 1)') for text in ('1', 'nan', 'x', '-0.1')),
    ('--shares 0 1.5', 'SHARES must be in [0, 1]'), ('--weight inf', 'WEIGHT must be in [0, inf)'),
    ('--weight -1', 'WEIGHT must be in [0, inf)'), ('--clip 0', 'CLIP must be in (0, inf)'),
    ('--step 5', '--step'), ('--steps', '--steps'), ('--lower 2', '--lower')])
def test_mistakes_are_one_line_with_status_2(arguments, complaint, tmp_path, refused):
    with refused(complaint):
        flags.parse(modules(tmp_path), arguments.split())


@pytest.mark.parametrize('line, complaint, mended', [
    ('STEPS = 0', 'STEPS', '7'), ('STEPS = -3', 'STEPS', '7'), ('WIDTHS = (1, 0)', 'WIDTHS', '7'),
    ('RATE = -1e-3', '--rate', '1'), ("LOSS = 'z'", "'a', 'b', 'c d'", 'a'),
    ('SHARE = 1', 'SHARE must be in [0, 1)', '0.5'), ('CLIP = 0', 'CLIP must be in (0', '1')])
def test_a_constant_may_not_be_what_its_flag_may_not_be(line, complaint, mended, tmp_path, refused):
    script, shared = modules(tmp_path, edited(line))
    with refused(complaint):
        flags.parse([script, shared], [])
    flags.parse([script, shared], [f'--{line.split()[0].lower()}', mended])


def test_zeros_that_may_be(tmp_path):
    script, shared = modules(tmp_path, edited('COPIES = 0') + 'CHECK_EVERY = 0  # steps')
    flags.parse([script, shared], [])
    assert script['COPIES'] == script['CHECK_EVERY'] == 0


def test_help_shows_the_comments(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse(modules(tmp_path), ['--help'])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for comment in ('0.5 hours [3000]', "Adam's [0.0002]", '100 % shared [5]', '--resize, --no-resize', 'of every script',
                    'enough here [float32]'):
        assert comment in text


@pytest.mark.parametrize('changed, name', [
    ({}, 'toy-grid'), ({'STEPS': 3, 'RUN_DIR': 'x', 'DATASET': 'grid'}, 'toy-grid'), ({'PACKING': 2}, 'toy-grid-packing-2'),
    ({'G_LEARNING_RATE': 1e-3, 'SEED': 1}, 'toy-grid-g-learning-rate-0.001-seed-1'),
    ({'RATE': 0.00123456}, 'toy-grid-rate-0.00123456'), ({'RATE': 0.001234561}, 'toy-grid-rate-0.001234561'),
    ({'DECAY': False, 'BATCH_NORM': True}, 'toy-grid-no-decay-batch-norm'), ({'HIDDEN': (16, 8)}, 'toy-grid-hidden-16-8'),
    ({'NAME': 'a/../b c'}, 'toy-grid-name-a_.._b_c')])
def test_the_name_of_a_run_tells_what_was_changed(changed, name):
    assert naming.folder('some/where/toy.py', 'grid', changed) == name


def test_many_changes_become_a_sum_that_no_other_changes_have():
    many = {f'CONSTANT_{number}': number for number in range(9)}
    names = {naming.folder('toy.py', 'grid', {**many, 'CONSTANT_3': other}) for other in range(50)}
    assert len(names) == 50 and all(len(name) < 30 for name in names)
    assert naming.folder('toy.py', 'x' * 300, many).startswith('toy-xxx')
    assert len(naming.folder('toy.py', 'x' * 300, many)) < 130
    assert naming.folder('toy.py', '/', {}) == 'toy-pictures'


@pytest.mark.parametrize('program, arguments, status', [
    ('dcgan', ['--help'], 0), ('dcgan', ['--stepz', '3'], 2), ('dcgan', ['--steps', 'many'], 2), ('dcgan', ['--beta1', '2'], 2),
    *((name, ['--help'], 0) for name in ('toy', 'sweep', 'report', 'sample', 'metrics', 'retrieval', 'export')),
    *((name, ['runs/typo'], 2) for name in ('report', 'sample', 'metrics', 'retrieval')), ('sweep', ['toy.py', '--x', '1'], 2)])
def test_help_and_mistakes_end_before_tensorflow_is_imported(program, arguments, status):
    command = [sys.executable, '-X', 'importtime', ROOT / f'{program}.py', *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    imported = [line.split('|')[-1].strip() for line in done.stderr.splitlines() if line.startswith('import time:')]
    said = [line for line in done.stderr.splitlines() if not line.startswith('import time:')]
    assert done.returncode == status and len(said) == (1 if status else 0) and 'plumbing.flags' in imported
    assert not {'tensorflow', 'sklearn'} & set(imported)


@pytest.mark.slow
def test_importing_tensorflow_prints_nothing_unless_it_fails(tmp_path):
    command = [sys.executable, '-c', 'import ops; import tensorflow as tf; print(tf.__version__)']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.count('\n') == 1 and done.stderr == '', done.stderr
    (tmp_path / 'tensorflow').mkdir()
    (tmp_path / 'tensorflow/__init__.py').write_text('import os\nos.write(2, b"why not\\n")\nimport no_such_library\n')
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert done.returncode and 'why not' in done.stderr and 'no_such_library' in done.stderr
