"""What stands where a feature is removed."""

from typing import Literal

import torch
from torch import Tensor

from xattr_check.core.layouts import Beside, blurred
from xattr_check.core.run import Draw
from xattr_check.core.subject import Subject
from xattr_check.errors import Undefined
from xattr_check.perturbation.impute import imputed
from xattr_check.perturbation.outputs import Absent

# What is the same whatever else is removed, and what is not.
Fixed = Literal["mean", "zero", "blur", "noise", "reference"]
Fill = Literal[Fixed, "imputed"]
# Noise on imputed pixels, over the deviation of the data, so that it does not tell where pixels were removed.
IMPUTED_NOISE = 0.1


def absent(fill: Fill, subject: Subject, draw: Draw) -> Absent:
    """What stands for the removed features of a draw's inputs.

    fill: as in `fixed`, or `imputed`: each image's own pixels around what is removed, by the noisy linear
        imputation of [rong2022], so that the mask does not show.

    Raises Undefined for `imputed` where there are no images, and as `fixed` does.
    """
    if fill != "imputed":
        return fixed(fill, subject, draw)
    if subject.layout.name != "image":  # the systems are of rows and columns
        raise Undefined("fill=imputed takes pixels from those around them, and these inputs are no images")
    inputs, mean, noise = draw.inputs, mean_fill(subject, draw.inputs), IMPUTED_NOISE * _noise(subject, draw)

    def imputation(rows: Tensor, keep: Tensor) -> Tensor:
        # What has nothing left around it is the mean.
        return mean[rows] + imputed(inputs[rows] - mean[rows], keep) + noise[rows]

    return imputation


def fixed(fill: Fixed, subject: Subject, draw: Draw) -> Tensor:
    """(n, *F), what stands for the removed features of a draw's inputs.

    fill: `mean`, the data's, by channel or by column; `zero`, which for normalised images is about the mean
        again and not black; `blur`, the input under a Gaussian an eighth of its smallest side wide, the mean
        where features have no neighbours, as columns; `noise`, normal, with the data's mean and deviation;
        `reference`, drawn from the subject's own, black among them where that is black.

    Raises Undefined for `reference` where the subject has none.
    """
    inputs = draw.inputs
    if fill == "zero":
        return torch.zeros_like(inputs)
    if fill == "reference":
        if subject.reference is None:
            raise Undefined(f"needs reference, which subject {subject.name!r} does not offer")
        return subject.reference(len(inputs), draw.generator("fill")).to(inputs)
    if fill == "blur" and isinstance(subject.layout, Beside):
        # The blur of [petsiuk2018], sigma 15 at 224 pixels, keeps digits legible at 32; an eighth does not.
        # At 224 it is 28 for no such reason, but gates and orders have not been measured there with less.
        return blurred(inputs, min(subject.spatial) / 8)
    mean = mean_fill(subject, inputs)
    return mean + _noise(subject, draw) if fill == "noise" else mean


def _noise(subject: Subject, draw: Draw) -> Tensor:
    """(n, *F): normal noise with the deviation of the subject's inputs, by channel or by column."""
    noise = torch.randn(draw.inputs.shape, generator=draw.generator("fill")).to(draw.inputs)
    return noise * subject.layout.deviation(subject.inputs)


def mean_fill(subject: Subject, inputs: Tensor) -> Tensor:
    """The mean of the subject's inputs, by channel for images and by column otherwise, as inputs (N, *F)."""
    return subject.layout.mean(subject.inputs).expand_as(inputs)
