"""Specs: their parameters, and what is read from them."""

import torch
from torch import nn

from xattr_check import load_method
from xattr_check.config.specs import read_values, split


def test_parameters_are_read_as_yaml() -> None:
    head, texts = split(
        "m:f?a=1&b=0.5&c=true&d=null&e=layer4&f=[1, 2]&g=%26&h=1e-6&i=v1e-6", "--xattr-method"
    )
    assert head == "m:f"
    assert read_values(texts, lambda **parameters: None) == (
        {
            "a": 1,
            "b": 0.5,
            "c": True,
            "d": None,
            "e": "layer4",
            "f": [1, 2],
            "g": "&",
            "h": 1e-6,
            "i": "v1e-6",
        }
    )


def test_a_parameter_that_is_text_keeps_its_text() -> None:
    def explain(model, inputs, targets, *, layer: str | None = None, name: str = "", steps: int = 1): ...

    _, texts = split("m:f?layer=1.10&name=true&steps=2", "--xattr-method")
    assert read_values(texts, explain) == {"layer": "1.10", "name": "true", "steps": 2}
    assert read_values({"layer": "null"}, explain) == {"layer": None}
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(32, 3))
    images = torch.randn(2, 1, 8, 8), torch.tensor([0, 1])
    assert load_method("xattr:gradcam?layer=1")(model, *images).shape == (2, 1, 8, 8)
