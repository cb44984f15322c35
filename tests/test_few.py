"""ada_gan.py: each change of a picture as NumPy makes it, what gradients go back through it, and p from what D says."""
import ada_gan

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import evaluate, random

pytestmark = pytest.mark.usefixtures('fresh_graph')

BRIGHTER, COLOURED, CONTRASTED, MOVED, CUT = range(5)
ALL = 'colour', 'translation', 'cutout'


def chances(*happening, count=6):
    """u [count, 12] with which just these of the five changes happen, for a p of 0.5."""
    u = np.random.default_rng(1).uniform(size=[count, 12]).astype('f')
    u[:, :5] = [0.1 if change in happening else 0.9 for change in range(5)]
    return u


def changed(x, u, p=0.5):
    return evaluate(ada_gan.augmented(tf.constant(x), tf.constant(u), tf.constant(p), ALL))


@pytest.fixture(params=[(9, 3), (16, 1)], ids=['odd', 'grey'])
def x(request):
    side, channels = request.param
    return np.tanh(random(6, side, side, channels))


def test_nothing_happens_without_p(x):
    np.testing.assert_allclose(changed(x, chances(*range(5)), 0.0), x, atol=1e-6)
    np.testing.assert_allclose(changed(x, chances()), x, atol=1e-6)


def test_all_happens_with_p_of_1(x):
    u = chances()
    u[:, :5] = np.float32(1 - 2**-24)                       # the largest number below 1
    others = u * np.repeat([0, 1], [5, 7]).astype('f')
    np.testing.assert_allclose(changed(x, u, 1.0), changed(x, others), atol=1e-6)


def test_brightness(x):
    u = chances(BRIGHTER)
    np.testing.assert_allclose(changed(x, u), [picture + how - 0.5 for picture, how in zip(x, u[:, 5], strict=True)], atol=1e-6)


def test_colour(x):
    u = chances(COLOURED)
    expected = [picture.mean(2, keepdims=True) * (1 - 2 * how) + picture * 2 * how
                for picture, how in zip(x, u[:, 6], strict=True)]
    np.testing.assert_allclose(changed(x, u), expected, atol=1e-6)


def test_contrast(x):
    u = chances(CONTRASTED)
    expected = [picture.mean() + (picture - picture.mean()) * (how + 0.5) for picture, how in zip(x, u[:, 7], strict=True)]
    np.testing.assert_allclose(changed(x, u), expected, atol=1e-5)


def test_moves_to_everywhere():
    """Each of the places up to an eighth of the side away, as slices have it, with grey where nothing was; none further."""
    side, most = 16, 2
    u = np.concatenate([chances(MOVED, count=100)] * 2)
    u[:, 8:10] = np.stack(np.meshgrid(*[np.linspace(0, 1, 14, endpoint=False)] * 2), 2).reshape(-1, 2).tolist() + [[0.5, 0.5]] * 4
    x = np.tanh(random(len(u), side, side, 2))
    seen = set()
    for picture, found, (a, b) in zip(x, changed(x, u), u[:, 8:10], strict=True):
        right, below = (int(5 * v) - most for v in (a, b))
        wide = np.pad(picture, [(most, most), (most, most), (0, 0)])
        np.testing.assert_allclose(found, wide[most - below:, most - right:][:side, :side], atol=1e-6)
        seen.add((right, below))
    assert len(seen) == 25


def test_cuts_a_square(x):
    """Half the side, around each of the places between the pixels alike; outside nothing changes."""
    u, side = chances(CUT), x.shape[1]
    for picture, found, (across, down) in zip(x, changed(x, u), u[:, 10:], strict=True):
        expected, half = picture.copy(), side // 4
        column, row = (int((side + 1) * v) for v in (across, down))
        expected[max(row - half, 0):row - half + (side + 1) // 2, max(column - half, 0):column - half + (side + 1) // 2] = 0
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradients_go_back_to_where_a_pixel_came_from():
    """All five are linear in the picture, but for an offset: a difference of any length has the slope of the gradient."""
    x, u = np.tanh(random(6, 8, 8, 3)).astype('f'), chances(*range(5))
    given, weights = tf.constant(x), random(6, 8, 8, 3, seed=2)
    y = ada_gan.augmented(given, tf.constant(u), tf.constant(0.5), ALL)
    found = evaluate(tf.gradients(tf.reduce_sum(y * weights), given)[0])
    for d in random(3, 6, 8, 8, 3, seed=3):
        slope = np.sum((changed(x + d, u) - changed(x, u)) * weights)
        assert slope == pytest.approx((found * d).sum(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(('target', 'p'), [(0.6, 0.0), (0.01, 0.97), (0.0, 0.3)])
def test_p_follows_what_d_says_of_real_pictures(target, p, build):
    """Each update of D moves p by P_STEP, up where E[sign(D(x))] is beyond the target, within [0, 1]."""
    built = build('ada_gan', P=p, TARGET=target, P_STEP=0.02)
    given, rows = built.given, []
    variable = next(v for v in tf.global_variables() if v.op.name == 'discriminator/p')
    with built.session() as session:
        for _ in range(6):
            before = session.run(variable)
            scores, told = session.run([given['scores']['real'], given['scalars'], given['updates'][0]])[:2]
            after = session.run(variable)
            assert told['p'] == before
            assert told['r_t'] == pytest.approx(np.sign(scores).mean(), abs=1e-6)
            step = 0.02 * np.sign(told['r_t'] - np.float32(target)) if target else 0
            assert after == pytest.approx(np.clip(before + step, 0, 1), abs=1e-6)
            rows.append(after)
            session.run(given['updates'][1])                # G's update leaves it alone
            assert session.run(variable) == after
    assert len(set(rows)) == 1 if not target else len(set(rows)) > 1


def test_pictures_beyond_the_first_are_not_used(build):
    built = build('ada_gan', TRAIN_COUNT=20)
    shapes = {v.op.name: v.shape.as_list() for v in tf.local_variables()}
    assert shapes['data/images'][0] == 20
    assert built.given['scalars']['p'].shape == []
