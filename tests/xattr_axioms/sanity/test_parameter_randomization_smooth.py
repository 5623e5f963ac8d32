"""Averaged maps against a loop over noisy copies; told, and gated only on request."""

import pytest
import torch
from broken_methods import broken
from judging import judge, measured
from subjects import columns, images
from torch import Tensor, nn

from xattr_axioms.sanity.parameter_randomization_smooth import _averaged
from xattr_check import AtMost, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_methods import input_x_gradient

NAME = "parameter_randomization_smooth"


@pytest.mark.parametrize("make", [columns, images])
def test_the_mean_of_maps_one_copy_after_the_other(make: object, run: Run) -> None:
    subject: Subject = make()  # type: ignore[operator]
    draw = next(run.draws(NAME, subject, 6))
    method = Explainer.of(load_method("xattr:input_x_gradient"), subject, run)
    found = _averaged(method, subject, draw, 5, 0.3)(subject.model, draw.inputs, draw.targets)
    over = (0, 2, 3) if subject.is_image else (0,)
    deviation = subject.inputs.std(over, keepdim=True)[0]
    moves = torch.randn(5, *subject.inputs.shape[1:], generator=draw.generator("noise"))
    for row in range(6):
        one, target = draw.inputs[row], draw.targets[row : row + 1]
        maps = [
            input_x_gradient(subject.model, (one + 0.3 * deviation * move)[None], target) for move in moves
        ]
        assert torch.allclose(found[row], torch.cat(maps).mean(0), atol=1e-6)


class Masked(nn.Module):
    """Three outputs of the sum of the words (N, T, 4) that are no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(4, 3)

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.tanh(inputs * attention_mask[..., None]).sum(1))
        return logits


def test_padding_stays_as_it_is(run: Run) -> None:
    mask = (torch.arange(5) < torch.arange(12)[:, None] % 4 + 2).long()
    inputs = torch.randn(12, 5, 4, generator=torch.Generator().manual_seed(0)) * mask[..., None]
    model = Masked()
    targets = model(inputs, mask).argmax(1)
    padded = Subject("padded", model, inputs, targets, layout="embeddings", context={"attention_mask": mask})
    seen: list[Tensor] = []

    def watched(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(inputs)
        return input_x_gradient(model, inputs, targets)

    draw = next(run.draws(NAME, padded, 12))
    method = Explainer.of(load_method(watched), padded, run)
    with draw.scope():
        _averaged(method, padded, draw, 3, 0.5)(padded.model, draw.inputs, draw.targets)
    assert draw.valid is not None
    assert not draw.valid.all()
    copies = torch.cat(seen).reshape(3, *draw.inputs.shape)
    assert torch.equal((copies != draw.inputs).all(-1), draw.valid.expand(3, -1, -1))


@pytest.mark.parametrize("method", ["xattr:edges", "xattr:random", broken("edges_in_disguise")])
def test_what_asks_no_model_stays_the_same(method: object, run: Run) -> None:
    verdict = judge(NAME, method, images(), run)
    assert (verdict.status, verdict.gate) == ("pass", "none")
    assert verdict.interval is not None
    assert verdict.interval.value == pytest.approx(1, abs=0.05)


def test_a_gate_on_request(run: Run) -> None:
    verdict = judge(f"{NAME}?copies=2", "xattr:edges", images(count=64), run, gate=AtMost(0.5))
    assert verdict.status == "fail"


def test_a_map_of_the_model_becomes_another_one(run: Run) -> None:
    found, _ = measured(NAME, "xattr:gradient", images(), run)
    other, _ = measured(f"{NAME}?copies=3&noise=0.2", "xattr:gradient", images(), run)
    assert float(found.samples.mean()) < 0.7
    assert not torch.equal(found.samples, other.samples)
    assert set(found.evidence) == {"spearman", "spearman_magnitude", "ssim", "hog"}
