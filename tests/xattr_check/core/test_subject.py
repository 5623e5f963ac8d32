from typing import Any

import pytest
import torch
from subjects import columns, images, tokens
from torch import Tensor, nn

from xattr_check import Subject, SubjectError
from xattr_check.core.recipe import Recipe

MODEL = nn.Linear(4, 3)
INPUTS = torch.randn(5, 4)
TARGETS = torch.tensor([0, 1, 2, 0, 1])


class Flat(nn.Module):
    """Forgets the dimension of the classes."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sum(1)


class Pair(nn.Module):
    """Returns logits and features."""

    def forward(self, inputs: Tensor) -> Any:
        return inputs, inputs


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"model": torch.relu},
            "expected model to be a torch.nn.Module, came builtin_function_or_method; wrap it in a module "
            "whose forward calls it",
        ),
        ({"inputs": INPUTS[:0]}, "expected inputs (N, *F) with N ≥ 1, came (0, 4)"),
        ({"inputs": INPUTS[0]}, "expected inputs (N, *F) with N ≥ 1, came (4,)"),
        (
            {"inputs": INPUTS.numpy()},
            "expected inputs (N, *F) with N ≥ 1, came ndarray; pass torch.as_tensor(inputs)",
        ),
        (
            {"inputs": INPUTS.byte()},
            "expected float inputs, came torch.uint8; "
            "pass inputs.float(), or for ids of tokens a model with an nn.Embedding",
        ),
        ({"targets": TARGETS[:4]}, "expected targets (5,), one for each input, came (4,)"),
        (
            {"targets": TARGETS[:, None]},
            "expected targets (5,), one for each input, came (5, 1); pass targets[:, 0]",
        ),
        (
            {"targets": nn.functional.one_hot(TARGETS, 3).float()},
            "expected targets (5,), one for each input, came (5, 3); pass targets.argmax(1)",
        ),
        (
            {"targets": torch.eye(5, 3) + torch.eye(5, 3).roll(1, 1)},
            "expected targets (5,), one for each input, came (5, 3); one label of each input is explained: "
            "pass targets.int().argmax(1) for the first that it has",
        ),
        (
            {"targets": None},
            "expected targets (5,), one for each input, came None; say which output is explained for each "
            "input, torch.zeros(N).long() where there is one alone",
        ),
        (
            {"targets": TARGETS.tolist()},
            "expected targets (5,), one for each input, came list; pass torch.as_tensor(targets)",
        ),
        (
            {"targets": TARGETS.float()},
            "expected int64 targets, which output is explained, came torch.float32; pass targets.long()",
        ),
        (
            {"targets": TARGETS + 0.5},
            "expected int64 targets, which output is explained, came torch.float32; for real values say "
            "output='value', with torch.zeros(N).long() for the only one",
        ),
        (
            {"model": Flat(), "output": "value"},
            "expected targets in 0…0, the model's outputs, came 0…2; they say which output is explained, and "
            "not its value: torch.zeros(N).long()",
        ),
        (
            {"inputs": INPUTS, "layout": "signal"},
            "expected inputs channels × times (N, C, T) for layout='signal', came (5, 4); inputs of so many "
            "axes have layout='columns'",
        ),
        (
            {"targets": TARGETS.int()},
            "expected int64 targets, which output is explained, came torch.int32; pass targets.long()",
        ),
        (
            {"targets": TARGETS + 1},
            "expected targets in 0…2, the model's outputs, came 1…3; outputs are counted from 0: "
            "pass targets - 1",
        ),
        (
            {"targets": TARGETS - 1},
            "expected targets in 0…2, the model's outputs, came -1…1",
        ),
        ({"truth": {"mask": INPUTS[:3]}}, "expected truth 'mask' with 5 rows, came 3"),
        (
            {"truth": {"background": INPUTS[:, :1]}},
            f"expected truth 'background' of the shape of the inputs, {tuple(INPUTS.shape)}, came "
            f"{tuple(INPUTS[:, :1].shape)}",
        ),
        (
            {"model": Flat()},
            "expected output='margin' for one logit of two classes, or output='value' for a real number, "
            "came a model with one output and neither",
        ),
        (
            {"truth": {"mask": torch.ones(len(INPUTS), 5, dtype=torch.bool)}},
            f"expected truth 'mask' ({len(INPUTS)}, 4), one for each feature, came ({len(INPUTS)}, 5)",
        ),
        (
            {"truth": {"dummy": torch.ones(len(INPUTS), 4)}},
            "expected truth 'dummy' of bool, came torch.float32; pass dummy > 0.5",
        ),
        (
            {"concepts": {"odd": torch.ones(len(INPUTS), 5, dtype=torch.bool)}},
            f"expected concept 'odd' ({len(INPUTS)}, 4), one for each feature, came ({len(INPUTS)}, 5)",
        ),
        (
            {"concepts": {"odd": torch.ones(len(INPUTS), 4)}},
            "expected concept 'odd' of bool, came torch.float32; pass it > 0.5",
        ),
        (
            {"reference": "image"},
            "expected reference to be a function (n, generator) -> (n, *F), came str 'image'; give what "
            "follows the targets by name",
        ),
        (
            {"truth": INPUTS},
            "expected truth to be a mapping by name, came Tensor; give what follows the targets by name",
        ),
        (
            {"siblings": {"retrained": nn.Linear(4, 2)}},
            "expected sibling 'retrained' with as many outputs as the model, 3, came 2",
        ),
        ({"names": ["a", "b", "c"]}, "expected 4 names, one for each feature, came 3"),
        (
            {"model": Pair()},
            "expected the model to return a tensor of outputs (N, K), came tuple of 0, 1; "
            "say which part is explained: select=0, one of 0, 1",
        ),
    ],
)
def test_what_does_not_fit_together_is_said(changed: dict[str, Any], sentence: str) -> None:
    parts = {"model": MODEL, "inputs": INPUTS, "targets": TARGETS, **changed}
    with pytest.raises(SubjectError) as raised:
        Subject("mine", **parts)
    assert str(raised.value) == f"subject 'mine': {sentence}"


def test_a_model_that_cannot_run_is_said() -> None:
    with pytest.raises(SubjectError) as raised:
        Subject("mine", nn.Linear(7, 3), INPUTS, TARGETS)
    assert str(raised.value).startswith("subject 'mine': the model cannot run on its inputs (1, 4): ")


def test_models_are_put_into_eval_mode() -> None:
    model, sibling = nn.Sequential(nn.Linear(4, 3), nn.Dropout()), nn.Dropout()
    Subject("mine", model, INPUTS, TARGETS, siblings={"scene": sibling})
    assert not model[1].training
    assert not sibling.training


def test_where_an_input_is() -> None:
    subject = images()
    rows = torch.tensor([3, 0, 7, 3])
    assert torch.equal(subject.locate(subject.inputs[rows].clone()), rows)
    with pytest.raises(LookupError) as raised:
        subject.locate(subject.inputs[:1] + 1)
    assert str(raised.value) == "subject 'images': asked for the truth about an input that is not its own"


def test_what_a_subject_offers() -> None:
    classes = {"classes", "probability", "accuracy", "logits", "third_class"}
    assert images().offers == {"image", "neighbours", *classes}
    assert columns().offers == {"columns", *classes}
    assert tokens().offers == {"embeddings", *classes}
    rich = Subject(
        "rich",
        MODEL,
        INPUTS - INPUTS.mean(0),
        TARGETS,
        reference=lambda n, generator: torch.zeros(n, 4),
        regions=torch.arange(4),
        truth={"mask": INPUTS > 0},
        causal=True,
        siblings={"shuffled_labels": MODEL},
        recipe=Recipe(lambda: MODEL, dict),
    )
    more = {
        "reference",
        "regions",
        "mask",
        "causal",
        "sibling shuffled_labels",
        "recipe",
    }
    assert rich.offers == {"columns", *classes, *more}


@pytest.mark.parametrize(("make", "spatial"), [(images, (12, 12)), (columns, (6,)), (tokens, (5,))])
def test_features_that_are_ranked(make: Any, spatial: tuple[int, ...]) -> None:
    assert make().spatial == spatial


def test_the_fingerprint_follows_all_that_a_result_can_depend_on() -> None:
    def fingerprint(**changed: Any) -> str:
        parts: dict[str, Any] = {"model": MODEL, "inputs": INPUTS, "targets": TARGETS, **changed}
        return Subject("mine", **parts).fingerprint

    assert fingerprint() == fingerprint()
    others = [
        fingerprint(model=nn.Linear(4, 3)),
        fingerprint(inputs=INPUTS + 1),
        fingerprint(targets=TARGETS * 0),
        fingerprint(truth={"mask": INPUTS > 0}),
        fingerprint(siblings={"scene": MODEL}),
        fingerprint(regions=torch.arange(4)),
    ]
    assert len({fingerprint(), *others}) == 7


def test_moving_to_where_it_is_changes_nothing() -> None:
    subject = images()
    assert subject.to(torch.device("cpu")) is subject


def test_a_subject_on_another_device_leaves_the_model_where_it_is() -> None:
    subject = columns()
    moved = subject.to(torch.device("cpu:0"))  # another name of the same device, so that no GPU is needed
    assert moved is not subject
    assert moved.model is not subject.model
    assert moved.fingerprint == subject.fingerprint
    subject.model.zero_grad()
    next(moved.model.parameters()).data.zero_()
    assert bool(next(subject.model.parameters()).any())


def test_a_model_that_cannot_be_copied_is_told() -> None:
    subject = columns()
    subject.model.cached = torch.ones(2, requires_grad=True) * 2  # no leaf, which deepcopy refuses
    with pytest.raises(SubjectError, match=r"cannot be copied to cpu:0: .*; make the subject with"):
        subject.to(torch.device("cpu:0"))


def test_inputs_have_to_be_finite() -> None:
    inputs = torch.zeros(3, 4)
    inputs[1, 2] = float("nan")
    with pytest.raises(SubjectError, match=r"expected finite inputs, came NaN .*, first in row 1"):
        Subject("s", nn.Linear(4, 2), inputs, torch.zeros(3, dtype=torch.int64))


def test_inputs_that_require_gradients_are_leaves_of_no_graph() -> None:
    """A method's own copy of them is a leaf then, as it expects."""
    subject = Subject("mine", MODEL, INPUTS.clone().requires_grad_(), TARGETS)
    assert not subject.inputs.requires_grad
    assert subject.inputs.clone().requires_grad_().is_leaf


def test_a_subject_is_printed_in_a_line() -> None:
    assert repr(Subject("mine", MODEL, INPUTS, TARGETS)) == (
        f"<Subject mine: {type(MODEL).__name__}, {tuple(INPUTS.shape)} columns, 3 classes>"
    )


def test_the_mean_is_far_from_zero_by_half_a_deviation_of_some_column() -> None:
    model = torch.nn.Linear(2, 2)
    for count, offset, far in ((25, 0.4, False), (25, 0.7, True), (25, -0.7, True), (2, 0.7, False)):
        moved = torch.tensor([[1.0, 1], [-1, -1]]).repeat(count, 1) + torch.tensor([0.0, offset])
        assert Subject("mine", model, moved, torch.zeros(2 * count).long()).far_from_zero == far
