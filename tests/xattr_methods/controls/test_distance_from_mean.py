from dataclasses import replace

import torch
from subjects import images

from xattr_check import load_method, run_battery
from xattr_check.core.registry import controls


def test_it_is_of_data_whose_mean_is_far_from_zero() -> None:
    control, near = controls()["distance_from_mean"], images(count=64)
    white = replace(near, inputs=5 + near.inputs)
    assert not control.needs <= near.offers
    assert control.needs <= white.offers
    maps = control.bind(white)(white.model, white.inputs[:4], white.targets[:4])
    assert torch.allclose(maps, (white.inputs[:4] - white.inputs.mean((0, 2, 3), keepdim=True)).abs())


def test_it_is_measured_where_it_says_more_than_the_input() -> None:
    near = images(count=64)
    for subject, told in ((near, False), (replace(near, inputs=5 + near.inputs), True)):
        (verdict,) = run_battery(load_method("xattr:gradient"), subject, checks="sensitivity_n")
        assert ("distance_from_mean" in verdict.controls) == told
