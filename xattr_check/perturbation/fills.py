"""What stands where a feature is removed."""

from typing import Literal

import torch
from torch import Tensor

from xattr_check.core.context import current
from xattr_check.core.layouts import Beside, blurred
from xattr_check.core.run import Draw, Run, current_run
from xattr_check.core.subject import Subject
from xattr_check.errors import Undefined, UnknownInput
from xattr_check.perturbation.impute import imputed
from xattr_check.perturbation.inpaint import expect_enough, half_of, inpaint
from xattr_check.perturbation.outputs import Absent

# What is the same whatever else is removed, and what is not.
Fixed = Literal["mean", "zero", "black", "blur", "noise", "reference"]
Fill = Literal[Fixed, "imputed", "inpainted"]
# What the features that are removed are then, in words.
REMOVED: dict[str, str] = {
    "mean": "replaced by the data's mean",
    "zero": "replaced by zero",
    "black": "replaced by black",
    "blur": "blurred",
    "noise": "replaced by noise",
    "reference": "replaced by the subject's reference",
    "imputed": "imputed from those around them",
    "inpainted": "inpainted from those around them",
}
# Noise on imputed pixels, over the deviation of the data, so that it does not tell where pixels were removed.
IMPUTED_NOISE = 0.1


def absent(fill: Fill, subject: Subject, draw: Draw) -> Absent:
    """What stands for the removed features of a draw's inputs.

    fill: as in `fixed`, or `imputed`: each image's own pixels around what is removed, by the noisy linear
        imputation of [rong2022], so that the mask does not show; or `inpainted`: what a small network guesses
        from those around, which learned it from the other half of the subject's images.

    Raises Undefined for `imputed` and `inpainted` where there are no images, for the latter where they are
    too few to learn from, and as `fixed` does.
    """
    if fill == "inpainted":
        expect_enough(subject)
        return _inpainting(subject, draw.inputs, draw.indices, draw.run.seed, draw.run)
    if fill != "imputed":
        return fixed(fill, subject, draw)
    if subject.layout.name != "image":  # the systems are of rows and columns
        raise Undefined("fill=imputed takes pixels from those around them, and these inputs are no images")
    inputs, mean, noise = draw.inputs, mean_fill(subject, draw.inputs), IMPUTED_NOISE * _noise(subject, draw)

    def imputation(rows: Tensor, keep: Tensor) -> Tensor:
        # What has nothing left around it is the mean.
        return mean[rows] + imputed(inputs[rows] - mean[rows], keep) + noise[rows]

    return imputation


def inpainting(subject: Subject, inputs: Tensor, seed: int) -> Absent:
    """What stands for the removed features of images (N, C, H, W), which may be any: as `inpainted`.

    Of the subject's own inputs, none is filled by the network that learned from it; what is no input of the
    subject is filled as the first of them is. In the midst of a run its store keeps the networks.

    Raises Undefined where there are no images, or too few to learn from.
    """
    expect_enough(subject)
    known = current()
    if known is None:
        known = torch.tensor([_place(subject, row[None]) for row in inputs], dtype=torch.int64)
    return _inpainting(subject, inputs, known.expand(len(inputs)), seed, current_run())


def _place(subject: Subject, row: Tensor) -> int:
    """Which of the subject's inputs one (1, *F) is, the first where it is none."""
    try:
        return int(subject.locate(row))
    except UnknownInput:
        return 0


def _inpainting(subject: Subject, inputs: Tensor, indices: Tensor, seed: int, run: Run | None) -> Absent:
    half = half_of(subject, indices, seed)
    return lambda rows, keep: inpaint(subject, inputs, half, keep, rows, seed, run)


def fixed(fill: Fixed, subject: Subject, draw: Draw) -> Tensor:
    """(n, *F), what stands for the removed features of a draw's inputs.

    fill: `mean`, the data's, by channel or by column; `zero`, which for normalised images is about the mean
        again; `black`, what a black image is then, as the subject knows; `blur`, the input under a Gaussian
        an eighth of its smallest side wide, the mean where features have no neighbours, as columns; `noise`,
        normal, with the data's mean and deviation; `reference`, drawn from the subject's own. Of tokens, the
        id that stands for no word is in place of the mean and the blur, and `noise` is other words at random.
        Padding stays what it is.

    Raises Undefined for `reference` and `black` where the subject has none.
    """
    inputs = draw.inputs
    if fill == "zero":
        return subject.where_valid(torch.zeros_like(inputs), inputs, draw.indices)
    if fill in ("reference", "black") and fill not in subject.offers:
        raise Undefined(f"needs {fill}, which subject {subject.name!r} does not offer")
    if subject.black is not None and fill == "black":
        return torch.as_tensor(subject.black).to(inputs).expand_as(inputs)
    if subject.reference is not None and fill == "reference":
        found = subject.reference(len(inputs), draw.generator("fill")).to(inputs)
        return subject.where_valid(found, inputs, draw.indices)
    if fill == "blur" and isinstance(subject.layout, Beside):
        # The blur of [petsiuk2018], sigma 15 at 224 pixels, keeps digits legible at 32; an eighth does not.
        # At 224 it is 28 for no such reason, but gates and orders have not been measured there with less.
        return blurred(inputs, min(subject.spatial) / 8)
    if subject.tokens:
        return _other_words(subject, draw) if fill == "noise" else subject.without_words(inputs, draw.indices)
    mean = mean_fill(subject, inputs)
    found = mean + _noise(subject, draw) if fill == "noise" else mean
    return subject.where_valid(found, inputs, draw.indices)


def _other_words(subject: Subject, draw: Draw) -> Tensor:
    """(n, T, E): words of the subject's texts at random, each as often as it comes in them; padding stays."""
    words = subject.inputs.flatten(0, 1) if subject.valid is None else subject.inputs[subject.valid]
    drawn = torch.randint(len(words), draw.inputs.shape[:2], generator=draw.generator("fill"))
    return subject.where_valid(words[drawn.to(words.device)], draw.inputs, draw.indices)


def _noise(subject: Subject, draw: Draw) -> Tensor:
    """(n, *F): normal noise with the deviation of the subject's inputs, by channel or by column."""
    noise = torch.randn(draw.inputs.shape, generator=draw.generator("fill")).to(draw.inputs)
    return noise * subject.layout.deviation(subject.inputs)


def mean_fill(subject: Subject, inputs: Tensor) -> Tensor:
    """The mean of the subject's inputs as inputs (N, *F): by channel, by column, of all words in any place.

    Of tokens, what stands for no word; padding is told by the rows of the present scope.
    """
    index = current()
    if subject.tokens and index is not None:
        return subject.without_words(inputs, index.expand(len(inputs)))
    return subject.mean.expand_as(inputs)
