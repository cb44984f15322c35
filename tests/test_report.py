"""Runs compared: what is read of their folders, means over seeds, what is best; the page, read by a parser and in a browser.

The runs are made here, with known numbers and pictures of one grey each.
"""
import base64
import html.parser
import io
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys

import report
from plumbing import files, measures, results

import browser
import numpy as np
import pytest
from conftest import ROOT, contents
from PIL import Image

ATTACK = '<script>document.title = "taken"</script>"\'&lt;\n</script><img src=x onerror="document.title=1">{{ 1234 * 5678 }}'
SETTINGS = {'RUN_DIR': '', 'DATA_DIR': '', 'EVAL_COUNT': 200, 'DATASET': 'mnist', 'HIDDEN': [256, 64], 'STEPS': 400,
            'EPOCHS': 0, 'BETA1': 0.5, 'SEED': 0}
MODEL = {'frechet_distance': 0.25, 'density': 1.5, 'precision': 0.75, 'copied': 0.0, 'class_shares': [0.5, 0.5]}
REAL = {'frechet_distance': 0.0375, 'density': 0.984, 'precision': 0.9, 'copied': 0.0, 'class_shares': [0.5, 0.5]}
ROWS = 'step,d_loss,frechet_200\n' + ''.join(f'{step},{1 + step / 1000},{"0.5" if step == 400 else ""}\n'
                                             for step in range(10, 401, 10))


def made(folder, settings=(), model=(), script='dcgan.py', rows=ROWS, metrics=..., steps=(0, 200, 400), real=REAL):
    """The folder of a run, filled. metrics: the content of metrics.json if it is not of `model` and `real`; None for none."""
    (folder / 'samples').mkdir(parents=True)
    settings = {**SETTINGS, **dict(settings)}
    (folder / 'settings.json').write_text(json.dumps({'script': script, 'settings': settings, 'networks': {}, 'classes': None,
                                                      'versions': [{'step': 0, 'numpy': '2.4.6'}]}))
    if rows is not None:
        (folder / 'scalars.csv').write_text(rows)
    if metrics is ...:
        metrics = {'count': 10000, 'evaluator': 'evaluator-mnist-v1', 'model': {**MODEL, **dict(model)}, 'real': real}
    if metrics is not None:
        (folder / 'metrics.json').write_text(metrics if isinstance(metrics, str) else json.dumps(metrics))
    for step in steps:
        drawn(folder / f'samples/step-{step:06d}.png', step % 256)
    return folder


def drawn(path, grey, size=(8, 6)):
    Image.new('L', size, grey).save(path)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three seeds of one recipe, and two runs of another one, of which one is not finished; the working folder beside them."""
    monkeypatch.chdir(tmp_path)
    for seed, distance in enumerate([0.25, 0.5, 0.3]):
        made(tmp_path / f'a-{seed}', {'SEED': seed, 'RUN_DIR': f'a-{seed}'}, {'frechet_distance': distance})
    made(tmp_path / 'b', {'BETA1': 0.9, 'LAYERS': 3}, {'frechet_distance': 0.3, 'density': 0.75}, 'wgan.py')
    made(tmp_path / 'c', {'BETA1': 0.9, 'LAYERS': 3, 'SEED': 1}, script='wgan.py', metrics=None, rows=ROWS[:ROWS.index('310,')],
         steps=(0, 200))
    return [tmp_path / name for name in ('a-0', 'a-1', 'a-2', 'b', 'c')]


# reading

def test_a_run_is_read_as_it_was_made(runs):
    run = results.read(runs[1])
    assert (run.folder, run.name, run.script, run.step, run.count) == (runs[1], 'a-1', 'dcgan.py', 400, 10000)
    assert run.settings == {**SETTINGS, 'SEED': 1, 'RUN_DIR': 'a-1'} and run.versions == {'numpy': '2.4.6'}
    assert run.final == {'frechet_distance': 0.5, 'density': 1.5, 'precision': 0.75, 'copied': 0} and run.finished
    assert run.real == {name: value for name, value in REAL.items() if name != 'class_shares'} and run.missing == ''
    assert run.measured == '10,000 samples, evaluator-mnist-v1'
    steps, values = run.curves['d_loss']
    np.testing.assert_array_equal(steps, np.arange(10, 401, 10))
    np.testing.assert_allclose(values, 1 + steps / 1000)
    assert [list(found) for found in run.curves['frechet_200']] == [[400], [0.5]]
    assert run.pictures == [(step, runs[1] / f'samples/step-{step:06d}.png') for step in (0, 200, 400)]


def test_an_unfinished_run_says_how_far_it_is(runs):
    run = results.read(runs[4])
    assert (run.step, run.final, run.real, run.finished) == (300, {}, {}, False)
    assert run.missing == 'at step 300 of 400; no metrics.json'


def test_a_run_that_has_just_begun_is_empty_but_no_error(tmp_path):
    run = results.read(made(tmp_path / 'new', rows=None, metrics=None, steps=()))
    assert (run.step, run.final, run.curves, run.pictures) == (0, {}, {}, [])
    assert 'Nothing was measured' in report.page([run]) and '| new (at step 0 of 400; no metrics.json) |' in \
        results.markdown(results.tables([run]))


def test_a_row_that_is_still_being_written_is_left_out(tmp_path):
    whole = results.read(made(tmp_path / 'whole')).curves['d_loss']
    cut = results.read(made(tmp_path / 'cut', rows=ROWS + '410,1.4')).curves['d_loss']
    np.testing.assert_array_equal(whole, cut)


def test_final_numbers_of_the_plane_and_of_autoencoders(tmp_path):
    grid = results.read(made(tmp_path / 'grid', {'DATASET': 'grid'}, metrics={'modes': 11.0, 'quality': 0.25, 'reverse_kl': 0.5}))
    assert grid.final == {'modes': 11, 'quality': 0.25, 'reverse_kl': 0.5}
    assert grid.real == {'modes': 25, 'quality': pytest.approx(0.98889, abs=1e-5), 'reverse_kl': 0}       # Rayleigh, 3 sd
    rows = 'step,loss,test_error,pca_error\n10,0.5,,\n400,0.25,0.01,0.02\n'
    coded = results.read(made(tmp_path / 'coded', rows=rows, metrics=None))
    assert coded.final == {'test_error': 0.01, 'pca_error': 0.02}
    (tmp_path / 'coded/finals.json').write_text('{"test_bound": -90.5, "bound_gap": 2.25, "kl": [1.0, 2.0]}')
    assert results.read(tmp_path / 'coded').final == {**coded.final, 'test_bound': -90.5, 'bound_gap': 2.25}
    assert results.aim('test_bound') == 'high' and results.aim('bound_gap') is None
    assert results.aim('test_error') == 'low' and results.aim('test_elbo') == 'high' and results.aim('frechet_200') == 'low'
    assert results.aim('d_loss') is None and {results.aim(name) for name in measures.AIM} == {'low', 'high', 'near 1'}


@pytest.mark.parametrize('name, content', [
    ('metrics.json', '{'), ('metrics.json', '[]'), ('metrics.json', '{"model": 3, "real": {}}'), ('metrics.json', '{"model": 1}'),
    ('metrics.json', '{"model": {}, "real": {}, "count": "many"}'), ('metrics.json', '[' * 100_000), ('metrics.json', '\x00'),
    ('finals.json', '{'), ('finals.json', '[]'),
    ('scalars.csv', 'nonsense\n'), ('scalars.csv', 'step,a\n10,x\n'), ('scalars.csv', 'step,a\n10,1,2\n'), ('scalars.csv', '\n'),
    ('scalars.csv', 'step,a\n10,1\n10,2\n'), ('scalars.csv', 'step,a,a\n10,1,2\n'), ('scalars.csv', 'step,a\n-10,1\n'),
    ('scalars.csv', f'step,a\n{"9" * 30},1\n'), ('scalars.csv', f'step,{"a" * 200_000}\n'), ('scalars.csv', 'step,a\n10,"1\n'),
    ('settings.json', '{'), ('samples/step-000200.png', 'no picture'),
    ('samples/step-000400.png', ''), ('nearest.png', 'no picture'), ('losses.png', '\x89PNG\r\n\x1a\n')])
def test_a_damaged_file_is_named_in_one_line(name, content, runs, refused):
    (runs[1] / name).write_text(content)
    with refused(f'a-1/{name} is damaged'):
        report.main([*map(str, runs), '--html', 'page.html'])
    assert not pathlib.Path('page.html').exists()


def test_a_folder_in_the_place_of_a_file_is_damage_too(runs, refused):
    (runs[1] / 'metrics.json').unlink()
    (runs[1] / 'metrics.json').mkdir()
    with refused('a-1/metrics.json is damaged'):
        report.main(['a-1'])


# comparing

def test_settings_that_differ_are_those_of_the_recipe(runs):
    read = results.read_all(runs)
    assert results.differing(read) == ['BETA1', 'SEED', 'LAYERS'] and results.differing(read[:1]) == []
    assert results.differing(read[:3]) == ['SEED']
    assert [[run.name for run in group] for group in results.groups(read)] == [['a-0', 'a-1', 'a-2'], ['b', 'c']]
    assert results.group_name(read[:3]) == 'a' and results.group_name(read[3:4]) == 'b'


def test_means_over_seeds_are_those_of_the_statistics_module(runs):
    table, = results.tables(results.read_all(runs))
    assert [row.kind for row in table.rows] == ['run', 'run', 'run', 'mean', 'run', 'run', 'real']
    assert [row.name for row in table.rows] == ['a-0', 'a-1', 'a-2', 'a, mean ± sd of 3 seeds', 'b', 'c', 'real']
    mean, real = table.rows[3], table.rows[-1]
    assert mean.numbers['frechet_distance'] == pytest.approx(statistics.fmean([0.25, 0.5, 0.3]))
    assert mean.deviations['frechet_distance'] == pytest.approx(np.std([0.25, 0.5, 0.3], ddof=1))
    assert mean.deviations['copied'] == 0 and set(mean.counts.values()) == {3}
    assert real.numbers == {**{name: REAL[name] for name in ('frechet_distance', 'precision', 'density', 'copied')}}
    assert table.data == 'mnist, 10,000 samples, evaluator-mnist-v1'


def test_the_best_is_by_what_to_hope_for_and_among_summaries(runs):
    """0.35 of three seeds loses against 0.3, though one seed has 0.25; a density of 0.75 is nearer to 1 than one of 1.5."""
    table, = results.tables(results.read_all(runs))
    assert {row.name: row.best for row in table.rows if row.best} == {'b': {'frechet_distance', 'density'}}
    table, = results.tables(results.read_all(runs[:3]))         # one recipe: the seeds are what there is to compare
    assert {row.name: row.best for row in table.rows if row.best} == {'a-0': {'frechet_distance'}}
    table, = results.tables(results.read_all(runs[:1]))
    assert not any(row.best for row in table.rows)


def test_data_sets_have_tables_of_their_own(runs, tmp_path):
    made(tmp_path / 'grid', {'DATASET': 'grid'}, metrics={'modes': 11.0, 'quality': 0.25, 'reverse_kl': 0.5})
    made(tmp_path / 'ring', {'DATASET': 'ring'}, metrics={'modes': 8.0, 'quality': 0.5, 'reverse_kl': 0.25})
    for number in 1, 2:
        made(tmp_path / f'birds-{number}', {'DATASET': f'/{number}/birds', 'PICTURES': str(number), 'IMAGE_SIZE': 64})
    found = results.tables(results.read_all([*runs, *(tmp_path / name for name in ('birds-1', 'grid', 'ring', 'birds-2'))]))
    assert [(table.data, len(table.rows)) for table in found] == [
        ('mnist, 10,000 samples, evaluator-mnist-v1', 7), ('birds, 10,000 samples, evaluator-mnist-v1', 2),
        ('grid', 2), ('ring', 2),
        ('birds, 10,000 samples, evaluator-mnist-v1 (2)', 2)]
    assert [column.name for column in found[2].columns] == ['modes', 'quality', 'reverse_kl']


def test_pictures_that_have_moved_are_the_same_recipe(tmp_path):
    for seed in range(2):
        made(tmp_path / f'run-{seed}', {'DATASET': f'/{seed}/birds', 'PICTURES': 'abc', 'SOURCE': f'/{seed}/drawings',
                                        'SOURCE_PICTURES': 'def', 'SEED': seed})
    assert len(results.groups(results.read_all([tmp_path / 'run-0', tmp_path / 'run-1']))) == 1


def test_real_rows_agree_but_for_rounding(tmp_path):
    made(tmp_path / 'a')
    made(tmp_path / 'b', {'BETA1': 0}, real={**REAL, 'frechet_distance': 0.037500001, 'gan_test': 0.99})
    made(tmp_path / 'c', {'BETA1': 1}, real={**REAL, 'frechet_distance': 0.05})
    table, = results.tables(results.read_all([tmp_path / name for name in 'ab']))
    assert [row.name for row in table.rows] == ['a', 'b', 'real']
    table, = results.tables(results.read_all([tmp_path / name for name in 'abc']))
    assert [row.name for row in table.rows] == ['a', 'b', 'c', 'real (1)', 'real (2)']


def test_a_level_of_real_pictures_is_of_as_many_samples(tmp_path):
    columns = ('frechet_200', 'gan_test', 'gan_test_worst', 'd_loss')
    real = {**REAL, 'gan_test': 0.99, 'gan_test_worst': 0.9}
    run = results.read(made(tmp_path / 'other', real=real))
    assert [results.real_level(run, column) for column in columns] == [None, 0.99, None, None]
    metrics = {'count': 200, 'model': MODEL, 'real': real}
    run = results.read(made(tmp_path / 'same', metrics=metrics))
    assert [results.real_level(run, column) for column in columns] == [0.0375, 0.99, 0.9, None]
    run = results.read(made(tmp_path / 'along', metrics={**metrics, 'count': 10000, 'real_along': {'frechet_200': 0.25}}))
    assert [results.real_level(run, column) for column in columns] == [0.25, 0.99, None, None]
    run = results.read(made(tmp_path / 'grid', {'DATASET': 'ring'}, metrics={'modes': 3}))
    assert results.real_level(run, 'modes') == 8


@pytest.mark.parametrize('values, expected', [
    ([0.0709, 0.0369, 0.302], ['0.0709', '0.0369', '0.3020']), ([11.0, 25.0], ['11', '25']), ([0.0, 0.0], ['0', '0']),
    ([1234.5, 2345.6], ['1234', '2346']), ([1e-9, 0.5, 0.7], ['1e-09', '0.500', '0.700']),
    ([-0.5, 0.25, 0], ['-0.500', '0.250', '0'])])
def test_numbers_of_a_column_are_aligned(values, expected, tmp_path):
    runs = [results.read(made(tmp_path / str(i), {'BETA1': i}, metrics={'quality': value})) for i, value in enumerate(values)]
    table, = results.tables(runs)
    assert [table.number(row, table.columns[0]) for row in table.rows] == expected


# the command

def test_markdown_has_the_numbers_and_marks_the_best(runs, capsys):
    report.main(list(map(str, runs)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '| run | frechet_distance ↓ | precision ↑ | density → 1 | copied ↓ |'
    assert lines[2] == '| a-0 | 0.250 | 0.750 | 1.50 | 0 |'
    assert lines[5] == '| a, mean ± sd of 3 seeds | 0.350 ± 0.132 | 0.750 ± 0.000 | 1.50 ± 0.00 | 0 ± 0 |'
    assert lines[6] == '| b | **0.300** | 0.750 | **0.75** | 0 |'
    assert lines[7].startswith('| c (at step 300 of 400; no metrics.json) |')
    assert lines[8] == '| real | 0.037 | 0.900 | 0.98 | 0 |'


def test_json_is_the_same_table(runs, capsys):
    report.main([*map(str, runs), '--json'])
    found = json.loads(capsys.readouterr().out)
    table, = found['tables']
    assert found['differing'] == ['BETA1', 'SEED', 'LAYERS']
    assert table['columns'][0] == {'name': 'frechet_distance', 'aim': 'low'}
    first, mean, real = table['rows'][0], table['rows'][3], table['rows'][-1]
    assert first['numbers'] == {name: MODEL[name] for name in MODEL if name != 'class_shares'}
    assert (first['kind'], first['script'], first['step'], first['finished'], first['settings']['SEED']) == \
        ('run', 'dcgan.py', 400, True, 0)
    assert mean['numbers']['frechet_distance'] == pytest.approx(0.35) and mean['counts']['frechet_distance'] == 3
    assert mean['deviations']['frechet_distance'] == pytest.approx(statistics.stdev([0.25, 0.5, 0.3]))
    assert len(mean['runs']) == 3 and real['kind'] == 'real' and real['numbers']['density'] == 0.984


def test_a_run_that_is_given_twice_counts_once(runs, capsys):
    os.symlink(runs[0], 'link')
    report.main(['a-0', 'a-1', './a-0', str(runs[0]), 'link', '--json'])
    rows = json.loads(capsys.readouterr().out)['tables'][0]['rows']
    assert [row['name'] for row in rows] == ['a-0', 'a-1', 'a, mean ± sd of 2 seeds', 'real']


def test_runs_of_one_name_are_called_by_their_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / 'x/run')
    made(tmp_path / 'y/run', {'SEED': 1})
    read = results.read_all([pathlib.Path('x/run'), pathlib.Path('y/run')])
    assert [run.name for run in read] == ['x/run', 'y/run']
    monkeypatch.chdir(tmp_path / 'x/run')
    assert results.read(pathlib.Path('.')).name == 'run'


@pytest.mark.parametrize('arguments, complaint', [
    (['typo'], 'there is no folder typo: '), (['a-0', 'file'], 'file is a file, not the folder of a run'),
    (['.'], '. is not a run folder'), ([], 'RUN'), (['a-0', '--bogus'], '--bogus'), (['~nobody-at-all/x'], 'no home folder'),
    (['a-0', '--html', 'page.pdf'], 'page.pdf is not the name of a page: it must end in .html or .htm'),
    (['a-0', '--html', 'b'], 'must end in .html'), (['a-0', '--html='], 'must end in .html'),
    (['a-0', '--html', 'folder.html'], 'folder.html is a folder'), (['a-0', '--html', 'x.html', '--json'], 'not allowed with')])
def test_mistakes_are_one_line_with_status_2(arguments, complaint, runs, refused):
    pathlib.Path('file').write_text('x')
    pathlib.Path('folder.html').mkdir()
    before = contents(pathlib.Path())
    with refused(complaint):
        report.main(arguments)
    assert contents(pathlib.Path()) == before


@pytest.mark.slow
def test_help_does_not_import_tensorflow():
    code = ('import runpy, sys\ntry: runpy.run_path("report.py", run_name="__main__")\n'
            'finally: assert "tensorflow" not in sys.modules')
    ended = subprocess.run([sys.executable, '-c', code, '--help'], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and '--html FILE' in ended.stdout and not ended.stderr


# the page

class Read(html.parser.HTMLParser):
    """Elements, attributes and texts of a page as a browser would find them; the content of <script> stays one text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.scripts, self._open = [], [], [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self._open = tag

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        (self.scripts if self._open == 'script' else self.texts).append(data)


def page(folders):
    text = report.page(results.read_all(folders))
    return text, Read(text)


def data_of(found):
    return json.loads(found.scripts[0])


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(',')[2]))))


def test_the_page_has_all_of_it_and_asks_for_nothing(runs):
    drawn(runs[0] / 'nearest.png', 7)
    text, found = page(runs)
    told = ' '.join(''.join(found.texts).split())
    for expected in ('5 runs', 'BETA1', '0.9', '256, 64', 'a, mean ± sd of 3 seeds', '0.350 ± 0.132', 'no metrics.json', '0.98',
                     'nearest.png: samples', '0.300 (best)', 'frechet_distance', 'DATASETmnist'):
        assert expected in told, expected
    assert {tag for tag in found.tags} & {'link', 'iframe', 'object', 'base'} == set()
    links = [value for name, value in found.attributes if name in ('src', 'href', 'srcset', 'action', 'data') and value]
    assert links and all(link.startswith('data:image/') for link in links)
    assert not re.search(r'url\((?!#)|@import', text.replace('`url(#${clip})`', ''))
    urls = set(re.findall(r'https?://[^\'" ]+', text))
    assert urls == {'http://www.w3.org/2000/svg'}                # the name of SVG, which nobody loads
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert ('content', policy) in found.attributes
    data = data_of(found)
    assert data['steps'] == [0, 200, 400] and [chart['name'] for chart in data['charts']] == ['d_loss', 'frechet_200']
    assert [int(pixels(uri).max()) for uri in data['films'][0]['pictures']] == [0, 200, 400 - 256]


def test_hostile_names_are_texts_wherever_they_stand(tmp_path):
    name = ATTACK.replace('/', '∕')                              # a file's name can hold all but this
    column = ATTACK.replace('"', '""').replace('\n', ' ')
    folder = made(tmp_path / name, {'DATASET': f'/x/{ATTACK}', 'NOTE': ATTACK, ATTACK: 'x\ud800'}, script=ATTACK,
                  rows=f'step,"{column}"\n10,1\n',
                  metrics={'count': 10, 'evaluator': ATTACK, 'model': {ATTACK: 1, 'precision': 0.5}, 'real': {ATTACK: 2}})
    drawn(folder / 'nearest.png', 7)
    other = made(tmp_path / 'plain')
    text, found = page([folder, other])
    _, plain = page([other])
    assert set(found.tags) <= {*plain.tags, 'h3'} and found.tags.count('script') == 2
    assert not any(name.startswith('on') for name, _ in found.attributes)
    shown = files.one_line(name)
    assert data_of(found)['runs'][0]['name'] == shown and shown in found.texts and '7006652' not in ''.join(found.texts)
    assert files.one_line(ATTACK) in found.texts                 # as a setting
    assert any(name == 'aria-label' and shown in value for name, value in found.attributes)
    text.encode(errors='backslashreplace')
    line = results.markdown(results.tables(results.read_all([folder]))).splitlines()[2]
    assert '<' not in re.sub(r'\\<', '', line) and line.count('|') - line.count('\\|') == 4


def test_lone_surrogates_are_written_as_text(runs, capsys):
    made(pathlib.Path('s'), {'NOTE': '\ud800'})
    report.main(['a-0', 's', '--html', 'page.html'])
    assert '\\ud800' in pathlib.Path('page.html').read_text() and 'wrote page.html: 2 runs' in capsys.readouterr().out


def test_films_are_thinned_with_first_and_last_kept(tmp_path):
    run = results.read(made(tmp_path / 'long', steps=range(0, 2001, 10)))
    found = report.film(run, 10**9)
    assert len(found['steps']) == len(found['pictures']) == report.FRAMES == 40
    assert found['steps'][0] == 0 and found['steps'][-1] == 2000
    assert set(np.diff(found['steps'])) <= {50, 60}              # 200 / 39 pictures apart
    few = report.film(run, 5 * len(found['pictures'][-1]))
    assert few['steps'] == [0, 500, 1000, 1500, 2000]
    assert report.film(run, 1)['steps'] == [0, 2000]


@pytest.mark.parametrize('mode', ['L', 'RGB'])
@pytest.mark.parametrize('doubled', [True, False])
def test_pictures_keep_their_pixels(mode, doubled, tmp_path):
    shape = (20, 30) if mode == 'L' else (20, 30, 3)
    drawn = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    shown = drawn.repeat(2, 0).repeat(2, 1) if doubled else drawn
    Image.fromarray(shown).save(tmp_path / 'x.png')
    found = report.picture(tmp_path / 'x.png')
    assert (found['width'], found['height']) == shown.shape[1::-1]
    back = pixels(found['uri'])
    np.testing.assert_array_equal(back if back.ndim == len(shape) else back[:, :, 0], drawn)
    assert len(found['uri']) <= len(base64.b64encode((tmp_path / 'x.png').read_bytes())) + 30


@pytest.mark.parametrize('mode', ['1', 'P', 'I;16', 'RGBA', 'LA'])
def test_pictures_of_other_kinds_are_embedded_too(mode, tmp_path):
    Image.new(mode, (5, 4)).save(tmp_path / 'x.png')
    assert pixels(report.picture(tmp_path / 'x.png')['uri']).shape[:2] == (4, 5)


def test_a_curve_is_thinned_but_keeps_its_extremes():
    values = np.random.default_rng(0).standard_normal(100_000)
    values[12_345], values[98_765] = 50, -60
    steps = np.arange(len(values)) * 10
    found = report.line(steps, values)
    for name, most in ('raw', 2 * report.POINTS), ('mean', report.POINTS):
        assert len(found[name][0]) == len(found[name][1]) <= most
    assert max(found['raw'][1]) == 50 and min(found['raw'][1]) == -60 and found['raw'][0][found['raw'][1].index(50)] == 123_450
    assert found['mean'][0][0] == 0 and found['mean'][0][-1] == 999_990
    for step, mean in list(zip(*found['mean'], strict=True))[::20]:                      # 2,000 to each side
        around = values[max(0, step // 10 - 2000):step // 10 + 2001]
        assert mean == pytest.approx(around.mean(), rel=1e-3, abs=1e-4)


def test_a_curve_of_few_values_is_drawn_as_it_is():
    assert report.line(np.array([10, 20]), np.array([1.0, 3.0])) == {'raw': [[], []], 'mean': [[10, 20], [1.0, 3.0]]}


def test_a_log_scale_is_for_what_spans_much_and_is_positive(tmp_path):
    rows = 'step,a,b,c,modes\n' + ''.join(f'{i},{10.0 ** -i},{1 + i},{i - 1},{10 ** i}\n' for i in range(1, 5))
    found = report.charts([results.read(made(tmp_path / 'a', {'DATASET': 'grid'}, rows=rows, metrics={'modes': 3}))])
    assert {chart['name']: chart['log'] for chart in found} == {'a': True, 'b': False, 'c': False, 'modes': False}
    assert found[3]['real'] == [{'name': 'real, grid', 'value': 25}] and math.isclose(found[0]['lines'][0]['mean'][1][-1], 1e-4)


def test_the_page_stays_small(tmp_path):
    """Six runs with 100,000 rows would be 20 MB, and with 500 noisy pictures 60 MB more."""
    noise = np.random.default_rng(0)
    rows = 'step,d_loss,g_loss\n' + ''.join(f'{i},{x:.6g},{-x:.6g}\n' for i, x in enumerate(noise.random(20_000)))
    folder = made(tmp_path / 'big', rows=rows, steps=())
    for i in range(100):
        Image.fromarray(noise.integers(0, 256, (100, 200), np.uint8)).save(folder / f'samples/step-{i:06d}.png')
    text, found = page([folder])
    frames = data_of(found)['films'][0]['pictures']
    assert len(frames) == 40 and len(text) < sum(map(len, frames)) + 100_000 < 1_300_000


# in a browser

@pytest.fixture(scope='module')
def opened(tmp_path_factory):
    if not browser.found():
        pytest.skip('no Chromium or Chrome to look at the page with')
    with browser.opened(tmp_path_factory.mktemp('profile')) as found:
        yield found


@pytest.mark.slow
def test_in_a_browser_the_page_works_and_attacks_do_not(tmp_path, opened):
    name = ATTACK.replace('/', '∕')
    made(tmp_path / name, {'NOTE': ATTACK, 'SEED': 1}, script=ATTACK, steps=range(0, 401, 50))
    made(tmp_path / 'plain')
    made(tmp_path / ('very_long_name_without_a_break' * 6), {'HIDDEN': list(range(200))}, rows=None, metrics=None, steps=(100,))
    drawn(tmp_path / 'plain/nearest.png', 7, (2000, 100))
    report.main([*(str(folder) for folder in tmp_path.iterdir()), '--html', str(tmp_path / 'page.html')])
    url = (tmp_path / 'page.html').as_uri()
    for width, dark in (1200, False), (390, True), (320, False):
        assert opened.load(url, width, dark=dark) == [url] and opened.run('document.title') == '3 runs'
        assert opened.run('[...document.querySelectorAll("details")].forEach(details => details.open = true)') is None
        assert opened.run('document.documentElement.scrollWidth') <= width

    # the curves
    assert opened.run('[...document.querySelectorAll(".plot svg .mean-line")].length') == 4
    assert opened.run('[...document.querySelectorAll(".key")].some(key => key.textContent.includes("<script>"))')
    assert 'plain 1.4' in opened.run('document.querySelector(".plot").getAttribute("aria-label")')
    tip = opened.run('''(() => {
        const plot = document.querySelector('.plot'), box = plot.getBoundingClientRect();
        plot.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 6, clientY: box.top + 50}));
        return plot.querySelector('.tip').textContent; })()''')
    assert tip.startswith('step 400') and '1.4' in tip and '<script>' in tip
    opened.run('document.querySelector(".legend button").click()')
    assert opened.run('document.querySelector(".legend button").getAttribute("aria-pressed")') == 'false'

    # the samples
    captions = opened.run('''(() => {
        const at = document.getElementById('at');
        at.value = 1;
        at.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('.films figcaption')].map(caption => caption.textContent); })()''')
    assert opened.run('document.getElementById("told").textContent') == 'step 50'
    shown = {caption.split()[0][:5]: caption for caption in captions}
    assert shown['plain'].endswith('step 0') and shown['very_'].endswith('no picture yet')
    assert shown['<scri'].strip().endswith('}}')
    greys = opened.run('''Promise.all([...document.querySelectorAll('.films img')].filter(image => image.src).map(async image => {
        await image.decode();
        const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext('2d');
        canvas.drawImage(image, 0, 0);
        return [image.alt.split(' ').slice(-2).join(' '), canvas.getImageData(0, 0, 1, 1).data[0]]; }))''')
    assert sorted(map(tuple, greys))[-2:] == [('step 0', 0), ('step 50', 50)]
    opened.run('document.getElementById("play").click()')
    assert opened.run('document.getElementById("play").textContent') == 'Pause'
    ended = '''new Promise(done => {
        const look = () => document.getElementById('play').textContent === 'Play' ? done() : setTimeout(look, 50);
        look(); })'''
    opened.run(ended)
    assert opened.run('document.getElementById("told").textContent') == 'step 400'
    assert opened.complaints == [] and opened.run('document.title') == '3 runs'
