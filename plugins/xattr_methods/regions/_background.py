"""A background: what is absent is as in other inputs, or as a network guesses it from what is there."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from xattr_check.core.subject import Subject
from xattr_check.errors import Declined, Undefined
from xattr_check.perturbation.fills import inpainting
from xattr_check.perturbation.inpaint import expect_enough
from xattr_check.perturbation.outputs import Absent
from xattr_methods._arguments import expect_counts, expect_finite, like_inputs

# Inputs (B, *F), a sample of the subject's own, or what is guessed from the rest of each input.
Background = Tensor | Literal["data", "inpainted"]

# What both are where nobody asks for anything else.
BASELINE, BACKGROUNDS = 0.0, 16


def fills_of(
    name: str,
    inputs: Tensor,
    baseline: float | Tensor,
    background: Background | None,
    backgrounds: int,
    seed: int,
    subject: Subject | None,
) -> list[Absent]:
    """What stands where features are absent, each (N, *F): the baseline, or every row of a background.

    That of `inpainted` is a function of what is absent, as `outputs_under` takes it.

    backgrounds: how many of the subject's inputs are drawn, each once, where it has as many.
    Raises ValueError in the name of a method for what does not fit or would not be read, and Declined
    where rows have other inputs of their own, such as ids and padding, that would have to be exchanged too,
    and where there are no images to learn from, or too few.
    """
    if backgrounds != BACKGROUNDS and background in (None, "inpainted"):
        came = "none" if background is None else repr(background)
        raise ValueError(f"{name}: expected background='data' beside backgrounds={backgrounds}, came {came}")
    if background is None:
        return [like_inputs(name, inputs, baseline=baseline)]
    if subject is not None:  # first, since of tokens a baseline is given that nobody asked for
        _expect_possible(name, background, subject)
    if isinstance(baseline, Tensor) or baseline != BASELINE:
        came = "a tensor" if isinstance(baseline, Tensor) else f"{baseline:g}"
        raise ValueError(
            f"{name}: expected a baseline or a background, in whose place it is, came both, baseline {came}"
        )
    if background == "inpainted" and subject is not None:
        return [inpainting(subject, inputs, seed)]
    if isinstance(background, Tensor):
        fitting = background.shape[1:] == inputs.shape[1:] and len(background) > 0
        came = str(tuple(background.shape))
    else:
        fitting, came = background == "data" and subject is not None, repr(background)
        came += " and no subject whose inputs these are" if background in ("data", "inpainted") else ""
    if not fitting:
        shape = ", ".join(map(str, inputs.shape[1:]))
        raise ValueError(
            f"{name}: expected background 'data', 'inpainted' or inputs (B, {shape}) with B ≥ 1, came {came}"
        )
    if isinstance(background, Tensor):
        expect_finite(name, background=background)
        rows = background.detach()
    else:
        assert subject is not None
        expect_counts(name, backgrounds=backgrounds)
        drawn = torch.randperm(len(subject.inputs), generator=torch.Generator().manual_seed(seed))
        rows = subject.inputs[drawn[:backgrounds].to(subject.inputs.device)]
    return [row.expand_as(inputs) for row in rows.to(inputs)]


def _expect_possible(name: str, background: Background, subject: Subject) -> None:
    """Raise Declined, in the name of a method, where a subject's inputs have no such background."""
    if background == "inpainted":
        try:
            expect_enough(subject)
        except Undefined as error:
            raise Declined(f"{name}: {error}") from None
    if background == "data" and subject.context:
        raise Declined(f"{name}: inputs that come with others, as texts, are no background of each other")


def averaged(fills: Sequence[Absent], outputs: Callable[[Absent], Tensor]) -> Tensor:
    """The mean over fills of what outputs are where each of them stands in for the absent."""
    found = outputs(fills[0])
    for fill in fills[1:]:
        found = found + outputs(fill)
    return found / len(fills)
