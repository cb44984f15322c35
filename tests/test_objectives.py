"""objectives.py against the papers: values and gradients by NumPy, the divergences at the best critic, known penalties."""
import math

import objectives
import ops
import testbed
from objectives import OBJECTIVES, PENALTIES
from plumbing import files, graph

import numpy as np
import pytest
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import evaluate

pytestmark = pytest.mark.usefixtures('fresh_graph')


# values and gradients

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log(x):
    return np.log(x).mean()


def pairs(a, b, function, skip=False):
    """Mean of function(a_i, b_j); skip: without i = j."""
    return np.mean([function(u, v) for i, u in enumerate(a) for j, v in enumerate(b) if not (skip and i == j)])


def apart(u, v):
    return np.sqrt(((u - v) ** 2).sum())


def rational(u, v):
    return sum((1 + ((u - v) ** 2).sum() / (2 * a)) ** -a for a in (.2, .5, 1, 2, 5))


def discrimination(r, f):
    return -log(sigmoid(r)) - log(1 - sigmoid(f))


def importance_weighted(r, f, held=None):
    """held: the scores that the weights are of, where they are not f."""
    odds = sigmoid(f if held is None else held) / (1 - sigmoid(f if held is None else held))
    return discrimination(r, f), -(odds / odds.sum() * np.log(sigmoid(f))).sum()


def coulomb(r, f):
    charges = [(x, 1) for x in REAL] + [(x, -1) for x in GENERATED]
    found = [sum(charge / np.sqrt(1 + ((a - b) ** 2).sum()) for b, charge in charges) / 4 for a in [*REAL, *GENERATED]]
    return ((r[:, 0] - found[:4]) ** 2).mean() / 2 + ((f[:, 0] - found[4:]) ** 2).mean() / 2, -f.mean()


def softmax(r, f):
    every = np.concatenate([r, f])
    z = np.exp(every).sum()
    return -log(np.exp(r) / z), -log(np.exp(every) / z)


def relativistic(r, f):
    real, fake = sigmoid(r - f.mean()), sigmoid(f - r.mean())
    return -log(real) - log(1 - fake), -log(fake) - log(1 - real)


def cramer(r, f):
    one, other, zero = f[::2], f[1::2], np.zeros([1, f.shape[1]])
    surrogate = pairs(r, other, apart) - pairs(r, zero, apart) - pairs(one, other, apart) + pairs(one, zero, apart)
    return -surrogate, pairs(r, f, apart) * 2 - pairs(one, other, apart)


def mmd(r, f):
    squared = pairs(r, r, rational, True) + pairs(f, f, rational, True) - 2 * pairs(r, f, rational)
    return -squared, squared


def mean_matching(r, f):
    return -apart(r.mean(0), f.mean(0)), apart(r.mean(0), f.mean(0))


def covariance_matching(r, f):
    second = sum(np.outer(v, v) for v in r) / len(r) - sum(np.outer(v, v) for v in f) / len(f)
    nuclear = np.linalg.svd(second, compute_uv=False).sum()
    return -nuclear, nuclear


REAL, GENERATED = np.array([[0, 1], [2, -1], [.5, 0], [3, 3.]]), np.array([[.3, .5], [1.6, .8], [.8, -.1], [0, 2.]])
MARGIN = np.array([[.4], [1.1], [.2], [2.]])                # of REAL and GENERATED: mean |x - generated| in a row
REFERENCE = {   # one line for each objective: real [B, K], fake [B, K] -> (d_loss, g_loss), as the papers write them
    'minimax': lambda r, f: (discrimination(r, f), log(1 - sigmoid(f))),
    'non-saturating': lambda r, f: (discrimination(r, f), -log(sigmoid(f))),
    'boundary-seeking': lambda r, f: (discrimination(r, f), ((np.log(sigmoid(f)) - np.log(1 - sigmoid(f))) ** 2).mean() / 2),
    'relativistic': relativistic, 'importance-weighted': importance_weighted, 'softmax': softmax,
    'density-ratio': lambda r, f: (((f - 1) * f - (f - 1) ** 2 / 2).mean() - (r - 1).mean(), ((f - 1) ** 2).mean() / 2),
    'least-squares': lambda r, f: (((r - 1) ** 2).mean() / 2 + ((f + 1) ** 2).mean() / 2, (f ** 2).mean() / 2),
    'hinge': lambda r, f: (-np.minimum(0, r - 1).mean() - np.minimum(0, -f - 1).mean(), -f.mean()),
    'wasserstein': lambda r, f: (f.mean() - r.mean(), -f.mean()),
    'loss-sensitive': lambda r, f: (np.maximum(0, MARGIN - r + f).mean(), -f.mean()), 'coulomb': coulomb,
    'fisher': lambda r, f: (f.mean() - r.mean() + (1 - (r ** 2).mean() / 2 - (f ** 2).mean() / 2) ** 2 / 2, -f.mean()),
    'kl': lambda r, f: (np.exp(f - 1).mean() - r.mean(), -f.mean()),
    'reverse-kl': lambda r, f: (-1 - np.log(np.exp(-f)).mean() + np.exp(-r).mean(), np.exp(-f).mean()),
    'pearson': lambda r, f: ((f ** 2 / 4 + f).mean() - r.mean(), -f.mean()),
    'hellinger': lambda r, f: (((1 - np.exp(-f)) / np.exp(-f)).mean() - (1 - np.exp(-r)).mean(), -(1 - np.exp(-f)).mean()),
    'jensen-shannon': lambda r, f: (-log(2 - 2 * sigmoid(f)) - log(2 * sigmoid(r)), -log(2 * sigmoid(f))),
    'cramer': cramer, 'mmd': mmd, 'mean-matching': mean_matching, 'covariance-matching': covariance_matching,
}


def losses(name, real, fake):
    objective = OBJECTIVES[name]
    return objective.losses(real, fake, *[tf.constant(samples, tf.float32) for samples in (REAL, GENERATED)] * objective.samples)


def test_every_objective_has_a_reference():
    assert REFERENCE.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize('name', OBJECTIVES)
def test_values_and_gradients(name):
    """d_loss's gradient by real and fake, g_loss's by fake, against central differences of the reference."""
    rng = np.random.default_rng(1)
    k = 3 if OBJECTIVES[name].outputs > 1 else 1
    real, fake = rng.normal(0.3, 1, [4, k]), rng.normal(-0.5, 1, [4, k])
    r, f = tf.constant(real, tf.float32), tf.constant(fake, tf.float32)
    found = losses(name, r, f)
    gradients = tf.gradients(found[0], [r, f]) + tf.gradients(found[1], f)
    values, gradients = evaluate([found, gradients])
    assert values == pytest.approx(REFERENCE[name](real, fake), rel=2e-5, abs=2e-6)
    held = [fake] if name == 'importance-weighted' else []
    places = [(0, real), (0, fake), (1, fake)]
    for (which, scores), gradient in zip(places, gradients, strict=True):
        expected = np.zeros_like(scores)
        for place in np.ndindex(*scores.shape):
            ends = []
            for step in 1e-5, -1e-5:
                moved = scores.copy()
                moved[place] += step
                ends.append(REFERENCE[name](*((moved, fake) if scores is real else (real, moved)), *held)[which])
            expected[place] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('name', ['minimax', 'non-saturating', 'boundary-seeking', 'relativistic', 'importance-weighted',
                                  'softmax', 'jensen-shannon'])
def test_sure_scores_give_no_infinity(name):
    far = tf.constant([[1e4], [-1e4]])
    found = losses(name, far, -far)
    gradients = [g for loss in found for g in tf.gradients(loss, far)]
    assert np.isfinite(np.concatenate([np.ravel(v) for v in evaluate([*found, *gradients])])).all()


# the divergences

P, Q = np.array([.5, .3, .2]), np.array([.1, .2, .7])
M = (P + Q) / 2
RATIO = P / Q


def expected_losses(name, scores, p=P, q=Q):
    """(d_loss, g_loss, gradient of d_loss by the scores) of a critic with scores [3] at three places, in exact batches."""
    table = tf.constant(scores, tf.float32)
    batches = [tf.gather(table, np.repeat(np.arange(3), np.rint(100 * x).astype(int)))[:, None] for x in (p, q)]
    d_loss, g_loss = OBJECTIVES[name].losses(*batches)
    return evaluate([d_loss, g_loss, tf.convert_to_tensor(tf.gradients(d_loss, table)[0])])


def kl(p, q):
    return (p * np.log(p / q)).sum()


JSD = (kl(P, M) + kl(Q, M)) / 2
CHI = np.sqrt(((P - Q) ** 2 / M).sum())


@pytest.mark.parametrize('name, best, value', [
    ('minimax', np.log(RATIO), 2 * np.log(2) - 2 * JSD),                       # Goodfellow et al. 2014, theorem 1
    ('non-saturating', np.log(RATIO), 2 * np.log(2) - 2 * JSD),
    ('importance-weighted', np.log(RATIO), 2 * np.log(2) - 2 * JSD),
    ('density-ratio', RATIO, -((P - Q) ** 2 / Q).sum() / 2),                   # half of Pearson's, and so is G's loss
    ('kl', 1 + np.log(RATIO), -kl(P, Q)),                                      # T* = f'(p / q), Nowozin et al. 2016, eq. 5
    ('reverse-kl', np.log(RATIO), -kl(Q, P)),
    ('pearson', 2 * (RATIO - 1), -((P - Q) ** 2 / Q).sum()),
    ('hellinger', np.log(RATIO) / 2, -((np.sqrt(P) - np.sqrt(Q)) ** 2).sum()),
    ('jensen-shannon', np.log(RATIO), -2 * JSD),
    ('least-squares', (P - Q) / (P + Q), 1 - CHI ** 2 / 4),                    # (1 - D)^2 p + (1 + D)^2 q over 2, in full
    ('hinge', np.sign(P - Q), 2 * np.minimum(P, Q).sum()),                     # 2 - 2 TV
])
def test_the_best_critic_measures_the_divergence(name, best, value):
    found, _, gradient = expected_losses(name, best)
    assert found == pytest.approx(value, rel=1e-4, abs=1e-6)
    if name != 'hinge':                                                        # which has a corner there
        np.testing.assert_allclose(gradient, 0, atol=1e-5)
    for place in range(3):
        for step in -.2, .2:
            worse = best + step * np.eye(3)[place]
            assert expected_losses(name, worse)[0] >= found - 1e-5


def test_g_gets_the_divergence_that_the_critic_has_found():
    """Of b-GAN: E_q (p / q - 1)^2 / 2. Of IWGAN: weights p / q of q's samples make E_q log D the E_p log D of the data."""
    assert expected_losses('density-ratio', RATIO)[1] == pytest.approx(((P - Q) ** 2 / Q).sum() / 2, rel=1e-5)
    assert expected_losses('importance-weighted', np.log(RATIO))[1] == pytest.approx(-(P * np.log(P / (P + Q))).sum(), rel=1e-5)


def test_coulomb_pushes_a_sample_along_the_field_of_the_charges():
    """The best scores are the potentials; their slope is the sum of Plummer's forces (a - b) / (|a - b|^2 + 1)^(3/2)."""
    one, far = tf.constant([[0.]]), tf.constant([[3., 4.]])
    real, fake = tf.constant([[1 - 26 ** -.5]]), tf.constant([[26 ** -.5 - 1]])       # distance 5: (25 + 1)^(-1/2)
    best, rest = (objectives.coulomb(*scores, 0 * far, far) for scores in [(real, fake), (one, one)])
    assert evaluate(best) == pytest.approx((0, 1 - 26 ** -.5), abs=1e-6)
    assert evaluate(rest[0]) == pytest.approx((1 - 26 ** -.5) ** 2, rel=1e-5)
    x = tf.constant(np.random.default_rng(0).normal(size=[3, 4, 4, 2]), tf.float32)
    a = tf.constant(np.random.default_rng(1).normal(size=[1, 32]), tf.float32)
    slope, = tf.gradients(objectives.plummer(a, tf.reshape(x, [3, -1])), a)
    slope, x, a = evaluate([slope, x, a])
    apart = a - x.reshape(3, -1)
    np.testing.assert_allclose(slope[0], -(apart / ((apart ** 2).sum(1, keepdims=True) + 1) ** 1.5).sum(0), rtol=1e-4)


def test_least_squares_is_pearsons_chi_square_of_the_mixture():
    """Mao et al. 2016, eq. 9: E_p D^2 / 2 + E_q D^2 / 2 is half of chi^2(p + q || 2 q) at the best D of b - c = 1, b - a = 2."""
    best = (P - Q) / (P + Q)
    whole = expected_losses('least-squares', best)[1] + expected_losses('least-squares', best, Q, P)[1]
    assert whole == pytest.approx(((2 * Q - (P + Q)) ** 2 / (P + Q)).sum() / 2, rel=1e-5)


def test_wasserstein_of_points_on_a_line():
    """The best 1-Lipschitz critic falls where more of Q than of P is still to come on the left, and rises elsewhere."""
    best = np.concatenate([[0], np.cumsum(np.sign((Q - P).cumsum()[:-1]))])
    found = expected_losses('wasserstein', best)[0]
    assert -found == pytest.approx(scipy.stats.wasserstein_distance(range(3), range(3), P, Q), rel=1e-5)


def test_fisher_is_the_chi_square_distance_and_its_multiplier_climbs():
    """sup (E_p f - E_q f) with E (f^2 under p and q) / 2 = 1 is sqrt(sum (p - q)^2 / m), Mroueh & Sercu 2017, theorem 1."""
    best = (P - Q) / M / CHI
    found, _, gradient = expected_losses('fisher', best)
    assert -found == pytest.approx(CHI, rel=1e-4)
    multiplier, = tf.trainable_variables('discriminator/')
    assert multiplier.op.name == 'discriminator/multiplier'
    for value, scale in (0, 1), (.7, 2), (-.3, .5):
        scores = tf.constant(scale * best, tf.float32)
        batches = [tf.gather(scores, np.repeat(np.arange(3), np.rint(100 * x).astype(int)))[:, None] for x in (P, Q)]
        d_loss, _ = objectives.fisher(*batches)
        slope, by_scores = tf.gradients(d_loss, [multiplier, scores])
        with tf.Session() as session:
            session.run(multiplier.assign(value))
            loss, slope, by_scores = session.run([d_loss, slope, tf.convert_to_tensor(by_scores)])
        gap = 1 - scale ** 2
        assert loss == pytest.approx(-scale * CHI - value * gap + gap ** 2 / 2, rel=1e-4)
        assert slope == pytest.approx(gap, abs=1e-5)     # descent lowers the multiplier where E f^2 < 1: f is let grow
        lagrangian = Q - P + (value - gap) * scale * best * (P + Q)
        np.testing.assert_allclose(by_scores, lagrangian, atol=1e-5)


@pytest.mark.parametrize('mean', [.5, 1.])
def test_f_divergences_of_gaussians(mean):
    """Of N(0, 1) from N(mean, 1), in 20,000 places of equal probability: log p / q = mean^2 / 2 - mean x."""
    x = scipy.stats.norm.ppf((np.arange(20000) + .5) / 20000)
    ratio = [tf.constant((mean ** 2 / 2 - mean * y)[:, None], tf.float32) for y in (x, x + mean)]
    best = {'kl': lambda r: 1 + r, 'reverse-kl': lambda r: r, 'pearson': lambda r: 2 * (tf.exp(r) - 1),
            'hellinger': lambda r: r / 2}
    found = evaluate({name: -OBJECTIVES[name].losses(*map(score, ratio))[0] for name, score in best.items()})
    assert found == pytest.approx({'kl': mean ** 2 / 2, 'reverse-kl': mean ** 2 / 2, 'pearson': math.exp(mean ** 2) - 1,
                                   'hellinger': 2 - 2 * math.exp(-mean ** 2 / 8)}, rel=2e-2)


def test_cramer_is_the_energy_distance():
    """scipy's is the root of 2 E|r - f| - E|r - r'| - E|f - f'| of two samples; both halves of the fakes are the same here."""
    rng = np.random.default_rng(0)
    real, half = rng.normal(size=50), rng.normal(1, 2, size=40)
    _, g_loss = objectives.cramer(tf.constant(real[:, None], tf.float32), tf.constant(half.repeat(2)[:, None], tf.float32))
    whole = evaluate(g_loss) - np.abs(real[:, None] - real).mean()
    assert whole == pytest.approx(scipy.stats.energy_distance(real, half) ** 2, rel=1e-4)


def test_the_same_samples_are_at_no_distance():
    same = tf.constant(np.random.default_rng(0).normal(size=[64, 4]), tf.float32)
    for name in 'mean-matching', 'covariance-matching':
        assert evaluate(losses(name, same, same)[1]) == pytest.approx(0, abs=1e-5)
    draws = np.random.default_rng(1).normal(size=[200, 2, 16, 4])
    a, b = (tf.placeholder(tf.float32, [16, 4]) for _ in range(2))
    squared = objectives.mmd(a, b)[1]
    with tf.Session() as session:
        values = [session.run(squared, {a: x, b: y}) for x, y in draws]
    assert abs(np.mean(values)) < 4 * np.std(values) / 200 ** .5 and min(values) < 0     # unbiased


@pytest.mark.parametrize('name', [name for name, found in OBJECTIVES.items() if found.outputs > 1])
def test_a_witness_tells_the_samples_apart(name):
    """Its mean at real samples less that at generated ones is the critic's gain; of MMD the estimate with the diagonals."""
    rng = np.random.default_rng(0)
    r, f = (tf.constant(rng.normal(mean, 1, [8, 3]), tf.float32) for mean in (1, -1))
    witness = OBJECTIVES[name].witness
    at_real, at_fake, d_loss = evaluate([witness(r, r, f), witness(f, r, f), losses(name, r, f)[0]])
    assert at_real.shape == at_fake.shape == (8,) and at_real.mean() > at_fake.mean()
    gain, (real, fake) = -d_loss, evaluate([r, f])
    if name == 'mmd':
        gain = pairs(real, real, rational) + pairs(fake, fake, rational) - 2 * pairs(real, fake, rational)
    assert at_real.mean() - at_fake[::2 if name == 'cramer' else 1].mean() == pytest.approx(gain, rel=1e-5)


# penalties

@pytest.mark.parametrize('shape', [[6, 2], [6, 4, 4, 3]])
@pytest.mark.parametrize('scale', [.1, 1., 3.])
def test_penalties_of_a_linear_critic(shape, scale):
    rng = np.random.default_rng(0)
    w = scale * rng.normal(size=shape[1:])
    x, fake = (tf.constant(rng.normal(size=shape), tf.float32) for _ in range(2))
    found = evaluate({name: penalty(lambda x: tf.reduce_sum(x * w.astype(np.float32), list(range(1, len(shape)))), x, fake)
                      for name, penalty in PENALTIES.items() if penalty})
    length = np.linalg.norm(w)
    on_real, on_fake = (sigmoid(sign * (evaluate(at) * w).reshape(6, -1).sum(1)) ** 2 for sign, at in ((-1, x), (1, fake)))
    assert found == pytest.approx({
        'gradient-penalty': (length - 1) ** 2, 'dragan': (length - 1) ** 2, 'r1': length ** 2 / 2,
        'lipschitz-penalty': max(length - 1, 0) ** 2,
        'js-regularizer': (on_real.mean() + on_fake.mean()) * length ** 2 / 2}, rel=1e-4, abs=1e-6)


def test_penalties_of_a_quadratic_critic():
    """f(x) = |x|^2 / 2 has the gradient x: r1 is E|x|^2 / 2, and what is asked of |x| tells where the others look."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=[40000, 2]), rng.normal(3, 1, size=[40000, 2])
    x, f = tf.constant(real, tf.float32), tf.constant(fake, tf.float32)

    def critic(x):
        return tf.reduce_sum(x ** 2, 1) / 2
    found = evaluate({'r1': objectives.r1(critic, x, f), 'same': objectives.gradient_penalty(critic, x, x),
                      'between': objectives.gradient_penalty(critic, tf.zeros_like(f), f),
                      'dragan': objectives.dragan(critic, x, f), 'lipschitz': objectives.lipschitz_penalty(critic, x, x),
                      'js': objectives.js_regularizer(critic, x, f)})
    assert found['r1'] == pytest.approx((real ** 2).sum(1).mean() / 2, rel=1e-5)
    assert found['same'] == pytest.approx(((np.linalg.norm(real, axis=1) - 1) ** 2).mean(), rel=1e-5)
    assert found['lipschitz'] == pytest.approx((np.maximum(np.linalg.norm(real, axis=1) - 1, 0) ** 2).mean(), rel=1e-5)
    squares = (real ** 2).sum(1), (fake ** 2).sum(1)                           # |grad f|^2 = 2 f
    both = [(at * sigmoid(sign * at / 2) ** 2).mean() for at, sign in zip(squares, (-1, 1), strict=True)]
    assert found['js'] == pytest.approx(sum(both) / 2, rel=1e-5)
    length = np.linalg.norm(fake, axis=1)                                      # E (alpha l - 1)^2 = l^2 / 3 - l + 1
    assert found['between'] == pytest.approx((length ** 2 / 3 - length + 1).mean(), rel=.02)
    around = real + real.std() / 2 * rng.uniform(size=[50, 40000, 2])
    expected = ((np.linalg.norm(around, axis=2) - 1) ** 2).mean()
    assert found['dragan'] == pytest.approx(expected, rel=.02) and abs(found['same'] / expected - 1) > .05


def test_instance_noise_falls_from_its_start_to_nothing(monkeypatch):
    monkeypatch.setattr(objectives, 'NOISE', .5)
    noisy = objectives.instance_noise(tf.ones([2000, 2]), ops.linear_decay())
    done, total = graph.progress()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(total.initializer, {total.initial_value: 4})
        found = []
        for _ in range(6):
            found.append((session.run(noisy) - 1).std())
            session.run(done.assign_add(1))
    np.testing.assert_allclose(found, [.5, .375, .25, .125, 0, 0], rtol=.05)


# the script

def numpy_critic(values, x):
    """testbed's discriminator of points: three layers of maxout, then a linear one."""
    values = {name.removeprefix('discriminator/'): value.astype(float) for name, value in values.items()}
    for layer in 'maxout1', 'maxout2', 'maxout3':
        x = (x @ values[f'{layer}/weights'] + values[f'{layer}/bias']).reshape(len(x), testbed.PIECES, -1).max(1)
    return x @ values['logits/weights'] + values['logits/bias']


def mmd_witness(h, real, fake):
    return [np.mean([rational(u, v) for v in real]) - np.mean([rational(u, v) for v in fake]) for u in h]


def cramer_witness(h, real, fake):
    return [np.mean([apart(u, v) for v in fake[1::2]]) - apart(u, 0) for u in h]


def wasserstein_witness(h, real, fake):
    return h[:, 0]


@pytest.mark.parametrize('name, witness', [
    ('mmd', mmd_witness), ('cramer', cramer_witness), ('wasserstein', wasserstein_witness)])
def test_r1_is_the_slope_of_a_witness_whose_batches_are_held(name, witness, build, monkeypatch):
    """Central differences of the witness at the real samples; the real batch that the witness is made of stays where it is."""
    seen, critic = [], testbed.discriminator
    monkeypatch.setattr(testbed, 'G_HIDDEN', (16,))
    monkeypatch.setattr(testbed, 'discriminator', lambda x, outputs: (seen.append(x), critic(x, outputs))[1])
    built = build('objectives', OBJECTIVE=name, PENALTY='r1', BATCH_SIZE=4)
    penalty, real, fake, values = evaluate([built.given['scalars']['penalty'], *seen[:2], {
        v.op.name: v for v in tf.trainable_variables('discriminator/')}])
    h_real, h_fake = (numpy_critic(values, x.astype(float)) for x in (real, fake))

    def penalty_by_hand(held):
        squares = np.zeros(len(real))
        for i in range(len(real)):
            for step in np.eye(2) * 1e-6:
                up, down = real.astype(float), real.astype(float)
                up[i], down[i] = real[i] + step, real[i] - step
                h = [numpy_critic(values, x) for x in (up, down)]
                ends = [np.array(witness(moved, h_real if held else moved, h_fake)) for moved in h]
                slope = (ends[0] - ends[1]) / 2e-6
                squares[i] += (slope[i] if held else slope.sum()) ** 2
        return squares.mean() / 2

    assert penalty == pytest.approx(penalty_by_hand(held=True), rel=1e-3)
    if name == 'mmd':   # the only one whose witness takes the real batch: differentiated through it the penalty is another
        assert abs(penalty_by_hand(held=False) / penalty - 1) > 0.02


PAIRS = [(name, 'own') for name in OBJECTIVES if name != 'non-saturating']      # that one is test_scripts.py's
PAIRS += [('non-saturating', name) for name in PENALTIES if name != 'none']
PAIRS += [('wasserstein', 'none'), ('hinge', 'r1'), ('mean-matching', 'dragan'), ('covariance-matching', 'gradient-penalty')]


@pytest.mark.slow
@pytest.mark.parametrize('objective, penalty', PAIRS)
def test_an_objective_with_a_penalty(objective, penalty, build, monkeypatch):
    """Each update moves its own network alone; the penalty is a term of the critic's loss, or clips its weights."""
    minimized, minimize = {}, ops.minimize
    monkeypatch.setattr(testbed, 'G_HIDDEN', (16,))
    monkeypatch.setattr(ops, 'minimize', lambda optimizer, loss, scope, name: (
        minimized.update({scope: loss}), minimize(optimizer, loss, scope, name))[1])
    built = build('objectives', OBJECTIVE=objective, PENALTY=penalty, WEIGHT=3.0, CLIP=1e-3,
                  DATASET='mnist' if objective == 'mmd' else 'ring')
    expected, scalars = OBJECTIVES[objective].penalty if penalty == 'own' else penalty, built.given['scalars']
    assert ('penalty' in scalars) == (PENALTIES[expected] is not None)
    variables = [v for v in tf.global_variables() if v.name.split('/')[0] in ('generator', 'discriminator')]
    boxes = {node.name.split('/')[0] for node in tf.get_default_graph().as_graph_def().node}
    assert boxes == {'data', 'generator', 'discriminator', 'losses', 'optimizers'} | (
        {'noise'} if expected == 'instance-noise' else set())
    with built.session() as session:
        found, sums = session.run([scalars, minimized])
        assert sums['discriminator/'] == pytest.approx(found['d_loss'] + 3 * found.get('penalty', 0), rel=1e-5)
        assert sums['generator/'] == found['g_loss'] and found.get('penalty', 1) >= 0
        assert found.get('penalty', 1) > 0 or expected == 'lipschitz-penalty'      # the critic starts flatter than that
        for update, name in zip(built.given['updates'], ['discriminator', 'generator'], strict=True):
            before = session.run(variables)
            session.run(update)
            after = session.run(variables)
            moved = {v.name.split('/')[0] for v, a, b in zip(variables, before, after, strict=True) if (a != b).any()}
            assert moved == {name}
        largest = max(np.abs(w).max() for w in session.run(tf.trainable_variables('discriminator/')))
        assert (largest <= np.float32(1e-3)) == (expected == 'clip')
        assert all(math.isfinite(value) for value in session.run(scalars).values())


def test_critics_are_bounded_as_in_their_papers():
    assert {name: found.penalty for name, found in OBJECTIVES.items() if found.penalty != 'none'} == {
        **dict.fromkeys(['wasserstein', 'cramer', 'mmd'], 'gradient-penalty'),
        **dict.fromkeys(['mean-matching', 'covariance-matching'], 'clip')}


def test_the_multiplier_of_fisher_is_no_weight_to_clip(build):
    built = build('objectives', OBJECTIVE='fisher', PENALTY='clip', CLIP=1e-6, D_LEARNING_RATE=0.1)
    with built.session() as session:
        session.run(built.given['updates'][0])
        values = session.run({v.op.name: v for v in tf.trainable_variables('discriminator/')})
    assert abs(values.pop('discriminator/multiplier')) > 0.05
    assert max(np.abs(value).max() for value in values.values()) <= np.float32(1e-6)


def test_instance_noise_reaches_both_inputs_of_the_critic(build, monkeypatch):
    seen, critic = [], testbed.discriminator
    monkeypatch.setattr(testbed, 'batches', lambda dataset, size: tf.ones([size, 2]))
    monkeypatch.setattr(testbed, 'generator', lambda z, dataset, training: ops.dense(0 * z, 2, 'generator') + 2)
    monkeypatch.setattr(testbed, 'discriminator', lambda x, outputs: (seen.append(x), critic(x, outputs))[1])
    build('objectives', PENALTY='instance-noise', NOISE=0.5, BATCH_SIZE=4000)
    _, total = graph.progress()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(total.initializer, {total.initial_value: 10})
        real, fake = session.run(seen)
    for found, mean in (real, 1), (fake, 2):
        assert found.mean() == pytest.approx(mean, abs=0.03) and found.std() == pytest.approx(0.5, rel=0.05)
    assert abs(np.corrcoef(real.ravel(), fake.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize('constants, complaint', [
    ({'OBJECTIVE': 'nothing'}, 'nothing.*minimax'), ({'PENALTY': 'nothing'}, 'nothing.*dragan'),
    ({'OBJECTIVE': 'mmd', 'BATCH_SIZE': 1}, 'mmd .*BATCH_SIZE must be at least 2'),
    ({'OBJECTIVE': 'cramer', 'BATCH_SIZE': 1}, 'cramer .*BATCH_SIZE must be at least 2')])
def test_what_cannot_be_is_refused_by_name(constants, complaint, build):
    with pytest.raises(files.UserError, match=complaint):
        build('objectives', **constants)


@pytest.mark.parametrize('name', [name for name in OBJECTIVES if name not in ('mmd', 'cramer')])
def test_the_others_are_defined_for_one_sample(name):
    one = tf.constant([[.3, -.2, .5]] if OBJECTIVES[name].outputs > 1 else [[.3]])
    objective = OBJECTIVES[name]
    assert np.isfinite(evaluate(objective.losses(one, -one, *[tf.constant([[.4, 1.]])] * 2 * objective.samples))).all()
