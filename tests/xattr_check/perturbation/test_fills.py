"""What stands for removed features."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from subjects import columns, images
from torch import Tensor

from xattr_check import Store, Subject, SubjectError, Undefined
from xattr_check.core.layouts import blurred
from xattr_check.core.run import Draw, Run
from xattr_check.perturbation.fills import IMPUTED_NOISE, absent, fixed
from xattr_check.perturbation.impute import imputed


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(store=Store(tmp_path))


def draw_of(subject: Subject, run: Run) -> Draw:
    return next(run.draws("deletion", subject, 8))


@pytest.mark.parametrize("make", [images, columns])
def test_of_their_kind(make: object, run: Run) -> None:
    subject: Subject = make(count=12)  # type: ignore[operator]
    draw = draw_of(subject, run)
    over = (0, 2, 3) if subject.is_image else (0,)
    mean = subject.inputs.mean(over, keepdim=True).expand_as(draw.inputs)
    assert torch.equal(fixed("zero", subject, draw), torch.zeros_like(draw.inputs))
    assert torch.equal(fixed("mean", subject, draw), mean)
    blur = blurred(draw.inputs, min(subject.spatial) / 8) if subject.is_image else mean
    assert torch.equal(fixed("blur", subject, draw), blur)


class OfTokens(torch.nn.Module):
    """A model that does not see where a token is."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, 2)

    def forward(self, inputs: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        logits: Tensor = self.head(inputs.tanh().mean(1))
        return logits if attention_mask is None else logits * attention_mask.sum(1, keepdim=True)


def test_what_stands_for_no_token_is_the_same_in_all_places(run: Run) -> None:
    """Of a model that treats places alike, the same token counts the same in each of them."""
    torch.manual_seed(0)
    inputs = torch.randn(16, 5, 4) + torch.arange(5)[:, None]  # other tokens in other places
    inputs[:, 4] = inputs[:, 0]
    targets = torch.zeros(16, dtype=torch.int64)
    subject = Subject("tokens", OfTokens(), inputs, targets, layout="embeddings")
    draw = draw_of(subject, run)
    for fill in ("mean", "blur"):
        found = fixed(fill, subject, draw)  # type: ignore[arg-type]
        torch.testing.assert_close(found, inputs.mean((0, 1)).expand_as(draw.inputs))
    alone = torch.eye(5, dtype=torch.bool)[None, ..., None]
    without = torch.where(alone, found[:, None], draw.inputs[:, None]).flatten(0, 1)
    scores = subject.model(without).reshape(8, 5, 2)
    torch.testing.assert_close(scores[:, 0], scores[:, 4])
    mask = torch.ones(16, 5)
    mask[::2, 4] = 0
    padded = Subject(
        "tokens", OfTokens(), inputs, targets, layout="embeddings", context={"attention_mask": mask}
    )
    torch.testing.assert_close(padded.mean, inputs[mask.bool()].mean(0))


def test_noise_has_the_moments_of_the_data(run: Run) -> None:
    inputs = torch.randn(512, 4) * torch.tensor([1.0, 2.0, 3.0, 4.0]) + torch.tensor([5.0, 0.0, -5.0, 9.0])
    subject = Subject("columns", torch.nn.Linear(4, 2), inputs, torch.zeros(512, dtype=torch.int64))
    draw = next(run.draws("deletion", subject, 512))
    noise = fixed("noise", subject, draw)
    # Five standard errors of 512 numbers.
    assert bool(((noise.mean(0) - inputs.mean(0)).abs() < 5 * inputs.std(0) / 512**0.5).all())
    assert bool(((noise.std(0) / inputs.std(0) - 1).abs() < 5 / 1024**0.5).all())
    assert torch.equal(noise, fixed("noise", subject, draw))


def test_the_reference_is_the_subject_s_own(run: Run) -> None:
    def reference(count: int, generator: torch.Generator) -> Tensor:
        return torch.rand(count, 6, generator=generator)

    plain = columns()
    subject = replace(plain, reference=reference)
    draw = draw_of(subject, run)
    assert torch.equal(fixed("reference", subject, draw), reference(8, draw.generator("fill")))
    with pytest.raises(Undefined, match="needs reference, which subject 'columns' does not offer"):
        fixed("reference", plain, draw_of(plain, run))


def test_black_is_what_the_subject_says(run: Run) -> None:
    plain = images()
    black = torch.tensor([-2.0, -1.5, 0.5]).reshape(3, 1, 1)
    subject = replace(plain, black=black)
    draw = draw_of(subject, run)
    assert torch.equal(fixed("black", subject, draw), black.expand(8, 3, 12, 12))
    assert torch.equal(fixed("black", replace(plain, black=-2), draw), torch.full((8, 3, 12, 12), -2.0))
    assert len({one.fingerprint for one in (plain, subject, replace(plain, black=-2))}) == 3
    with pytest.raises(Undefined, match="needs black, which subject 'images' does not offer"):
        fixed("black", plain, draw_of(plain, run))


def test_black_is_of_images_and_fits_them() -> None:
    for make, value, told in (
        (columns, 0.0, "black where inputs are images (N, C, H, W), came columns"),
        (images, torch.zeros(5), "black to be a finite number, or what broadcasts to an input, came (5,)"),
        (images, torch.nan, "black to be a finite number, or what broadcasts to an input, came nan"),
        (images, "dark", "black to be a finite number, or what broadcasts to an input, came 'dark'"),
    ):
        with pytest.raises(SubjectError) as raised:
            replace(make(), black=value)
        assert str(raised.value).endswith(f"expected {told}")


def test_imputation_imputes_with_a_little_noise(run: Run) -> None:
    subject = images()
    draw = draw_of(subject, run)
    fill = absent("imputed", subject, draw)
    assert callable(fill)
    rows = torch.tensor([3, 3, 0])
    keep = torch.rand(3, 1, 12, 12) < 0.5
    keep[2] = False
    noise = fill(rows, keep) - imputed(draw.inputs[rows], keep)
    # The same for both masks of an input, and no image is left to impute the third from but the mean.
    torch.testing.assert_close(noise[0], noise[1], rtol=0, atol=1e-4)
    assert 0.5 * IMPUTED_NOISE < float(noise[0].std() / subject.inputs.std()) < 1.5 * IMPUTED_NOISE
    mean = subject.inputs.mean((0, 2, 3))
    assert float((fill(rows, keep)[2].mean((1, 2)) - mean).abs().max()) < 0.1


def test_imputation_is_for_images(run: Run) -> None:
    subject = columns()
    with pytest.raises(Undefined, match="fill=imputed takes pixels from those around them"):
        absent("imputed", subject, draw_of(subject, run))
