"""The balance: an update is left out exactly where its loss is not over its threshold, and takes no gradient then."""
import balanced_gan
import data
import run

import drive
import numpy as np
import pytest
import tensorflow.compat.v1 as tf


@pytest.fixture(autouse=True)
def control_flow():
    yield
    tf.enable_control_flow_v2()  # the script turns it off for its process


def updated(monkeypatch, steps=1, **thresholds):
    """(losses and counts of updates [steps, 3, 2] with these thresholds, networks whose weights have moved)."""
    given = {}
    monkeypatch.setattr(data, 'load', drive.load)
    monkeypatch.setattr(run, 'train', lambda script, **arguments: given.update(arguments))
    for name, value in {'BATCH_SIZE': 8, **thresholds}.items():
        monkeypatch.setattr(balanced_gan, name, value)
    with tf.Graph().as_default(), tf.Session() as session:
        balanced_gan.main()
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        before = session.run(tf.trainable_variables())
        names = ['d_fake_loss', 'g_loss', 'd_real_loss']
        counts = ['d_fake_updates', 'g_updates', 'd_real_updates']
        pairs = [[given['scalars'][loss], given['scalars'][count]] for loss, count in zip(names, counts, strict=True)]
        rows = [[session.run(pair) for pair in pairs] for _ in range(steps)]
        after = session.run(tf.trainable_variables())
        moved = {v.op.name.split('/')[0] for v, a, b in zip(tf.trainable_variables(), before, after, strict=True)
                 if not np.array_equal(a, b)}
    return np.array(rows), moved


@pytest.mark.parametrize('learns, networks', [
    ((0, 0, 0), {'generator', 'discriminator'}), ((9, 9, 9), set()), ((9, 0, 9), {'generator'}), ((0, 9, 9), {'discriminator'}),
    ((9, 9, 0), {'discriminator'})])
def test_only_the_loss_that_is_over_its_threshold_moves_weights(monkeypatch, learns, networks):
    names = ['D_FAKE_OVER', 'G_OVER', 'D_REAL_OVER']
    rows, moved = updated(monkeypatch, **dict(zip(names, learns, strict=True)))
    assert moved == networks
    np.testing.assert_array_equal(rows[0, :, 1], [float(over == 0) for over in learns])


def test_the_counts_are_those_of_the_losses_over_the_thresholds(monkeypatch):
    thresholds = {'D_FAKE_OVER': 0.65, 'G_OVER': 1.09, 'D_REAL_OVER': 0.71}
    rows, _ = updated(monkeypatch, steps=12, **thresholds)
    over = rows[:, :, 0] > np.array(list(thresholds.values()))
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
