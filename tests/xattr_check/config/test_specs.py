"""Specs: their parameters, and what is read from them."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from xattr_check import Subject, load_method, load_subject
from xattr_check.config.specs import read_typed, read_values, split
from xattr_check.errors import UsageError


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


class Kind:
    """Of a parameter that no scalar is."""


def several(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, steps: int = 1, share: float = 0.5,
    inverse: bool = False, start: float | str = 1.0, count: int | None = None, layer: str | None = None,
    output: Literal["logit", "probability"] = "logit", baseline: float | Tensor | None = None,
    data: Tensor | None = None, subject: Subject | None = None, kind: Kind | str = "", listed: list[int] = (),
    text="", number=1, flag=True, any=None, **others: int,
) -> Tensor:  # fmt: skip
    return inputs


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("steps=1e3", 1000), ("share=1", 1), ("inverse=true", True), ("start=random", "random"),
        ("start=.5", 0.5), ("count=null", None), ("layer=null", None), ("output=probability", "probability"),
        ("baseline=0.5", 0.5), ("data=null", None), ("kind=5", 5), ("listed=[1, 2]", [1, 2]),
        ("text=1.10", "1.10"), ("number=0.5", 0.5), ("any=[x]", ["x"]), ("other=x", "x"),
    ],
)  # fmt: skip
def test_a_value_of_its_kind_is_taken(typed: str, read: Any) -> None:
    _, texts = split(f"m:f?{typed}", "--xattr-method")
    (found,) = read_typed(texts, several).values()
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("steps=1.5", "expected steps to be a whole number, came '1.5'"),
        ("steps=true", "expected steps to be a whole number, came 'true'"),
        ("steps=null", "expected steps to be a whole number, came 'null'"),
        ("share=much", "expected share to be a number, came 'much'"),
        ("share=[1]", "expected share to be a number, came '[1]'"),
        ("inverse=1", "expected inverse to be true or false, came '1'"),
        ("start={a: 1}", "expected start to be a number or text, came '{a: 1}'"),
        ("count=many", "expected count to be a whole number or null, came 'many'"),
        ("output=odds", "expected output to be logit or probability, came 'odds'"),
        (
            "baseline=blur",
            "expected baseline to be a number, null or mean, came 'blur'; "
            "a tensor is passed by a function of your own",
        ),
        (
            "data=5",
            "expected data to be null, came '5'; a tensor is passed by a function of your own",
        ),
        (
            "subject=digits",
            "expected subject to be null, came 'digits'; it is given the subject that it runs on",
        ),
        ("number=many", "expected number to be a number, came 'many'"),
        ("flag=no matter", "expected flag to be true or false, came 'no matter'"),
    ],
)
def test_a_value_of_another_kind_is_told(typed: str, sentence: str) -> None:
    _, texts = split(f"m:f?{typed}", "--xattr-method")
    with pytest.raises(UsageError) as caught:
        read_typed(texts, several)
    assert str(caught.value) == sentence


def test_annotations_need_not_be_there_when_it_runs() -> None:
    def explain(model, inputs, targets, *, steps: "int | Missing" = 1, share: "float" = 1.0): ...  # noqa: F821

    assert read_typed({"steps": "many"}, explain) == {"steps": "many"}
    with pytest.raises(UsageError, match="expected share to be a number, came 'much'"):
        read_typed({"share": "much"}, explain)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("xattr:iba?beta=much", "expected beta to be a number, came 'much'"),
        ("xattr:lime?samples=few", "expected samples to be a whole number, came 'few'"),
        ("xattr:pathway_gradient?sparsity=abc", "expected sparsity to be a number, came 'abc'"),
        (
            "xattr:pathway_gradient?sparsity=2",
            "expected sparsity to be a number of at least 0 and below 1, came '2'",
        ),
        ("xattr:rise?keep=1", "expected keep to be a number above 0 and below 1, came '1'"),
        ("xattr:iba?beta=-1", "expected beta to be a number above 0, came '-1'"),
        ("xattr:lime?cells=0", "expected cells to be a whole number of at least 1, came '0'"),
        ("xattr:smoothgrad?noise=.inf", "expected noise to be a number of at least 0, came '.inf'"),
    ],
)
def test_a_method_is_not_made_of_values_of_another_kind_or_range(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_method(spec)
    assert str(caught.value) == f"--xattr-method='{spec}': {sentence}"


def test_a_subject_is_not_made_of_values_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    file.write_text("def make(count: int = 4): ...\n")
    with pytest.raises(UsageError) as caught:
        load_subject(f"{file}:make?count=few")
    assert str(caught.value).endswith("make?count=few': expected count to be a whole number, came 'few'")
