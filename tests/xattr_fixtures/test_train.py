import sys
from dataclasses import replace

import pytest
import torch

from xattr_fixtures import train


def test_the_same_seed_gives_the_same_network():
    recipe = replace(train.DIGITS["object"], epochs=1, draw=train.fresh("digits", count=128))
    first, again, other = (
        train.train(replace(recipe, seed=seed), log=lambda line: None).state_dict() for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_seeds_differ_between_networks():
    assert len({recipe.seed for recipe in train.DIGITS.values()}) == len(train.DIGITS) == 5


def test_an_unknown_network_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "digits", "objekt"])
    with pytest.raises(SystemExit):
        train.main()
    told = "NETWORK: expected some of object, scene, shuffled_labels, spurious, retrained, came objekt"
    assert told in " ".join(capsys.readouterr().err.split())


def test_weights_are_written_where_asked(monkeypatch, capsys, tmp_path):
    tiny = replace(train.DIGITS["object"], epochs=1, draw=train.fresh("digits", count=64))
    monkeypatch.setitem(train.DIGITS, "object", tiny)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(sys, "argv", ["train", "digits", "object", "--out", str(tmp_path / "new")])
    train.main()
    assert (tmp_path / "new" / "digits_object.safetensors").stat().st_size > 100_000
    assert "object: held-out digits" in capsys.readouterr().out
