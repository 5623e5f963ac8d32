"""Infidelity and ROAD against captum's and pytorch-grad-cam's, on the same maps and perturbations."""

import numpy as np
import pytest
import torch
from subjects import images, sharp
from torch import Tensor

import xattr_check
from xattr_axioms.faithfulness.infidelity import PARTS, random_parts
from xattr_axioms.faithfulness.road import SHARES
from xattr_check import Axiom, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Draw, Run
from xattr_check.core.units import By, Units
from xattr_check.perturbation import fills
from xattr_check.perturbation.fills import fixed
from xattr_check.perturbation.impute import imputed

KNOWN = xattr_check.checks()


def drawn(check: Axiom, subject: Subject, run: Run) -> Draw:
    return next(run.draws(check.name, subject, check.inputs))


@pytest.mark.parametrize("by", ["pixels", "channels", "regions"])
@pytest.mark.parametrize("method", ["xattr:input_x_gradient", "xattr:gradient"])
def test_infidelity_is_captums_over_the_mean_square_of_the_changes(method: str, by: By, run: Run) -> None:
    """captum multiplies maps by what the caller says was perturbed, and is right with `normalize=True`.

    Its own idea of a perturbation, x − x′, fits sensitivities alone. Two things it does not do: it takes a
    factor of either sign, so that a map which has to be negated passes for faithful, and leaves the square in
    the unit of the output, so that inputs with large outputs decide the mean.
    """
    infidelity = pytest.importorskip("captum.metrics").infidelity
    subject = sharp(images())
    check = KNOWN["infidelity"].with_parameters({"by": by})
    draw = drawn(check, subject, run)
    found = check(Explainer.of(load_method(method), subject, run), subject, draw).samples
    units, fill = Units.of(subject, by), fixed("mean", subject, draw)
    removed = units.spread(random_parts(subject, by, units.count, PARTS, draw.generator("parts")))
    removed = removed if by == "channels" else removed[:, None].expand(-1, 3, -1, -1)

    def perturbed(inputs: Tensor) -> tuple[Tensor, Tensor]:
        # captum repeats each input as often as there are perturbations, one after the other.
        where, other = removed.repeat(len(draw.inputs), 1, 1, 1), fill.repeat_interleave(PARTS, 0)
        given = torch.where(where, other, inputs)
        return (inputs - given) if load_method(method).sensitivity else where.to(inputs), given

    maps = load_method(method)(subject.model, draw.inputs, draw.targets)
    theirs = infidelity(
        subject.model, perturbed, draw.inputs, maps, target=draw.targets, n_perturb_samples=PARTS,
        normalize=True,
    )  # fmt: skip
    with torch.no_grad():
        whole = subject.model(draw.inputs).gather(1, draw.targets[:, None])
        repeated = draw.inputs.repeat_interleave(PARTS, 0)
        outputs = subject.model(perturbed(repeated)[1])
    changes = whole - outputs.gather(1, draw.targets.repeat_interleave(PARTS)[:, None]).reshape(-1, PARTS)
    expected = theirs / changes.square().mean(1)
    positive = found < 1
    assert int(positive.sum()) >= 6
    torch.testing.assert_close(found[positive], expected[positive].double(), atol=1e-4, rtol=1e-3)
    assert bool((expected[~positive] < 1 + 1e-4).all())


@pytest.mark.parametrize("share", SHARES)
def test_the_imputation_is_that_of_pytorch_grad_cam_without_its_noise(share: float) -> None:
    """Theirs solves each image's system by itself on the CPU; ours all at once, to 1 % of the range."""
    imputer = pytest.importorskip("pytorch_grad_cam.metrics.road").NoisyLinearImputer(noise=0.0)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 3, 24, 24, generator=generator).cumsum(2).cumsum(3) / 24
    keep = torch.rand(4, 1, 24, 24, generator=generator) > share
    expected = torch.stack([imputer(one, mask[0].float()) for one, mask in zip(inputs, keep, strict=True)])
    found = imputed(inputs, keep)
    error = (found - expected).abs().amax() / (inputs.amax() - inputs.amin())
    assert float(error) < 0.01


def test_the_curve_is_that_of_pytorch_grad_cam(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities with the highest shares imputed, without either's noise.

    Theirs draws its noise unseeded, so that a score differs from call to call; it is absolute, 0.01 whatever
    the range of the inputs. Its `percentile` is what is kept, not what is removed, and removes all pixels
    that tie with the last one: percentiles are chosen here so that both remove the same.
    """
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    metrics = pytest.importorskip("pytorch_grad_cam.metrics.perturbation_confidence")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    monkeypatch.setattr(fills, "IMPUTED_NOISE", 0.0)
    subject = sharp(images())
    draw = drawn(KNOWN["road"], subject, run)
    method = Explainer.of(load_method("xattr:input_x_gradient"), subject, run)
    found = KNOWN["road"](method, subject, draw).evidence["curve"]
    scores = method.scores(subject.model, draw.inputs, draw.targets).reshape(-1, 12, 12).numpy()
    wanted = [targets.ClassifierOutputSoftmaxTarget(int(target)) for target in draw.targets]
    for column, share in enumerate(SHARES):
        below = 144 - round(share * 144)
        remover = metrics.RemoveMostRelevantFirst(
            100 * (below - 0.5) / 143, road.NoisyLinearImputer(noise=0.0)
        )
        metric = metrics.PerturbationConfidenceMetric(remover)
        theirs = metric(draw.inputs, np.float32(scores), wanted, subject.model, return_diff=False)
        assert found[:, column].numpy() == pytest.approx(theirs, abs=0.01)
