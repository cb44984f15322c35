"""benchmarks/collapse.py: what a cell says, and which runs count as diverged."""
import re

from benchmarks import cells, collapse
from plumbing import jobs

import pytest


def test_a_cell_is_the_mean_and_the_deviation_over_seeds():
    found = [{'quality': .5}, {'quality': .7}, {'quality': .6}]
    assert cells.shown(found, 'quality', '.1%') == '60.0% ± 10.0'
    assert cells.shown(found[:1], 'quality', '.1%') == '50.0%'
    assert cells.shown([{'modes': 7.0}, {'modes': 8.0}], 'modes', '.1f') == '7.5 ± 0.7'
    assert cells.shown([{'modes': 7.0}, {'failed': 'd_loss is nan at step 3'}], 'modes', '.1f') == '7.0 (1 of 2 diverged)'
    assert cells.shown([], 'modes', '.1f') == '–'


def test_the_table_has_a_row_for_what_was_measured_and_a_column_for_each_measure():
    row = next(iter(collapse.ROWS))
    found = {(row, 'grid', 0): {'modes': 25.0, 'quality': .9, 'reverse_kl': .1},
             (row, 'mnist', 0): {'frechet_distance': 2.0, 'coverage': .3},
             (row, 'mnist', 1): {'failed': 'd_loss is nan at step 3'}}
    head, _, line = collapse.table(found).splitlines()
    assert [cell.strip() for cell in head.split('|')[3:-1]] == [
        'grid: modes of 25', 'grid: high quality', 'grid: reverse KL', 'mnist: Fréchet distance', 'mnist: coverage']
    assert [cell.strip() for cell in line.split('|')[1:-1]] == [
        row, '1, 2', '25.0', '90.0%', '0.10', '2.00 (1 of 2 diverged)', '0.30 (1 of 2 diverged)']


@pytest.mark.parametrize('status, error, failed', [
    (2, 'error: d_loss is nan at step 1762; no checkpoint had been written yet', 'd_loss is nan at step 1762'),
    (2, 'error: weights are no longer finite at step 7; the last good', 'weights are no longer finite at step 7'),
    (2, 'error: no data', None), (1, 'Traceback: d_loss is nan at step 3', None)])
def test_only_a_run_that_diverged_is_kept_as_one_that_failed(status, error, failed, tmp_path):
    arguments, done = collapse.command('plain GAN', 'ring', 0), jobs.Done(status, '', error)
    if failed:
        assert collapse.measured(arguments, done, tmp_path, ('plain GAN', 'ring', 0)) == {'failed': failed}
    else:
        with pytest.raises(RuntimeError, match=re.escape(error)):
            collapse.measured(arguments, done, tmp_path, ('plain GAN', 'ring', 0))


def test_every_objective_has_a_row_with_what_bounds_its_critic():
    rows = list(collapse.ROWS)
    assert 'wasserstein, gradient-penalty' in rows and 'mean-matching, clip' in rows and 'hinge' in rows
    assert len(collapse.OBJECTIVES) == len(collapse.objectives.OBJECTIVES) - 1      # non-saturating is the plain GAN


def test_a_script_with_networks_for_pictures_alone_has_a_row_on_pictures():
    for name in collapse.ENERGIES:
        assert [collapse.takes(name, dataset) for dataset in collapse.COLUMNS] == [False, False, True, True]
        assert collapse.command(name, 'stacked_mnist', 0)[-2:] == ['--channels', '3']
        assert '--channels' not in collapse.command(name, 'mnist', 0)
    assert all(collapse.takes('plain GAN', dataset) for dataset in collapse.COLUMNS)
    assert '--channels' not in collapse.command('plain GAN', 'stacked_mnist', 0)      # its script has one of three by itself
