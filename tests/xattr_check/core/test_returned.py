"""What models return, and what is read from it."""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xattr_check import Subject, SubjectError

INPUTS = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
Pair = namedtuple("Pair", ["logits", "features"])


@dataclass
class Found:
    logits: Tensor
    loss: Tensor | None = None


class Inner(nn.Module):
    """Three logits, returned as a function makes of them."""

    def __init__(self, give: Callable[[Tensor], Any], outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.give = nn.Linear(6, 4), nn.Linear(4, outputs), give

    def forward(self, inputs: Tensor) -> Any:
        return self.give(self.head(self.body(inputs).tanh()))


def plain(model: Inner) -> Tensor:
    return model.head(model.body(INPUTS).tanh())


def made(model: nn.Module, **options: Any) -> Subject:
    return Subject("mine", model, INPUTS, torch.zeros(9, dtype=torch.int64), **options)


@pytest.mark.parametrize(
    ("give", "select"),
    [
        (lambda z: {"loss": None, "logits": z}, "logits"),
        (lambda z: {"logits": z, "loss": None}, 0),
        (lambda z: Found(z), "logits"),
        (lambda z: Pair(z, z + 1), "logits"),
        (lambda z: (z + 1, z), 1),
        (lambda z: [z], -1),
        (lambda z: z[:, :, None, None].expand(-1, -1, 2, 2), lambda dense: dense.mean((2, 3))),
        (lambda z: z[:, None].expand(-1, 5, -1), lambda tokens: tokens[:, 0]),
    ],
)
def test_a_part_is_selected(give: Callable[[Tensor], Any], select: Any) -> None:
    model = Inner(give)
    subject = made(model, select=select, siblings={"other": Inner(give)})
    torch.testing.assert_close(subject.model(INPUTS), plain(model))
    assert subject.examination.outputs == 3
    # The modules are the user's own, under the names that the user gave them.
    assert dict(subject.model.named_modules())["head"] is model.head
    assert isinstance(subject.model, Inner)
    assert not isinstance(model(INPUTS), Tensor) or model(INPUTS).ndim > 2
    assert torch.equal(subject.siblings["other"](INPUTS), subject.model(INPUTS))


def test_models_are_told_apart_by_what_is_read() -> None:
    model = Inner(lambda z: (z, 2 * z))
    prints = {made(model, select=select).fingerprint for select in (0, 1, lambda both: both[0] + both[1])}
    assert len(prints) == 3
    assert made(model, select=0).fingerprint == made(model, select=0).fingerprint


def test_what_is_hooked_stays_with_one_of_them() -> None:
    model = Inner(lambda z: (z,))
    subject = made(model, select=0)
    subject.model.register_forward_hook(lambda *_: None)
    assert not model._forward_hooks


def test_one_logit_is_two_outputs() -> None:
    for give in (lambda z: z, lambda z: z.squeeze(1)):
        model = Inner(give, 1)
        subject = made(model, output="margin")
        logit = plain(model)
        torch.testing.assert_close(subject.model(INPUTS), torch.cat([-logit, logit], 1))
        assert made(model, output="value").model(INPUTS).shape == (9, 1)


@pytest.mark.parametrize(
    ("give", "outputs", "options", "told"),
    [
        (
            lambda z: {"logits": z, "hidden": z},
            3,
            {},
            "expected the model to return a tensor of outputs (N, K), came dict of 'logits', 'hidden'; "
            "say which part is explained: select='logits', one of 'logits', 'hidden'",
        ),
        (lambda z: Found(z), 3, {}, "came Found of 'logits'; say which part is explained: select='logits', "),
        (lambda z: (z, None), 3, {}, "came tuple of 0; say which part is explained: select=0, one of 0"),
        (lambda z: None, 3, {}, "came NoneType; wrap the model in a module that returns them"),
        (lambda z: Found(z), 3, {"select": "logit"}, "expected select= one of 'logits', came 'logit'"),
        (lambda z: (z,), 3, {"select": 1}, "expected select= one of 0, came 1"),
        (lambda z: Found(z), 3, {"select": "loss"}, "expected select='loss' to give a tensor of outputs"),
        (lambda z: z, 3, {"select": 0}, "expected no select=0 for a model that returns one tensor, came a"),
        (lambda z: z[..., None, None], 3, {}, "by a function, select=lambda outputs: outputs.mean((2, 3))"),
        (lambda z: z[:, None], 3, {}, "by a function, select=lambda outputs: outputs.mean(1)"),
        (lambda z: z, 1, {}, "expected output='margin' for one logit of two classes, or output='value' for"),
        (
            lambda z: z,
            3,
            {"output": "margin"},
            "expected one logit (N, 1) for output='margin', came 3 ",
        ),
        (
            lambda z: z,
            1,
            {"output": "classes"},
            "expected at least two outputs for output='classes', came ",
        ),
        (
            lambda z: z,
            3,
            {"output": "logits"},
            "expected output= one of classes, labels, value, margin, ",
        ),
        (lambda z: z.sigmoid(), 3, {"output": "labels"}, "came what a sigmoid makes of them; leave out its"),
        (lambda z: z.sigmoid(), 1, {"output": "margin"}, "came what a sigmoid makes of them; leave out its"),
        (lambda z: z.softmax(1), 3, {"output": "labels"}, "came probabilities that sum to one"),
    ],
)
def test_what_cannot_be_read_is_said(
    give: Callable[[Tensor], Any], outputs: int, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(SubjectError) as raised:
        made(Inner(give, outputs), **options)
    assert str(raised.value).startswith("subject 'mine': ")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_real_targets_are_no_numbers_of_outputs() -> None:
    with pytest.raises(SubjectError, match=r"which output is explained, .*; for real values say"):
        Subject("mine", Inner(lambda z: z, 1), INPUTS, torch.randn(9), output="value")
