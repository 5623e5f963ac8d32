import sys
from dataclasses import replace

import pytest
import torch

from xattr_fixtures import _digits_training as digits
from xattr_fixtures import train
from xattr_fixtures._training import train as trained
from xattr_fixtures._weights import WEIGHTS


def test_the_same_seed_gives_the_same_network():
    recipe = replace(digits.NETWORKS["object"], epochs=1, draw=digits.fresh("digits", count=128))
    first, again, other = (
        trained(replace(recipe, seed=seed), log=lambda line: None).state_dict() for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_seeds_differ_between_networks():
    for subject in train.trained_subjects():
        networks = train.networks_of(subject)
        assert len({training.seed for training in networks.values()}) == len(networks), subject


def test_weights_that_ship_are_those_of_a_network_and_small():
    """But for the digits, whose networks came first and are larger."""
    names = {
        f"{subject}_{name}" for subject in train.trained_subjects() for name in train.networks_of(subject)
    }
    files = {path.stem: path.stat().st_size for path in WEIGHTS.glob("*.safetensors")}
    assert {name for name in files if "_features_" not in name} == names
    assert {name: size for name, size in files.items() if size > 300_000 and "digits" not in name} == {}


def test_an_unknown_network_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "digits", "objekt"])
    with pytest.raises(SystemExit):
        train.main()
    told = f"NETWORK: expected some of {', '.join(digits.NETWORKS)}, came objekt"
    assert told in " ".join(capsys.readouterr().err.split())


def test_weights_are_written_where_asked(monkeypatch, capsys, tmp_path):
    tiny = replace(digits.NETWORKS["object"], epochs=1, draw=digits.fresh("digits", count=64))
    monkeypatch.setitem(digits.NETWORKS, "object", tiny)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(sys, "argv", ["train", "digits", "object", "--out", str(tmp_path / "new")])
    train.main()
    assert (tmp_path / "new" / "digits_object.safetensors").stat().st_size > 100_000
    assert "object: held-out digits" in capsys.readouterr().out
