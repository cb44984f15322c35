"""Auto-encoders as discriminators: what the papers of EBGAN and BEGAN prove or define, in closed form and in NumPy."""
import began
import ebgan
from plumbing import graph

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import evaluate, random

PAIRS = [([.5, .3, .2], [.1, .2, .7]), ([.25, .25, .5], [.25, .25, .5]), ([.9, .1, 0.], [0., .1, .9])]


def at_places(values, p):
    """The values [n] of n places, each as often in a batch of 100 as its probability says."""
    return tf.linalg.matvec(np.eye(len(p), dtype='f').repeat(np.rint(100 * np.array(p)).astype(int), 0), values)


@pytest.mark.parametrize('p_data, p_g', PAIRS)
@pytest.mark.usefixtures('fresh_graph')
def test_the_best_energies_of_discrete_distributions(p_data, p_g):
    """0 where p_data > p_G and m where p_data < p_G (lemma 1): V = m (1 - the total variation of p_data and p_G), which is
    m where they are the same (theorem 1), whatever the energy is there between 0 and m (theorem 2)."""
    m, total_variation = ebgan.MARGIN, np.abs(np.subtract(p_data, p_g)).sum() / 2
    energies = tf.get_variable('energies', initializer=tf.constant([4.0, 5.0, 6.0]), constraint=tf.nn.relu)
    d_loss, _ = ebgan.losses(at_places(energies, p_data), at_places(energies, p_g))
    step = tf.train.GradientDescentOptimizer(0.5).minimize(d_loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(200):
            session.run(step)
        found, value = session.run([energies, d_loss])
    expected = np.where(np.equal(p_data, p_g), [4, 5, 6], np.where(np.greater(p_data, p_g), 0, m))
    np.testing.assert_allclose(found, expected, atol=0.4)   # a step of descent that goes too far is 0.35
    assert value == pytest.approx(m * (1 - total_variation), abs=0.3)
    if p_data == p_g:
        assert value == pytest.approx(m, rel=1e-6)


@pytest.mark.usefixtures('fresh_graph')
def test_at_the_equilibrium_nothing_pulls_at_the_generator():
    """Theorem 2: an energy that is the same everywhere, no more than m, leaves G nothing to gain, and V = m."""
    for level in 0.0, 3.0, ebgan.MARGIN:
        energies = tf.fill([8], level)
        d_loss, g_loss = evaluate(ebgan.losses(energies, energies))
        assert d_loss == pytest.approx(ebgan.MARGIN) and g_loss == pytest.approx(level)
    above = evaluate(ebgan.losses(tf.zeros([4]), tf.fill([4], 2 * ebgan.MARGIN)))[0]
    assert above == 0                                       # the hinge: more than m is not asked for


@pytest.mark.usefixtures('fresh_graph')
def test_the_energy_is_the_length_of_the_error():
    x, y = random(3, 4, 5, 2), random(3, 4, 5, 2, seed=1)
    np.testing.assert_allclose(evaluate(ebgan.energy(x, y)), np.linalg.norm((x - y).reshape(3, -1), axis=1), rtol=1e-6)
    slope, = tf.gradients(ebgan.energy(tf.zeros([2, 4, 4, 1]), same := tf.zeros([2, 4, 4, 1])), same)
    assert not evaluate(slope).any()                        # a perfect reconstruction gives no NaN


@pytest.mark.usefixtures('fresh_graph')
def test_the_pulling_away_term_is_the_mean_squared_cosine_of_all_pairs():
    codes = random(6, 4)
    cosines = [codes[i] @ codes[j] / np.linalg.norm(codes[i]) / np.linalg.norm(codes[j])
               for i in range(6) for j in range(6) if i != j]
    for given, expected in [(codes, np.mean(np.square(cosines))), (np.eye(4, dtype='f'), 0), (codes[:1].repeat(5, 0), 1),
                            (np.float32([[1, 0], [-3, 0], [0, 2]]), 1 / 3)]:   # opposite ones are alike; lengths do not matter
        assert evaluate(ebgan.pulling_away(tf.constant(given))) == pytest.approx(expected, abs=1e-6)


def test_the_pulling_away_term_is_of_the_generators_loss_alone(build):
    given = build('ebgan').given
    d_step, g_step = map(graph.ancestors, given['updates'])
    pt = given['scalars']['pt'].op
    assert pt in g_step and pt not in d_step and pt not in graph.ancestors(given['scalars']['g_loss'].op)


@pytest.mark.usefixtures('fresh_graph')
def test_losses_of_began_against_the_formulas():
    x, y = random(3, 4, 4, 1), random(3, 4, 4, 1, seed=1)
    np.testing.assert_allclose(evaluate(began.error(x, y)), np.abs(x - y).mean((1, 2, 3)), rtol=1e-6)
    k = tf.constant(0.25)
    for real, fake in (0.4, 0.1), (0.2, 0.3):
        losses = began.losses(tf.constant(real), tf.constant(fake), k)
        off = began.GAMMA * real - fake
        np.testing.assert_allclose(evaluate(losses), [real - 0.25 * fake, fake, -0.25 * off, real + abs(off)], rtol=1e-6)
        slope, = tf.gradients(losses[2], k)
        assert evaluate(slope) == pytest.approx(-off)       # k rises while generated pictures are reconstructed too well


@pytest.mark.usefixtures('fresh_graph')
def test_k_settles_where_the_ratio_of_the_errors_is_gamma():
    """A player whose errors are linear in k, L(G(z)) = 0.1 + 0.8 k beside L(x) = 0.5, is in balance at
    k = (0.5 gamma - 0.1) / 0.8, from either side; where no k in [0, 1] is enough, k ends at the bound."""
    for slope, base, expected in (0.8, 0.1, (0.5 * began.GAMMA - 0.1) / 0.8), (0.1, 0.0, 1.0), (0.4, 0.9, 0.0):
        for begin in 0.0, 1.0:
            with tf.Graph().as_default(), tf.Session() as session:
                k = tf.get_variable('balance/k', initializer=begin, constraint=lambda k: tf.clip_by_value(k, 0.0, 1.0))
                _, _, k_loss, m = began.losses(tf.constant(0.5), base + slope * k, tf.identity(k))
                step = tf.train.GradientDescentOptimizer(0.2).minimize(k_loss)
                session.run(tf.global_variables_initializer())
                for _ in range(150):
                    session.run(step)
                found, convergence = session.run([k, m])
            assert found == pytest.approx(expected, abs=1e-3)
            if 0 < expected < 1:
                assert convergence == pytest.approx(0.5, abs=1e-3)           # M = L(x) in balance


@pytest.mark.parametrize('rate', [0.05, 30.0])
def test_k_follows_its_rule_step_by_step(rate, build):
    """k <- clip(k + lambda_k (gamma L(x) - L(G(z))), 0, 1), from what is reported of a step alone; D's update leaves it."""
    built = build('began', K_LEARNING_RATE=rate)
    updates = built.given['updates']
    fetches = graph.fetches(updates, updates, built.given['scalars'])
    k, = tf.trainable_variables('balance/')
    rows = []
    with built.session() as session:
        for _ in range(8):
            row, before = {}, session.run(k)
            for tensors, names in fetches:
                row.update(zip(names, session.run(tensors)[1:], strict=True))
            assert row['k'] == before                       # what the losses of the step were computed with
            off = began.GAMMA * row['L(x)'] - row['L(G(z))']
            assert session.run(k) == pytest.approx(np.clip(before + rate * off, 0, 1), abs=1e-5)
            assert row['M'] == pytest.approx(row['L(x)'] + abs(off), rel=1e-5)
            rows.append(row['k'])
        before = session.run(k)
        session.run(updates[0])
        assert session.run(k) == before
    assert rows[0] == 0 and (max(rows) == 1 if rate > 1 else 0 < max(rows) < 1)
