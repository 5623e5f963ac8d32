import torch

from xattr_check import load_subject
from xattr_check.core.registry import controls


def test_it_is_where_the_signal_moves_whatever_its_level():
    signal = torch.zeros(2, 3, 96)
    signal[0, 1, 30:34] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    signal[1] = 5.0
    maps = controls()["local_energy"](None, signal, torch.zeros(2).long(), layout="signal")
    assert maps.shape == (2, 1, 96)
    assert 28 <= int(maps[0].argmax()) <= 35
    assert maps[1].abs().max() < 1e-9


def test_it_is_measured_beside_methods_on_signals_alone():
    needs = controls()["local_energy"].needs
    assert needs <= load_subject("beats").offers
    assert not needs <= load_subject("columns").offers
