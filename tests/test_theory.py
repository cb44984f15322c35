"""The losses of the scripts against what their papers prove, on distributions whose answers are known in closed form."""
import dcgan
import gan_fc
import ops
import wgan
import wgan_gp

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

POINTS = np.linspace(-12, 12, 4801)
pytestmark = pytest.mark.usefixtures('fresh_graph')


def gaussian(mean):
    return np.exp(-(POINTS - mean) ** 2 / 2) / np.sqrt(2 * np.pi)


def jsd(p, q):
    """Jensen-Shannon divergence in nats of two densities on an even grid, or of two probability vectors."""
    m = (p + q) / 2
    terms = sum(np.where(a > 0, a * np.log(np.maximum(a, 1e-300) / np.maximum(m, 1e-300)), 0) for a in (p, q)) / 2
    return terms.sum() / (p.sum() / 2 + q.sum() / 2)


def fit(step, steps, *results):
    """Runs `step` so many times, then returns the mean of 50 evaluations of each result."""
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        call = session.make_callable(step)
        for _ in range(steps):
            call()
        return [np.mean(values, axis=0) for values in zip(*(session.run(results) for _ in range(50)), strict=True)]


def mlp(x, name='critic', **options):
    with ops.network(name, **options):
        h = tf.reshape(x, [-1, 1])
        for layer in range(2):
            h = tf.nn.leaky_relu(ops.dense(h, 64, f'dense{layer}'))
        return ops.dense(h, 1, 'out')


@pytest.mark.parametrize('script', [gan_fc, dcgan])
def test_losses_at_known_logits(script):
    """At logits with D(x) = 3/4 and D(G(z)) = 1/4: d_loss = -2 ln(3/4), g_loss = -ln(1/4)."""
    real, fake = tf.constant([[np.log(3.0)]] * 2, tf.float32), tf.constant([[-np.log(3.0)]] * 2, tf.float32)
    with tf.Session() as session:
        assert session.run(script.losses(real, fake)) == pytest.approx([-2 * np.log(0.75), -np.log(0.25)], rel=1e-6)
        extreme = session.run(script.losses(tf.constant([[-1e4]]), tf.constant([[1e4]])))
    assert extreme == pytest.approx([2e4, 0])  # no infinity, as log(sigmoid) would give


@pytest.mark.parametrize('p_data, p_g', [
    ([.5, .3, .2], [.1, .2, .7]), ([.25, .25, .5], [.25, .25, .5]), ([.9, .1, 0.], [0., .1, .9])])
def test_the_best_discriminator_of_discrete_distributions(p_data, p_g):
    """D* = p_data / (p_data + p_g) (proposition 1) and -d_loss = -2 ln 2 + 2 JSD (theorem 1)."""
    p_data, p_g = np.array(p_data), np.array(p_g)
    logits = tf.get_variable('logits', [3], initializer=tf.zeros_initializer())
    counts = [np.repeat(np.arange(3), np.rint(100 * p).astype(int)) for p in (p_data, p_g)]  # exact batches of 100
    d_loss, _ = gan_fc.losses(*(tf.gather(logits, c)[:, None] for c in counts))
    step = tf.train.AdamOptimizer(0.05).minimize(d_loss)
    d, value = fit(step, 1500, tf.sigmoid(logits), -d_loss)
    np.testing.assert_allclose(d, p_data / (p_data + p_g), atol=2e-3)
    assert value == pytest.approx(-2 * np.log(2) + 2 * jsd(p_data, p_g), abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize('mean', [0.0, 1.0, 3.0])
def test_the_best_discriminator_of_gaussians(mean):
    x, fake = ops.noise([2000, 1], 'x'), ops.noise([2000, 1], 'fake') + mean
    d_loss, _ = gan_fc.losses(mlp(x, 'd'), mlp(fake, 'd'))
    step = ops.minimize(tf.train.AdamOptimizer(3e-3), d_loss, 'd/')
    places = np.array([-1, 0, mean / 2, mean, mean + 1])
    d, value = fit(step, 700, tf.sigmoid(mlp(tf.constant(places, tf.float32), 'd'))[:, 0], -d_loss)
    expected = 1 / (1 + np.exp(-((places - mean) ** 2 - places ** 2) / 2))  # p_data / (p_data + p_g)
    np.testing.assert_allclose(d, expected, atol=0.05)
    assert value == pytest.approx(-2 * np.log(2) + 2 * jsd(gaussian(0), gaussian(mean)), abs=0.03)


def test_the_generators_gradients(monkeypatch):
    """With regard to a fake's logit l: -log D gives -(1 - D), log(1 - D) gives -D, which vanishes where D is sure (l << 0)."""
    places = np.array([-20.0, -2, 0, 2], np.float32)
    logits = tf.constant(places[:, None])
    d = 1 / (1 + np.exp(-places.astype(float)))
    for loss, expected in [('non-saturating', -(1 - d)), ('minimax', -d)]:
        monkeypatch.setattr(gan_fc, 'LOSS', loss)
        gradient, = tf.gradients(gan_fc.losses(logits, logits)[1], logits)
        with tf.Session() as session:
            found = session.run(gradient)[:, 0] * len(places)
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert abs(found[0]) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize('mean', [-0.5, 0.5, 1.0])
def test_wgan_gp_estimates_the_wasserstein_distance_of_gaussians(mean):
    """W1(N(0, 1), N(mean, 1)) = |mean|, a supremum over critics.

    In one dimension a critic that starts with the wrong sign stays there: between the slopes -1 and 1, which the penalty
    likes alike, lies the slope 0. So the best of a few starts is taken. The slope a that is best for a (mean) - 10 (a - 1)^2
    is 1 + mean / 20, so the estimate is high by mean / 20.
    """
    estimates = []
    for seed in range(4):
        with tf.Graph().as_default():
            tf.set_random_seed(seed)
            x, fake = ops.noise([500, 1], 'x')[:, None, None], ops.noise([500, 1], 'fake')[:, None, None] + mean
            c_loss, _, wd = wgan_gp.losses(mlp(x), mlp(fake))
            gp = wgan_gp.gradient_penalty(mlp, x, fake, ops.uniform([500, 1, 1, 1], 'alpha'))
            step = ops.minimize(tf.train.AdamOptimizer(3e-3, 0.0, 0.9), c_loss + wgan_gp.PENALTY * gp, 'critic/')
            estimates.append(fit(step, 400, wd)[0])
    assert max(estimates) == pytest.approx(abs(mean), rel=0.1)


@pytest.mark.slow
def test_the_clipped_critic_grows_with_the_distance_while_the_divergence_saturates():
    """K W1 = K |mean|: proportional up to the unknown K; JSD reaches ln 2 and tells nothing more."""
    estimates = []
    for mean in 2.0, 4.0, 8.0:
        with tf.Graph().as_default():
            tf.set_random_seed(0)
            clip = {'constraint': lambda v: tf.clip_by_value(v, -0.1, 0.1)}
            x, fake = ops.noise([500, 1], 'x'), ops.noise([500, 1], 'fake') + mean
            c_loss, _, wd = wgan.losses(mlp(x, **clip), mlp(fake, **clip))
            step = ops.minimize(tf.train.RMSPropOptimizer(1e-3), c_loss, 'critic/')
            estimates.append(fit(step, 400, wd)[0])
    assert estimates[1] / estimates[0] == pytest.approx(2, rel=0.15) and estimates[2] / estimates[1] == pytest.approx(2, rel=0.15)
    divergences = [jsd(gaussian(0), gaussian(mean)) for mean in (8.0, 10.0)]
    assert divergences == pytest.approx([np.log(2)] * 2, rel=1e-3)


def test_gradient_penalty_of_a_linear_critic_is_known():
    """critic(x) = w . x has the gradient w everywhere: (|w| - 1)^2, the same for every batch and alpha."""
    rng = np.random.default_rng(0)
    x, fake = (tf.constant(rng.standard_normal([5, 4, 3, 2]), tf.float32) for _ in range(2))
    for scale in 0.1, 1.0, 3.0:
        w = scale * rng.standard_normal([4, 3, 2])
        gp = wgan_gp.gradient_penalty(lambda v, w=w: tf.reduce_sum(v * w.astype(np.float32), [1, 2, 3]), x, fake,
                                      ops.uniform([5, 1, 1, 1], 'alpha'))
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert session.run(gp) == pytest.approx((np.linalg.norm(w) - 1) ** 2, rel=1e-4)


def test_gradient_penalty_mixes_each_picture_by_one_alpha():
    """critic(x) = |x|^2 / 2 has the gradient x_hat = x + alpha (fake - x): from 0 to fake it is alpha fake."""
    fake = np.random.default_rng(0).standard_normal([3, 4, 4, 1]).astype(np.float32)
    alpha = np.array([0.0, 0.5, 1.0], np.float32).reshape(3, 1, 1, 1)
    gp = wgan_gp.gradient_penalty(lambda v: tf.reduce_sum(v ** 2, [1, 2, 3]) / 2, tf.zeros_like(fake), tf.constant(fake), alpha)
    lengths = np.linalg.norm((alpha * fake).reshape(3, -1), axis=1)
    with tf.Session() as session:
        assert session.run(gp) == pytest.approx(((lengths - 1) ** 2).mean(), rel=1e-4)


def test_a_gradient_of_zero_gives_no_nan():
    x = tf.constant(np.zeros([2, 2, 2, 1], np.float32))
    w = tf.get_variable('w', [], initializer=tf.zeros_initializer())
    gp = wgan_gp.gradient_penalty(lambda v: tf.reduce_sum(v * w, [1, 2, 3]), x, x, tf.zeros([2, 1, 1, 1]))
    slope, = tf.gradients(gp, w)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        value, gradient = session.run([gp, slope])
    assert value == pytest.approx(1, rel=1e-4) and np.isfinite(gradient)


@pytest.mark.parametrize('optimizer', ['rmsprop', 'sgd'])
def test_the_critics_weights_stay_in_the_bound_after_every_update(optimizer, monkeypatch):
    monkeypatch.setattr(wgan, 'OPTIMIZER', optimizer)
    monkeypatch.setattr(wgan, 'C_HIDDEN', (8, 4))
    c_loss, _, _ = wgan.losses(wgan.critic(ops.noise([4, 28, 28, 1], 'x')), wgan.critic(ops.noise([4, 28, 28, 1], 'fake') + 1))
    step = ops.minimize(wgan.optimizer(0.3), c_loss, 'critic/')  # leaves the bound at once
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(5):
            session.run(step)
            weights = session.run(tf.trainable_variables('critic/'))
            assert max(np.abs(w).max() for w in weights) <= np.float32(wgan.CLIP)
    assert sum((np.abs(w) == np.float32(wgan.CLIP)).mean() for w in weights) > 1  # the bound was reached, so it was tested
