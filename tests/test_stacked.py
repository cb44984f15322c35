"""stacked_mnist: three digits as colour channels, its 1,000 classes, their count and their KL against what theory expects."""
import data
from plumbing import features, files, measures, mnist

import numpy as np
import pytest


@pytest.fixture
def digits(monkeypatch):
    """70 noisy digits in place of MNIST, of which the label says where a bright row is."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 99, [70, 28, 28, 1], np.uint8), np.arange(70, dtype=np.uint8) % 10
    images[np.arange(70), labels] = 255
    monkeypatch.setattr(mnist, 'load', lambda name, split, given: (images, labels))
    monkeypatch.setattr(data, 'STACKED', {'train': 3000, 'test': 500})
    return images


def test_each_channel_is_a_digit_and_the_label_their_number(digits):
    images, labels = data.load('stacked_mnist')
    assert images.shape == (3000, 28, 28, 3) and images.dtype == np.uint8 and labels.dtype == np.uint16
    rows = np.stack([np.argmax((images[..., c] == 255).all(2), 1) for c in range(3)], 1)
    np.testing.assert_array_equal(labels, rows @ [100, 10, 1])
    whole = {digit.tobytes() for digit in digits}
    assert all(images[i, :, :, c].tobytes() in whole for i in range(20) for c in range(3))
    np.testing.assert_array_equal(images, data.load('stacked-mnist')[0])        # the same for everybody
    assert len(data.load('stacked_mnist', 'test')[0]) == 500
    with pytest.raises(files.UserError, match='3 channels'):
        data.load('stacked_mnist', channels=1)


def test_the_expected_shares_are_the_product_of_the_digits():
    shares = measures.stacked_shares(np.array([7, 77, 770, 707], np.uint16))    # 7 of 12 digits are a 7, the others a 0
    assert shares[777] == pytest.approx((7 / 12) ** 3) and shares[70] == pytest.approx((5 / 12) ** 2 * 7 / 12)
    assert shares.sum() == pytest.approx(1) and (shares > 0).sum() == 8


def test_perfect_samples_have_a_kl_of_k_minus_1_over_2n():
    """2 N KL is near a chi-square of K - 1 degrees of freedom (Wilks 1938): 0.0192 for 26,000 samples of 1,000 modes."""
    rng = np.random.default_rng(0)
    one = rng.uniform(.8, 1.2, 10)
    expected = np.einsum('a,b,c->abc', one, one, one).ravel() / one.sum() ** 3
    found = [measures.class_kl(rng.multinomial(26000, expected) / 26000, expected) for _ in range(20)]
    assert np.mean(found) == pytest.approx(999 / 52000, rel=.05)
    half = np.where(np.arange(1000) < 500, 2 / 1000, 0)
    assert measures.class_kl(half, np.full(1000, 1 / 1000)) == pytest.approx(np.log(2))


def test_the_classifier_looks_at_each_channel():
    images = np.random.default_rng(0).integers(0, 256, [5, 28, 28, 3], np.uint8)
    found, p = features.extractor('stacked_mnist')(images)
    parts = [features.extractor('mnist')(images[..., c:c + 1]) for c in range(3)]
    np.testing.assert_allclose(found, np.concatenate([x for x, _ in parts], 1), atol=1e-6)
    first, second, third = (q[3] for _, q in parts)
    assert p.shape == (5, 1000)
    np.testing.assert_allclose(p[3, 407], first[4] * second[0] * third[7], rtol=1e-4)
    with pytest.raises(files.UserError, match='3 channels'):
        features.extractor('stacked_mnist')(images[..., :1])


@pytest.mark.slow
def test_real_digits_have_all_modes_and_the_noise_of_their_count():
    """26,000 test pictures, seen by the classifier: all modes, and a KL a little above 0.019 (other writers, rare mistakes).

    Each of the 10,000 digits is looked at once; of some pictures the three together.
    """
    digits, _ = data.load('mnist', 'test')
    images, answers = data.stack(digits, features.extractor('mnist')(digits)[1].argmax(1), 26000)
    assert (features.extractor('stacked_mnist')(images[:500])[1].argmax(1) == answers[:500]).all()
    _, labels = data.stack(np.zeros([60000, 1, 1, 1], np.uint8), data.load('mnist')[1], 128_000)
    shares = np.bincount(answers, minlength=1000) / 26000
    assert (shares > 0).sum() == 1000 and .017 < measures.class_kl(shares, measures.stacked_shares(labels)) < .03
