"""InfoGAN, BiGAN, the adversarial auto-encoders and VAE-GAN: their formulas by hand, and what never may reach a graph."""
import itertools
import math

import aae
import augment
import data
import infogan
import ops
from plumbing import files, graph, measures

import drive
import forkserver
import imageio.v3 as iio
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow.compat.v1 as tf
from conftest import evaluate, random, softmax

pytestmark = pytest.mark.usefixtures('fresh_graph')


# shared layers and measures

def test_a_category_is_one_hot_and_each_as_likely(fresh_graph):
    y = evaluate(ops.category(20000, 5, 'c'))
    assert y.shape == (20000, 5) and set(np.unique(y)) == {0, 1} and (y.sum(1) == 1).all()
    assert scipy.stats.chisquare(y.sum(0)).pvalue > 1e-4


def test_uniform_numbers_have_their_bounds():
    u = evaluate(ops.uniform([20000], 'u', -1, 3))
    assert scipy.stats.kstest(u, 'uniform', (-1, 4)).pvalue > 1e-4


@pytest.mark.parametrize('count, size', [(7, 3), (6, 3), (2, 5)])
def test_blocks_give_what_the_whole_gives(count, size):
    x = random(count, 4)
    found = evaluate(ops.in_blocks(lambda some: tf.reduce_sum(some ** 2, 1), tf.constant(x), size))
    np.testing.assert_allclose(found, (x ** 2).sum(1), rtol=1e-6)


@pytest.mark.parametrize('size, channels, side, features', [(28, 1, 7, 7 * 7 * 6), (20, 3, 5, 5 * 5 * 6), (64, 3, 4, 4 * 4 * 24)])
def test_the_stacks_of_dcgan_halve_and_double_the_side(size, channels, side, features):
    """Sizes and numbers of weights as one counts them: kernels of 4x4, a bias only where no batch norm follows."""
    with tf.variable_scope('down'):
        h = ops.conv_stack(tf.zeros([2, size, size, channels]), 3, training=True)
    with tf.variable_scope('up'):
        y = ops.deconv_stack(tf.zeros([2, 10]), size, channels, 3, training=True)
    assert h.shape.as_list() == [2, features] and y.shape.as_list() == [2, size, size, channels]
    depth = int(math.log2(size / side))
    widths = [channels, *(3 * 2 ** k for k in range(depth))]

    def count(scope):
        return sum(math.prod(v.shape) for v in tf.trainable_variables(f'{scope}/'))

    kernels = sum(16 * a * b for a, b in itertools.pairwise(widths))
    norms = 2 * sum(widths[2:])
    assert count('down') == kernels + norms + widths[1]
    projected = side ** 2 * widths[-1]
    assert count('up') == (10 + 2) * projected + kernels + 2 * sum(widths[1:-1]) + channels


@pytest.mark.parametrize('categories, classes', [(5, 5), (6, 4), (4, 6)])
def test_the_matching_is_the_best_of_all_permutations(categories, classes):
    found = np.random.default_rng(0).integers(0, categories, 200)
    labels = np.where(np.random.default_rng(1).random(200) < 0.5, (found * 7 + 3) % classes, 1 + found % (classes - 1))
    many = max(categories, classes)
    best = max(np.mean(np.array(order)[found] == labels) for order in itertools.permutations(range(many)))
    assert measures.matched_accuracy(found, labels) == pytest.approx(best)
    assert measures.matched_accuracy((labels + 2) % classes, labels) == 1


# InfoGAN

def test_the_bound_of_infogan_is_that_of_numpy(monkeypatch):
    monkeypatch.setattr(infogan, 'CATEGORIES', 4)
    y, code, logits, mean = np.eye(4, dtype='f')[[0, 3, 1]], random(3, 2), random(3, 4, seed=1), random(3, 2, seed=2)
    expected = math.log(4) + scipy.stats.uniform(-1, 2).entropy() * 2 + np.mean(
        np.log((softmax(logits) * y).sum(1)) + scipy.stats.norm.logpdf(code, mean).sum(1))
    found = evaluate(infogan.information(*map(tf.constant, (y, code, logits, mean))))
    assert found == pytest.approx(expected, rel=1e-5)


def test_what_two_categories_tell_of_each_other_is_their_mutual_information():
    def found(p, q):
        return evaluate(augment.mutual_information(*(tf.constant(np.log(np.float32(x) + np.float32(1e-30))) for x in (p, q))))

    sure = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    assert found(sure, sure) == pytest.approx(math.log(3), abs=1e-5)
    assert found(sure, np.full([6, 3], 1 / 3)) == pytest.approx(0, abs=1e-5)
    assert found(np.eye(3)[[0] * 6], np.eye(3)[[0] * 6]) == pytest.approx(0, abs=1e-5)       # sure, but always the same
    p, q = softmax(2 * random(6, 3)), softmax(2 * random(6, 3, seed=1))
    joint = p.T @ q / 6
    joint = (joint + joint.T) / 2
    assert found(p, q) == pytest.approx((joint * np.log(joint / np.outer(joint.sum(1), joint.sum(0)))).sum(), rel=1e-3)


def test_pictures_are_turned_as_scipy_turns_them():
    x = scipy.ndimage.gaussian_filter(random(3, 28, 28, 1) * 3, (0, 2, 2, 0)).clip(-1, 1)
    x = np.where(np.hypot(*np.mgrid[-13.5:14, -13.5:14])[:, :, None] < 9, x, -1).astype('f')  # nothing at the edge
    u = np.random.default_rng(0).uniform(-1, 1, [3, 6]).astype('f')
    u[0] = 0
    found = evaluate(augment.turned(tf.constant(x), tf.constant(u), 0.5))
    np.testing.assert_array_equal(found[0], x[0])
    for picture, ours, (angle, shear, wide, high, right, below) in zip(x, found, u, strict=True):
        cos, sin = math.cos(angle / 2), math.sin(angle / 2)
        matrix = np.array([[(1 + high / 5) * cos, sin], [0.4 * shear - sin, (1 + wide / 5) * cos]])   # rows before columns
        middle = np.full(2, 13.5)
        offset = middle - matrix @ middle + np.array([below, right]) * 2
        theirs = scipy.ndimage.affine_transform(picture[:, :, 0], matrix, offset, order=1, cval=-1)
        np.testing.assert_allclose(ours[:, :, 0], theirs, atol=1e-4)


def everything(built):
    """{name: array} of all constants, and of all variables after a step, also those that hold the data."""
    graph = tf.get_default_graph()
    values = {node.name: tf.make_ndarray(node.attr['value'].tensor) for node in graph.as_graph_def().node if node.op == 'Const'}
    with built.session() as session:
        for update in built.given['updates']:
            session.run(update)
        return values | session.run({v.op.name: v for v in tf.global_variables() + tf.local_variables()})


@pytest.mark.parametrize('name, constants, known', [
    ('infogan', {}, 0), ('bigan', {}, 0), ('vae_gan', {}, 0), ('aae', {}, 0), ('aae', {'PRIOR': 'roll', 'LABELS': 20}, 20),
    ('aae', {'PRIOR': 'mixture', 'LABELS': 10, 'BATCH_SIZE': 16}, 10), ('cluster_aae', {'LABELS': 10, 'BATCH_SIZE': 16}, 10),
    ('cluster_aae', {}, 0), ('cluster_aae', {'LABELS': 20}, 20), ('catgan', {'LABELS': 0}, 0), ('catgan', {}, 20),
    ('sgan', {}, 20), ('semi_gan', {}, 20), ('semi_gan', {'NETWORKS': 'conv', 'TURN': 0.2, 'INVARIANCE': 1.0}, 20)])
def test_no_other_label_reaches_the_graph(name, constants, known, build, monkeypatch):
    """Other labels but for the few that are given, in the training and in the test set: nothing in the graph is different."""
    found, load, few = [], drive.load, data.few_labels(drive.load('mnist')[1], known, 0) if known else []
    monkeypatch.setattr(data, 'few_labels', lambda *_: few)
    for wrong in 0, 3:
        def relabelled(dataset, split='train', *given, wrong=wrong, **more):
            images, labels = load(dataset, split, *given, **more)
            changed = (labels + wrong) % 10
            if split == 'train':
                changed[few] = labels[few]
            return images, changed

        monkeypatch.setattr(drive, 'load', relabelled)
        with tf.Graph().as_default():
            built = build(name, **constants)
            built.given.get('measures', dict)()
            found.append(everything(built))
    assert found[0].keys() == found[1].keys() and len(found[0]) > 30
    for key in found[0]:
        np.testing.assert_array_equal(found[0][key], found[1][key], err_msg=key)


# adversarial auto-encoders

def test_the_mixture_has_its_gaussians_on_a_circle(monkeypatch):
    monkeypatch.setattr(aae, 'PRIOR', 'mixture')
    e, part = random(40000, 2), np.eye(4, dtype='f')[np.arange(40000) % 4]
    z = evaluate(aae.prior(tf.constant(e), tf.constant(part)))
    for number in range(4):
        found, towards = z[number::4], np.array([math.cos(math.pi / 2 * number), math.sin(math.pi / 2 * number)])
        np.testing.assert_allclose(found.mean(0), 2.5 * towards, atol=0.03)
        np.testing.assert_allclose(found @ towards, 2.5 + 0.6 * e[number::4, 0], atol=1e-4)
        assert np.std(found @ [-towards[1], towards[0]]) == pytest.approx(0.2, rel=0.03)


def test_the_sections_of_the_roll_follow_each_other_and_hold_equal_shares(monkeypatch):
    """Without the noise across it is a spiral of two turns, radius 3 t at the angle 4 pi t, with t^2 uniform."""
    monkeypatch.setattr(aae, 'PRIOR', 'roll')
    e = random(20000, 2)
    e[:, 1] = 0
    number = np.arange(20000) % 5
    z = evaluate(aae.prior(tf.constant(e), tf.constant(np.eye(5, dtype='f')[number])))
    t = np.hypot(*z.T) / 3
    np.testing.assert_allclose(z, 3 * t[:, None] * np.stack([np.cos(4 * np.pi * t), np.sin(4 * np.pi * t)], 1), atol=1e-4)
    assert scipy.stats.kstest(t ** 2, 'uniform').pvalue > 1e-4
    for section in range(5):
        inside = t[number == section] ** 2
        assert section / 5 - 1e-5 <= inside.min() and inside.max() <= (section + 1) / 5 + 1e-5


@pytest.mark.parametrize('labels', [10, 20])
def test_codes_of_which_the_part_is_told_are_as_many_on_both_sides(labels, build):
    """So that the best D of codes that are those of the prior says 1/2 of both kinds of rows, whatever the number of labels."""
    scores = build('aae', PRIOR='mixture', LABELS=labels, BATCH_SIZE=16).given['scores']
    assert scores['real'].shape[0] == scores['fake'].shape[0] == 16 + min(labels, 16)


@pytest.mark.parametrize('constants, complaint', [
    ({'PRIOR': 'mixture', 'Z_DIM': 3}, 'use --z-dim 2'), ({'LABELS': 10}, 'use --prior mixture')])
def test_priors_that_cannot_be(constants, complaint, monkeypatch):
    for name, value in constants.items():
        monkeypatch.setattr(aae, name, value)
    with pytest.raises(files.UserError, match=complaint):
        aae.main()


@pytest.mark.parametrize('wait', [0.0, 0.5])
def test_clusters_may_be_uncertain_until_the_wait_is_over(wait, build):
    """Nothing but its discriminator tells the encoder of the category here: the layer stays as it is, or moves."""
    built = build('cluster_aae', WAIT=wait, INVARIANCE=0.0)
    category, = tf.trainable_variables('encoder/category/weights')
    with built.session() as session:
        for steps, moves in (0, wait == 0), (4, wait == 0), (6, True):
            done, total = graph.progress()
            session.run([done.assign(steps), total.assign(10)])
            before, _ = session.run(category), session.run(built.given['updates'][2])
            assert np.array_equal(before, session.run(category)) != moves, steps


def test_a_cluster_stands_for_the_class_of_its_surest_picture():
    """Section 6: cluster 0 is of class 7 because of its picture at 0.9, although most of it is of class 3; cluster 2 is empty."""
    p = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.7, 0.3, 0], [0.1, 0.9, 0], [0.4, 0.6, 0]])
    labels = np.array([7, 3, 3, 5, 5])
    assert measures.cluster_error(p, labels) == pytest.approx(2 / 5)
    assert measures.cluster_error(np.eye(5), labels) == 0


# VAE-GAN

def test_who_learns_from_what_in_vae_gan(build):
    """Algorithm 1 of the paper: the encoder from the prior and the features, the decoder from the features and from fooling."""
    built = build('vae_gan')
    s = built.given['scalars']
    with built.session() as session:
        found = session.run(s)
    assert found['e_loss'] == pytest.approx(found['prior'] + found['reconstruction'], rel=1e-5)

    def learns(loss, network):
        return any(gradient is not None for gradient in tf.gradients(s[loss], tf.trainable_variables(f'{network}/')))

    assert learns('prior', 'encoder') and not learns('prior', 'decoder')
    assert learns('reconstruction', 'encoder') and learns('reconstruction', 'decoder') and learns('g_loss', 'decoder')


def test_the_prior_of_vae_gan_is_the_divergence_from_n01(build):
    """Of a code whose m and log-variance are constants, 1 and ln 4: as SciPy integrates it."""
    built = build('vae_gan', Z_DIM=3)
    with built.session() as session:
        for v in tf.trainable_variables('encoder/'):
            if v.op.name.endswith(('m/weights', 'log_var/weights')):
                session.run(v.assign(tf.zeros_like(v)))
        session.run([v.assign(tf.fill(v.shape, value)) for v in tf.trainable_variables('encoder/') for end, value in (
            ('m/bias', 1.0), ('log_var/bias', math.log(4))) if v.op.name.endswith(end)])
        found = session.run(built.given['scalars']['prior'])
    q = scipy.stats.norm(1, 2)
    expected = q.expect(lambda x: q.logpdf(x) - scipy.stats.norm.logpdf(x))
    assert found == pytest.approx(3 * expected, rel=1e-4)


# runs, as a user has them

@pytest.mark.slow
@pytest.mark.parametrize('name, given, left', [
    ('infogan', ['--width', '2', '--hidden', '16'], ['codes.png', 'traversal.png']),
    ('aae', ['--hidden', '16', '--prior', 'roll', '--labels', '20'], ['codes.png', 'manifold.png']),
    ('aae', ['--hidden', '16', '--z-dim', '3'], ['codes.png'])])
def test_a_run_leaves_its_pictures_and_fresh_removes_them(name, given, left, tmp_path):
    command = [name, *given, '--batch-size', '8', '--steps', '2', '--eval-every', '0', '--run-dir', tmp_path / 'run']
    status, _, error = forkserver.run(*command)
    assert status == 0, error
    for picture in left:
        assert np.ptp(iio.imread(tmp_path / 'run' / picture)) > 0
        (tmp_path / 'run' / picture).write_text('old')
    status, out, error = forkserver.run(*command, '--fresh', '--no-such-flag')
    assert status == 2 and all((tmp_path / 'run' / picture).read_text() == 'old' for picture in left)
    status, out, error = forkserver.run(*command, '--fresh')
    assert status == 0 and all(picture in out.split('removes the run', 1)[1] for picture in left)


@pytest.mark.slow
def test_labels_make_a_generator_that_can_be_asked_for_a_class(tmp_path):
    """The roll with labels: as `label`, by name or number; without labels its sections have no names."""
    for labels, expected in ('20', 0), ('0', 2):
        run = tmp_path / labels
        status, _, error = forkserver.run('aae', '--hidden', '16', '--prior', 'roll', '--labels', labels, '--batch-size', '8',
                                          '--steps', '2', '--eval-every', '0', '--run-dir', run)
        assert status == 0, error
        status, _, error = forkserver.run('sample', run, '--class', '3', '--count', '4', '--npz', tmp_path / 'some.npz')
        assert status == expected and bool(expected) == error.startswith('error: '), error
    with np.load(tmp_path / 'some.npz') as found:
        assert found['labels'].tolist() == [3] * 4 and found['images'].shape == (4, 28, 28, 1)
