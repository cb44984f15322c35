"""The balance: an update is skipped exactly where its loss is not over its threshold, and nothing of its network moves then."""
import balanced_gan
from plumbing import files, graph

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

NAMES = 'd_fake', 'g', 'd_real'
NETWORKS = 'generator', 'discriminator'


@pytest.fixture
def balanced(build):
    """The function (thresholds, steps) -> (losses and counts of updates [steps, 3, 2] as run.train would report them,
    {name of a variable of the networks: [before, after]}), each time from the start."""
    thresholds = [tf.placeholder(tf.float32, [], name) for name in NAMES]
    built = build('balanced_gan', **{f'{name}_THRESHOLD'.upper(): value for name, value in zip(NAMES, thresholds, strict=True)})
    updates = built.given['updates']
    fetches = graph.fetches(updates, updates, built.given['scalars'])
    variables = {v.op.name: v for v in tf.global_variables() if v.name.split('/')[0] in NETWORKS}
    begin = tf.global_variables_initializer()

    def updated(given, steps=1):
        session.run(begin)
        before, rows = session.run(variables), []
        for _ in range(steps):
            values = {}
            for tensors, names in fetches:
                feed = dict(zip(thresholds, given, strict=True))
                values.update(zip(names, session.run(tensors, feed)[1:], strict=True))
            rows.append([[values[f'{name}_loss'], values[f'{name}_updates']] for name in NAMES])
        after = session.run(variables)
        return np.array(rows), {name: (before[name], after[name]) for name in variables}

    with built.session() as session:
        yield updated


@pytest.mark.parametrize('name, widths', [('G_WIDTHS', (64, 32)), ('D_WIDTHS', (32,)), ('D_WIDTHS', (32, 64, 128))])
def test_other_numbers_of_layers_are_refused(name, widths, monkeypatch):
    monkeypatch.setattr(balanced_gan, name, widths)
    with pytest.raises(files.UserError, match='G_WIDTHS takes three numbers and D_WIDTHS two'):
        balanced_gan.main()


def test_a_skipped_update_leaves_every_bit_of_its_network(balanced):
    """The moving averages too, although the generator runs in training mode for the updates of D."""
    for thresholds, networks in [
            ((0, 0, 0), {'generator', 'discriminator'}), ((9, 9, 9), set()), ((9, 0, 9), {'generator'}),
            ((0, 9, 9), {'discriminator'}), ((9, 9, 0), {'discriminator'}), ((0, 9, 0), {'discriminator'})]:
        rows, values = balanced(thresholds)
        moved = {name for name, (before, after) in values.items() if not np.array_equal(before, after)}
        averages = {name for name in values if 'moving' in name}
        assert {name.split('/')[0] for name in moved} == networks, thresholds
        assert len(averages) == 6 and moved & averages == (averages if 'generator' in networks else set()), thresholds
        np.testing.assert_array_equal(rows[0, :, 1], [float(threshold == 0) for threshold in thresholds])


def test_the_losses_that_are_reported_are_those_that_the_thresholds_were_compared_with(balanced):
    """d_fake_loss comes with D's update on generated images, not with the later update of G, which draws such a batch too."""
    thresholds = 0.65, 1.09, 0.71
    rows, _ = balanced(thresholds, steps=12)
    over = rows[:, :, 0] > np.array(thresholds)
    np.testing.assert_array_equal(rows[:, :, 1], over.cumsum(0))
    assert 0 < over.mean() < 1  # both cases occurred


def test_the_losses_against_the_formulas():
    real, fake = np.array([[2.0], [-1.0]]), np.array([[0.5], [3.0]])
    p, q = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(balanced_gan.losses(tf.constant(real), tf.constant(fake)))
    expected = [-np.log(1 - q).mean(), -np.log(q).mean(), (-0.9 * np.log(p) - 0.1 * np.log(1 - p)).mean()]
    np.testing.assert_allclose(found, expected)
    smallest = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)  # the entropy of the smoothed label, where D(x) = 0.9
    assert round(smallest, 3) == 0.325
