"""GAN objectives and penalties from Goodfellow et al. 2014 (arXiv:1406.2661) to Jolicoeur-Martineau 2018 (arXiv:1807.00734),
compared on the same networks and data.

An objective is a function of the critic's scores of real and of generated samples, [B, K], to (d_loss, g_loss); a high score
means real, and K is 1 unless the entry says otherwise. Many need a critic that cannot be arbitrarily steep: an entry names
the penalty of its paper, and --penalty takes any other. The names are in OBJECTIVES and PENALTIES below.

    python objectives.py --objective hinge --penalty r1 --dataset grid

Page: docs/mode-collapse.md
"""
import math
import typing

import ops
import run
import testbed
from plumbing import files

import tensorflow.compat.v1 as tf

# data
DATASET = 'ring'         # 'ring', 'grid', 'spirals', 'mnist', 'fashion_mnist' or 'stacked_mnist'

# networks
Z_DIM = 64               # length of the latent vector z

# objective and penalty
OBJECTIVE = 'non-saturating'  # a name in OBJECTIVES; any other word lists them
PENALTY = 'own'          # a name in PENALTIES, or 'own': that of the objective's paper; any other word lists them
WEIGHT = 10.0            # of the penalty: lambda or gamma, in [0, inf)
CLIP = 0.1               # of 'clip': the largest weight of the critic, in (0, inf)
NOISE = 0.1              # of 'instance-noise': its standard deviation at the start, in [0, inf)

# training
STEPS = 8000             # steps of the training
D_STEPS = 1              # updates of the critic in a step, before one of G, from 1 to 1000
BATCH_SIZE = 128         # real samples in an update, and as many generated ones
D_LEARNING_RATE = 1e-3   # for Adam
G_LEARNING_RATE = 1e-3   # the same
DECAY = False            # decay the learning rates linearly to 0
BETA1 = 0.5              # Adam's beta1, in [0, 1)
WEIGHT_AVERAGE = 0.0     # EMA decay of G's weights, used for sampling, in [0, 1); 0 uses the raw weights
SEED = 0                 # random seed
PRECISION = 'float32'    # some objectives are small differences of large scores

# reports
SAMPLE_EVERY = 500       # steps between pictures
EVAL_EVERY = 1000        # steps between measurements
CHECKPOINT_EVERY = 2000  # steps between checkpoints

mean, softplus, relu, log2 = tf.reduce_mean, tf.nn.softplus, tf.nn.relu, math.log(2)


# A probability: D(x) = sigmoid(score), -log D(x) = softplus(-score), -log(1 - D(x)) = softplus(score)

def minimax(real, fake):
    """G minimizes E log(1 - D(G(z))): 2 JSD at the best D. Goodfellow et al. 2014, arXiv:1406.2661, eq. 1."""
    return mean(softplus(-real)) + mean(softplus(fake)), -mean(softplus(fake))


def non_saturating(real, fake):
    """G maximizes E log D(G(z)), which does not vanish where D is sure. The same paper, section 3."""
    return mean(softplus(-real)) + mean(softplus(fake)), mean(softplus(-fake))


def boundary_seeking(real, fake):
    """G draws samples to where D = 1/2: (log D - log(1 - D))^2 / 2. BS-GAN: Hjelm et al. 2017, arXiv:1702.08431."""
    return mean(softplus(-real)) + mean(softplus(fake)), mean(fake ** 2) / 2


def relativistic(real, fake):
    """Is x more real than the others on average? RaGAN: Jolicoeur-Martineau 2018, arXiv:1807.00734."""
    over, under = real - mean(fake), fake - mean(real)
    return mean(softplus(-over)) + mean(softplus(under)), mean(softplus(over)) + mean(softplus(-under))


def importance_weighted(real, fake):
    """A sample counts for G as D / (1 - D) = exp(score) says, over the batch. IWGAN: Hu et al. 2017, arXiv:1706.00550, eq. 16."""
    weights = tf.stop_gradient(tf.nn.softmax(fake, 0))
    return mean(softplus(-real)) + mean(softplus(fake)), tf.reduce_sum(weights * softplus(-fake))


def softmax(real, fake):
    """One softmax over the batch: D wants all of it on real samples, G even on all. Lin 2017, arXiv:1704.06191, eq. 4, 5."""
    every = tf.concat([real, fake], 0)
    return tf.reduce_logsumexp(every) - mean(real), tf.reduce_logsumexp(every) - mean(every)


# A number

def least_squares(real, fake):
    """a, b, c = -1, 1, 0: Pearson's chi-square of (p + q) / 2 and q. LSGAN: Mao et al. 2016, arXiv:1611.04076, eq. 2, 9."""
    return mean((real - 1) ** 2) / 2 + mean((fake + 1) ** 2) / 2, mean(fake ** 2) / 2


def density_ratio(real, fake):
    """The score r learns p / q: E_q (r - p / q)^2 / 2, less a constant. b-GAN: Uehara et al. 2016, arXiv:1610.02920.

    That is E_q (f'(r) r - f(r)) - E_p f'(r), a Bregman divergence from the true ratio; G minimizes the f-divergence E_q f(r).
    Both with Pearson's f(r) = (r - 1)^2 / 2: 'pearson' has this critic, but for the scale of its score, and another G.
    """
    return mean(fake ** 2 - 1) / 2 - mean(real - 1), mean((fake - 1) ** 2) / 2


def hinge(real, fake):
    """2 (1 - total variation) at the best D. Geometric GAN: Lim & Ye 2017, arXiv:1705.02894."""
    return mean(relu(1 - real)) + mean(relu(1 + fake)), -mean(fake)


def wasserstein(real, fake):
    """-d_loss is the distance W1 if the critic's slope is 1 at most. WGAN: Arjovsky et al. 2017, arXiv:1701.07875, eq. 2."""
    return mean(fake) - mean(real), -mean(fake)


def loss_sensitive(real, fake, x, generated):
    """A fake's loss is to exceed a real one's by the samples' distance. LS-GAN: Qi 2017, arXiv:1701.06264, eq. 5, 6.

    Without the first term of eq. 5, E loss(x), which the author's code leaves out too: nothing would hold it.
    """
    apart = mean(tf.abs(x - generated), list(range(1, x.shape.ndims)))[:, None]    # [B, 1]
    return mean(relu(apart - real + fake)), -mean(fake)                            # loss(x) = -score


def coulomb(real, fake, x, generated):
    """The critic learns the potential of samples charged + and -, and G climbs it. Unterthiner et al. 2017, arXiv:1708.08819.

    At a it is E k(a, x) - E k(a, G(z)) over the batch, with the kernel of the authors' code, which counts a itself, too.
    """
    x, generated = (tf.reshape(tf.stop_gradient(samples), [samples.shape[0], -1]) for samples in (x, generated))

    def potential(a):
        return (mean(plummer(a, x), 1) - mean(plummer(a, generated), 1))[:, None]
    return (mean((real - potential(x)) ** 2) + mean((fake - potential(generated)) ** 2)) / 2, -mean(fake)


def plummer(a, b):
    """(|a - b|^2 + 1)^(-1 / 2), Coulomb's 1 / |a - b| made smooth, between all rows: [A, B]."""
    return tf.rsqrt(tf.reduce_sum((a[:, None] - b[None]) ** 2, 2) + 1)


def fisher(real, fake):
    """-d_loss is (E real - E fake) under the constraint E (real^2 + fake^2) / 2 = 1. Mroueh & Sercu 2017, arXiv:1705.09675.

    The constraint has a multiplier l and a quadratic penalty (eq. 8, rho = 1). The critic's optimizer moves l too: the last
    term is 0 in value, but turns the sign of l's gradient around, so that l climbs while the weights descend.
    """
    with ops.network('discriminator'):
        multiplier = tf.get_variable('multiplier', [], initializer=tf.zeros_initializer())
    gap = 1 - mean(real ** 2 + fake ** 2) / 2
    d_loss = mean(fake) - mean(real) - multiplier * gap + gap ** 2 / 2
    return d_loss + 2 * (multiplier - tf.stop_gradient(multiplier)) * tf.stop_gradient(gap), -mean(fake)


# The f-divergences of Nowozin et al. 2016, arXiv:1606.00709, table 1, 2 and 6: D_f(p, q) = max E_p T - E_q f*(T)

def f_gan(t, conjugate):
    """T = t(score), f*(T) = conjugate(score); G maximizes E_q T (section 3.2), because E_q f*(T) may vanish as minimax does."""
    return lambda real, fake: (mean(conjugate(fake)) - mean(t(real)), -mean(t(fake)))


kl = f_gan(lambda v: v, lambda v: tf.exp(v - 1))                                   # E_p log(p / q)
reverse_kl = f_gan(lambda v: -tf.exp(-v), lambda v: v - 1)                         # E_q log(q / p)
pearson = f_gan(lambda v: v, lambda v: v ** 2 / 4 + v)                             # integral (p - q)^2 / q
hellinger = f_gan(lambda v: 1 - tf.exp(-v), lambda v: tf.exp(v) - 1)               # integral (sqrt p - sqrt q)^2
jensen_shannon = f_gan(lambda v: log2 - softplus(-v), lambda v: softplus(v) - log2)  # 2 JSD; the gradients of non-saturating


# A vector [B, K]: distances between the distributions of the critic's outputs

def distances(a, b):
    """Euclidean, between all rows of a [A, K] and of b [B, K]: [A, B]; no square root at 0."""
    return tf.sqrt(tf.reduce_sum((a[:, None] - b[None]) ** 2, 2) + 1e-12)


def cramer(real, fake):
    """G: the energy distance 2 E|r - f| - E|f - f'| - E|r - r'|; critic: its surrogate. Bellemare et al. 2017, arXiv:1705.10743.

    Algorithm 1; the two independent samples are the halves of the batch; E|r - r'|, which G cannot change, is left out.
    """
    one, other = fake[::2], fake[1::2]
    surrogate = mean(cramer_witness(real, real, fake)) - mean(cramer_witness(one, real, fake))
    return -surrogate, mean(distances(real, one)) + mean(distances(real, other)) - mean(distances(one, other))


def cramer_witness(scores, real, fake):
    """f(x) = E|h(x) - h(fake')| - |h(x)|: [B]."""
    return mean(distances(scores, fake[1::2]), 1) - distances(scores, tf.zeros([1, scores.shape[1]]))[:, 0]


def kernel(a, b):
    """Rational quadratic: sum over alpha of (1 + |a - b|^2 / 2 alpha)^-alpha, between all rows: [A, B]."""
    squares = tf.reduce_sum((a[:, None] - b[None]) ** 2, 2)
    return tf.add_n([(1 + squares / (2 * alpha)) ** -alpha for alpha in (0.2, 0.5, 1.0, 2.0, 5.0)])


def mmd(real, fake):
    """The squared mean discrepancy, unbiased. Li et al. 2017, arXiv:1705.08584; Binkowski et al. 2018, arXiv:1801.01401."""
    def others(k):
        n = tf.cast(tf.shape(k)[0], tf.float32)
        return (tf.reduce_sum(k) - tf.linalg.trace(k)) / (n * (n - 1))
    squared = others(kernel(real, real)) + others(kernel(fake, fake)) - 2 * mean(kernel(real, fake))
    return -squared, squared


def mmd_witness(scores, real, fake):
    """E k(h(x), h(real)) - E k(h(x), h(fake)): [B]."""
    return mean(kernel(scores, real), 1) - mean(kernel(scores, fake), 1)


def mean_matching(real, fake):
    """|E real - E fake|, the IPM of mean features with q = 2. McGAN: Mroueh et al. 2017, arXiv:1702.08398, eq. 3."""
    apart = tf.sqrt(tf.reduce_sum((mean(real, 0) - mean(fake, 0)) ** 2) + 1e-12)
    return -apart, apart


def mean_witness(scores, real, fake):
    """h(x)' v with v the way from E fake to E real, of length 1: [B]."""
    return tf.linalg.matvec(scores, tf.math.l2_normalize(tf.stop_gradient(mean(real, 0) - mean(fake, 0))))


def second_moment(h):
    """E h h' of [B, K]: [K, K]."""
    return tf.matmul(h, h, transpose_a=True) / tf.cast(tf.shape(h)[0], tf.float32)


def covariance_matching(real, fake):
    """Nuclear norm of E r r' - E f f': their IPM of covariances, eq. 7, with its best U and V in closed form (K of K)."""
    apart = tf.reduce_sum(tf.abs(tf.linalg.eigvalsh(second_moment(real) - second_moment(fake))))
    return -apart, apart


def covariance_witness(scores, real, fake):
    """h(x)' U V' h(x), that is the squares of h(x) along the eigenvectors, with the signs of the eigenvalues: [B]."""
    values, vectors = tf.linalg.eigh(tf.stop_gradient(second_moment(real) - second_moment(fake)))
    return tf.linalg.matvec(tf.matmul(scores, vectors) ** 2, tf.sign(values))


class Objective(typing.NamedTuple):
    losses: typing.Callable    # real [B, K], fake [B, K] -> (d_loss, g_loss)
    outputs: int = 1           # K
    penalty: str = 'none'      # what its paper keeps the critic in bounds with
    witness: typing.Callable = lambda scores, real, fake: scores[:, 0]  # what a penalty is put on: [B]
    samples: bool = False      # takes real and generated samples [B, …], too
    batch: int = 1             # the smallest batch that it is defined for


OBJECTIVES = {
    'minimax': Objective(minimax), 'non-saturating': Objective(non_saturating),
    'boundary-seeking': Objective(boundary_seeking), 'relativistic': Objective(relativistic),
    'importance-weighted': Objective(importance_weighted), 'softmax': Objective(softmax),
    'least-squares': Objective(least_squares), 'density-ratio': Objective(density_ratio), 'hinge': Objective(hinge),
    'wasserstein': Objective(wasserstein, penalty='gradient-penalty'),
    'loss-sensitive': Objective(loss_sensitive, samples=True), 'coulomb': Objective(coulomb, samples=True),
    'fisher': Objective(fisher),
    'kl': Objective(kl), 'reverse-kl': Objective(reverse_kl), 'pearson': Objective(pearson),
    'hellinger': Objective(hellinger), 'jensen-shannon': Objective(jensen_shannon),
    'cramer': Objective(cramer, 16, 'gradient-penalty', cramer_witness, batch=2),
    'mmd': Objective(mmd, 16, 'gradient-penalty', mmd_witness, batch=2),
    'mean-matching': Objective(mean_matching, 16, 'clip', mean_witness),
    'covariance-matching': Objective(covariance_matching, 16, 'clip', covariance_witness),
}


# Penalties: of the slope of a witness f, [B, …] -> [B], at places that differ

def value_and_slope(f, x):
    """f(x) and |grad f(x)|^2 at each x [B, …]: [B] both. What f reads besides its argument, a real batch among them, is held."""
    x = tf.identity(x)
    value = f(x)
    gradient, = tf.gradients(value, x)
    return value, tf.reduce_sum(gradient ** 2, axis=list(range(1, x.shape.ndims)))


def squared_slope(f, x):
    """|grad f(x)|^2 at each x [B, …]: [B]."""
    return value_and_slope(f, x)[1]


def between(x, fake):
    """A random place on the way from each real sample to a generated one."""
    return x + ops.uniform([x.shape[0]] + [1] * (x.shape.ndims - 1), 'alpha') * (fake - x)


def gradient_penalty(f, x, fake):
    """(|grad f| - 1)^2 between real and generated samples. WGAN-GP: Gulrajani et al. 2017, arXiv:1704.00028, section 4."""
    return mean((tf.sqrt(squared_slope(f, between(x, fake)) + 1e-12) - 1) ** 2)


def lipschitz_penalty(f, x, fake):
    """The same where |grad f| > 1, and 0 elsewhere. WGAN-LP: Petzka et al. 2017, arXiv:1709.08894."""
    return mean(relu(tf.sqrt(squared_slope(f, between(x, fake)) + 1e-12) - 1) ** 2)


def dragan(f, x, fake):
    """(|grad f| - 1)^2 around real samples. Kodali et al. 2017, arXiv:1705.07215.

    The noise is that of the authors' code, half a standard deviation times U[0, 1); the authors take a random point on the
    way from the sample to the noisy one, we take the noisy one.
    """
    spread = tf.sqrt(mean((x - mean(x)) ** 2)) / 2
    return mean((tf.sqrt(squared_slope(f, x + spread * ops.uniform(x.shape, 'around')) + 1e-12) - 1) ** 2)


def r1(f, x, fake):
    """|grad f|^2 / 2 at real samples. Mescheder et al. 2018, arXiv:1801.04406, eq. 9."""
    return mean(squared_slope(f, x)) / 2


def js_regularizer(f, x, fake):
    """(E_p (1 - D)^2 |grad f|^2 + E_q D^2 |grad f|^2) / 2, D = sigmoid(f). Roth et al. 2017, arXiv:1705.09367.

    What noise of variance WEIGHT on all samples comes to, near the best D; f is to be the logit of a probability.
    """
    (real, real_slope), (fake, fake_slope) = value_and_slope(f, x), value_and_slope(f, fake)
    return (mean(tf.sigmoid(-real) ** 2 * real_slope) + mean(tf.sigmoid(fake) ** 2 * fake_slope)) / 2


PENALTIES = {'none': None, 'gradient-penalty': gradient_penalty, 'lipschitz-penalty': lipschitz_penalty, 'dragan': dragan,
             'r1': r1, 'js-regularizer': js_regularizer,
             'clip': None, 'instance-noise': None}  # None: no term of d_loss, see main


def instance_noise(x, decay):
    """x and noise of standard deviation NOISE decay. Sonderby et al. 2016, arXiv:1610.04490, section 3.2."""
    return x + NOISE * decay * ops.noise(x.shape, 'instance')


def main():
    for name, known in (OBJECTIVE, [*OBJECTIVES]), (PENALTY, ['own', *PENALTIES]):
        if name not in known:
            raise files.UserError(f'there is no {name!r}: the names are {", ".join(known)}')
    objective = OBJECTIVES[OBJECTIVE]
    if objective.batch > BATCH_SIZE:
        raise files.UserError(f'{OBJECTIVE} compares samples with each other: BATCH_SIZE must be at least {objective.batch}')
    penalty = objective.penalty if PENALTY == 'own' else PENALTY

    def critic(x):
        return testbed.discriminator(x, objective.outputs)

    with tf.variable_scope('data'):
        x = testbed.batches(DATASET, BATCH_SIZE)
        z = ops.noise([BATCH_SIZE, Z_DIM])

    fake = testbed.generator(z, DATASET, training=True)
    decay = ops.linear_decay() if DECAY or penalty == 'instance-noise' else 1.0
    rate = decay if DECAY else 1.0
    if penalty == 'instance-noise':
        with tf.variable_scope('noise'):
            x, fake = instance_noise(x, decay), instance_noise(fake, decay)
    with tf.name_scope('real'):
        real_scores = critic(x)
    with tf.name_scope('fake'):
        fake_scores = critic(fake)
    weights = tf.trainable_variables('discriminator/')

    def witness(scores):
        return objective.witness(scores, real_scores, fake_scores)

    def penalized(x):
        with tf.name_scope('slope/'):  # the slash: in the critic, not in losses
            scores = critic(x)
        return witness(scores)

    with tf.name_scope('losses'):
        both = objective.losses(real_scores, fake_scores, *[x, fake] * objective.samples)
        d_loss, g_loss = (tf.identity(loss, name) for loss, name in zip(both, ['d_loss', 'g_loss'], strict=True))
        scalars = {'d_loss': d_loss, 'g_loss': g_loss, 'real_score': mean(witness(real_scores), name='real_score'),
                   'fake_score': mean(witness(fake_scores), name='fake_score')}
        if PENALTIES[penalty]:
            scalars['penalty'] = tf.identity(PENALTIES[penalty](penalized, x, fake), 'penalty')
            d_loss += WEIGHT * scalars['penalty']

    with tf.variable_scope('optimizers'):
        d_step = ops.minimize(tf.train.AdamOptimizer(D_LEARNING_RATE * rate, BETA1), d_loss, 'discriminator/', 'd_step')
        g_step = ops.minimize(tf.train.AdamOptimizer(G_LEARNING_RATE * rate, BETA1), g_loss, 'generator/', 'g_step')
        if penalty == 'clip':  # Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1
            with tf.control_dependencies([d_step]):
                d_step = tf.group(*(v.assign(tf.clip_by_value(v.read_value(), -CLIP, CLIP), read_value=False)
                                    for v in weights))

    testbed.train(globals(), [d_step] * D_STEPS + [g_step], scalars, {'real': real_scores, 'fake': fake_scores},
                  score=critic if objective.outputs == 1 else None)


if __name__ == '__main__':
    run.main(globals())
