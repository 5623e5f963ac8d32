"""The recipe of the digits: a pool apart from what judges, and networks that learn from it."""

import pytest
import torch

from xattr_check import load_subject
from xattr_check.networks.retrain import Networks
from xattr_check.storage.digest import digest_rows
from xattr_fixtures._digits_recipe import POOL, RECIPE, SmallestNetwork, pool


def test_the_pool_is_like_the_inputs_and_none_of_them() -> None:
    made, digits = pool(), load_subject("digits")
    assert made["inputs"].shape == (POOL, 3, 32, 32)
    assert made["mask"].shape == (POOL, 1, 32, 32)
    assert not set(digest_rows(made["inputs"])) & set(digest_rows(digits.inputs))
    assert made["targets"].bincount(minlength=10).min() > 0.07 * POOL
    assert torch.equal(made["inputs"], pool()["inputs"])
    shares = made["mask"].double().mean(), digits.truth["mask"].double().mean()
    assert shares[0] == pytest.approx(float(shares[1]), rel=0.1)


def test_the_network_does_not_tell_an_image_from_its_negative() -> None:
    network, inputs = SmallestNetwork(), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(network(inputs), network(0.3 - inputs), atol=1e-5)
        assert network(inputs).shape == (4, 10)


@pytest.mark.slow
def test_networks_learn_the_digits() -> None:
    made, digits = pool(), load_subject("digits")
    networks = Networks(RECIPE, (0, 1, 2), torch.device("cpu"))
    networks.train(lambda rows: made["inputs"][rows].expand(3, -1, -1, -1, -1), made["targets"], order=0)
    correct = networks.correct(lambda rows: digits.inputs[rows].expand(3, -1, -1, -1, -1), digits.targets)
    accuracy = correct.double().mean(1)
    assert accuracy.mean() > 0.85
    assert accuracy.min() > 0.8
