"""Flags from a source file written for the test."""
import flags
import pytest

SCRIPT = '''"""A script for a test."""
STEPS = 3000              # how long, 0.5 hours
RATE = 2e-4               # Adam's
NAME = 'mnist'            # free text
LOSS = 'a'                # 'a', 'b' or 'c d': the choices
RESIZE = False            # a switch
WIDTHS = (256, 512)       # several
COPIES = 2                # 0 makes none; 10 is plenty
SEED = 0                  # start
lower = 1                 # not a constant
TABLE = {'a': 1}          # not a flag
'''
SHARED = '''
STEPS = 10       # here too
EVERY = 5        # 100 % shared
LOG_EVERY = 5    # steps
'''


def modules(tmp_path, script=SCRIPT):
    result = []
    for name, source in [('script.py', script), ('shared.py', SHARED)]:
        (tmp_path / name).write_text(source)
        module = {'__file__': str(tmp_path / name), '__doc__': None}
        exec(source, module)
        result.append(module)
    return result


def test_defaults_stay(tmp_path):
    script, shared = modules(tmp_path)
    flags.parse([script, shared], [])
    assert (script['STEPS'], script['RATE'], script['WIDTHS'], script['RESIZE']) == (3000, 2e-4, (256, 512), False)
    assert (shared['EVERY'], shared['STEPS']) == (5, 3000)  # the script's default rules


def test_every_type(tmp_path):
    script, shared = modules(tmp_path)
    flags.parse([script, shared], '--steps 7 --rate 1 --name x --loss b --resize --widths 1 2 3 --every 9'.split())
    assert [script[name] for name in ('STEPS', 'RATE', 'NAME', 'LOSS', 'RESIZE', 'WIDTHS')] == [7, 1.0, 'x', 'b', True, (1, 2, 3)]
    assert isinstance(script['RATE'], float) and shared['EVERY'] == 9 and shared['STEPS'] == 7
    flags.parse([script, shared], ['--no-resize', '--loss', 'c d', '--log-every', '0', '--copies', '0', '--seed', '0'])
    assert [script['COPIES'], script['SEED'], shared['LOG_EVERY']] == [0, 0, 0]  # what 0 does is said, SEED, or never
    assert script['RESIZE'] is False and script['LOSS'] == 'c d'


@pytest.mark.parametrize('arguments, complaint', [
    ('--nonsense 1', '--nonsense'), ('--steps 1.5', '--steps'), ('--steps -1', '--steps'), ('--steps 0', 'STEPS'),
    ('--widths 1 0', 'WIDTHS'), ('--rate nan', '--rate'),
    ('--rate -1', '--rate'), ('--rate x', '--rate'), ('--loss z', "'a', 'b', 'c d'"), ('--table 1', '--table'),
    ('--step 5', '--step'), ('--steps', '--steps'), ('--lower 2', '--lower')])
def test_mistakes_are_one_line_with_status_2(arguments, complaint, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse(modules(tmp_path), arguments.split())
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count('\n') == 1 and error.startswith('error: ') and complaint in error


@pytest.mark.parametrize('edited, complaint', [
    ('STEPS = 0', 'STEPS'), ('STEPS = -3', 'STEPS'), ('WIDTHS = (1, 0)', 'WIDTHS'), ('RATE = -1e-3', '--rate'),
    ("LOSS = 'z'", "'a', 'b', 'c d'")])
def test_a_constant_may_not_be_what_its_flag_may_not_be(edited, complaint, tmp_path, capsys):
    name = edited.split()[0]
    line = next(line for line in SCRIPT.splitlines() if line.startswith(name))
    script, shared = modules(tmp_path, SCRIPT.replace(line, f'{edited}  # {line.split("# ")[1]}'))
    with pytest.raises(SystemExit) as caught:
        flags.parse([script, shared], [])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count('\n') == 1 and complaint in error
    value = {'STEPS': '7', 'WIDTHS': '7', 'RATE': '1', 'LOSS': 'a'}[name]
    flags.parse([script, shared], [f'--{name.lower()}', value])                  # a flag mends it


def test_zeros_that_may_be(tmp_path):
    source = SCRIPT.replace('COPIES = 2', 'COPIES = 0') + 'CHECK_EVERY = 0  # steps'
    flags.parse(modules(tmp_path, source), [])


def test_help_shows_the_comments(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        flags.parse(modules(tmp_path), ['--help'])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for comment in ('0.5 hours [3000]', "Adam's [0.0002]", '100 % shared [5]', '--resize, --no-resize', 'of every script'):
        assert comment in text
