"""Generated features of every layout: what is certified holds by brute force, the truth is where it says."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from judging import judge, shared_folder
from torch import Tensor, nn

from xattr_check import Invalid, Store, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.layouts import Layout, layout_of
from xattr_check.core.run import Run
from xattr_check.generation import blocks, optimisation
from xattr_check.generation import subjects as module
from xattr_check.generation.blocks import take
from xattr_check.generation.certify import DRAWS, MEDIAN, NINETIETH, REACH, SOFTMAX
from xattr_check.generation.export import description, tensors
from xattr_check.generation.generator import Maker
from xattr_check.generation.noise import calmed, unrest
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples, rounded
from xattr_check.generation.scenarios import scenario
from xattr_check.generation.subjects import generated, make_subject, pack

SHAPES = {"columns": (24,), "embeddings": (12, 3), "signal": (3, 20), "volume": (3, 6, 6, 7)}
# With which a patch can do enough: one of a volume is a small part of it.
SCALES = {"columns": 200.0, "embeddings": 150.0, "signal": 150.0, "volume": 600.0}
AXES = {"embeddings": (1,), "signal": (2,), "volume": (2, 3, 4)}
# Of each layout, what is made on it here.
CASES = [
    *((name, "null", None) for name in SHAPES),
    ("signal", "null", 3),
    ("columns", "double", None),
    ("embeddings", "double", None),
    ("volume", "single", None),
    ("signal", "saturation", None),
    ("columns", "saturation", None),
]


class Means(nn.Module):
    """The mean of each of three kinds of numbers is one logit, which may stop at a bound: (N, *F) to (N, 3).

    The kinds are channels, or every third column.
    """

    scale: Tensor

    def __init__(self, layout: Layout, scale: float, bound: float | None = None) -> None:
        super().__init__()
        self.layout, self.bound = layout, bound
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, inputs: Tensor) -> Tensor:
        kinds = self.layout.by_feature(inputs)
        if self.layout.channels is None:
            kinds = kinds.reshape(len(inputs), -1, 3)
        logits = self.scale * kinds.mean(1)
        return logits if self.bound is None else self.bound * torch.tanh(logits / self.bound)


def toy(name: str, *, times: float = 1, bound: float | None = None) -> Subject:
    """Faint noise whose first and last numbers are the least and the greatest, of every kind in turn."""
    inputs = 0.02 * torch.randn(30, *SHAPES[name], generator=torch.Generator().manual_seed(0))
    for row, flat in enumerate(inputs.reshape(30, -1)):
        flat[row % len(flat)], flat[(row * 7 + 1) % len(flat)] = -1, 1
    inputs[0], inputs[1] = -1, 1
    layout = layout_of(inputs, name)

    def reference(count: int, generator: torch.Generator) -> Tensor:
        return 0.01 * torch.randn(count, *SHAPES[name], generator=generator)

    targets = torch.zeros(30, dtype=torch.int64)
    model = Means(layout, times * SCALES[name], bound)
    return Subject("toy", model, inputs, targets, reference, layout=name)


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Blocks of a few samples, which are enough."""
    with pytest.MonkeyPatch.context() as patch:
        for where in (blocks, optimisation, module):
            patch.setattr(where, "BLOCK", 3)
        patch.setattr(module, "LEAST", 2)
        patch.setitem(module.BLOCKS, "quick", 1)
        yield


Made = Callable[[str, str, int | None], tuple[Maker, Samples]]


@pytest.fixture(scope="module")
def made(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Certified samples of a layout, a scenario and a number of features."""
    run = Run(store=Store(shared_folder(tmp_path_factory, "features of layouts")))

    def of(name: str, kind: str, features: int | None) -> tuple[Maker, Samples]:
        subject = toy(name, times=2, bound=8) if kind == "saturation" else toy(name)
        maker = Maker(subject, Plan.of(subject, scenario(kind, features), steps=200), run)
        return maker, take(maker, 1).samples

    return of


each_case = pytest.mark.parametrize(("name", "kind", "features"), CASES)


def pasted(name: str, one: Tensor, patch: Tensor, where: list[int], side: int) -> Tensor:
    """An input (*F) with a patch, by slices; a mask (*F) where the patch is all ones."""
    found = one.clone()
    if name == "columns":
        for column, value in zip(where, patch, strict=True):
            found[column] = value
        return found
    index: list[Any] = [slice(None)] * one.ndim
    for axis, start in zip(AXES[name], where, strict=True):
        index[axis - 1] = slice(start, start + side)
    found[tuple(index)] = patch
    return found


@each_case
def test_what_is_certified_holds_by_brute_force(
    name: str, kind: str, features: int | None, made: Made
) -> None:
    maker, samples = made(name, kind, features)
    plan, model, certificate = maker.plan.scenario, maker.subject.model, samples.certificate
    assert len(samples) >= 2
    assert samples.patches.shape[1:] == (plan.features, *maker.layout.window_shape(maker.plan.side))
    references, places = maker.draw(samples.draws, DRAWS)
    for row, classes in enumerate(samples.classes.tolist()):
        logits = torch.zeros(DRAWS, plan.coalitions, 3)
        for draw in range(DRAWS):
            for coalition in range(plan.coalitions):
                one = references[row, draw]
                for feature in range(plan.features):
                    if coalition >> feature & 1:
                        where = places[row, draw, feature].tolist()
                        one = pasted(name, one, samples.patches[row, feature], where, maker.plan.side)
                with torch.no_grad():
                    logits[draw, coalition] = model(one[None])[0]
        made_by = [classes[number] for number in plan.makes]
        effects = torch.stack([
            logits[:, 1 << feature, target] - logits[:, 0, target]
            for feature, target in enumerate(made_by)
        ], 1)  # fmt: skip
        unit = effects[:, list(plan.contributing)].amin(1)
        assert float(certificate.effect[row]) == pytest.approx(float(unit.quantile(0.5)), rel=1e-3)
        for change in plan.changes:
            target = classes[change.output]
            found = (logits[:, change.larger, target] - logits[:, change.smaller, target]).abs() / unit
            assert found.quantile(0.5, interpolation="higher") <= MEDIAN
            assert found.quantile(0.9, interpolation="higher") <= NINETIETH
        for feature, target in enumerate(made_by):
            alone = logits[:, 1 << feature].softmax(1)[:, target]
            assert alone.quantile(0.1, interpolation="lower") >= SOFTMAX
            if plan.saturating:
                whole = logits[:, -1, target] - logits[:, 0, target]
                assert (effects[:, feature] / whole).quantile(0.5) >= REACH


@each_case
def test_the_truth_is_right_position_by_position(
    name: str, kind: str, features: int | None, made: Made
) -> None:
    maker, samples = made(name, kind, features)
    found, given, plan = make_subject(maker.subject, maker, samples), maker.subject, maker.plan.scenario
    assert found.layout == given.layout
    assert torch.equal(found.targets, samples.classes[:, 0])
    references, places = maker.draw(samples.composite, 1)
    for row in range(len(samples)):
        one, every = references[row, 0], []
        for feature in range(plan.features):
            where, side = places[row, 0, feature].tolist(), maker.plan.side
            patch = samples.patches[row, feature]
            one = pasted(name, one, patch, where, side)
            covered = pasted(name, torch.zeros(SHAPES[name]), torch.ones_like(patch), where, side)
            every.append(found.layout.scores(covered[None])[0] > 0)
            mask = found.truth[f"mask_{'abc'[feature]}"]
            assert mask.shape == (len(samples), *found.layout.map_shape)
            assert torch.equal(mask[row].flatten(), every[-1])
        assert torch.equal(found.inputs[row], one)
        union = torch.stack(every).any(0)
        assert torch.equal(found.truth["mask"][row].flatten(), union if plan.saturating else every[0])
        assert int(torch.stack(every).sum(0).max()) == 1
        if not plan.saturating:
            other = torch.zeros_like(union) if kind == "single" else every[1]
            assert torch.equal(found.truth["other_mask"][row].flatten(), other)
    oracle = Explainer.of(load_method("xattr:oracle"), found, maker.run)
    shown = oracle(found.model, found.inputs, found.targets)
    assert torch.equal(found.layout.scores(shown) > 0, found.truth["mask"].flatten(1))


@each_case
def test_samples_stay_in_the_range_of_each_number(
    name: str, kind: str, features: int | None, made: Made
) -> None:
    maker, samples = made(name, kind, features)
    low, high = maker.subject.inputs.amin(0), maker.subject.inputs.amax(0)
    composites = make_subject(maker.subject, maker, samples).inputs
    assert (composites >= low - 1e-3).all()
    assert (composites <= high + 1e-3).all()


def test_columns_have_ranges_of_their_own(made: Made) -> None:
    """Columns of other units: a patch takes no value that its column does not."""
    given = toy("columns")
    units = torch.logspace(-2, 5.5, 24)
    model = nn.Sequential(Scaled(1 / units), given.model)
    subject = replace(given, model=model, inputs=given.inputs * units, reference=None)
    plan = replace(Plan.of(subject, scenario("null"), steps=200), noise=0.01)
    maker = Maker(subject, plan, made("columns", "null", None)[0].run)
    samples = take(maker, 1).samples
    assert len(samples) >= 2
    low, high = subject.inputs.amin(0), subject.inputs.amax(0)
    found = make_subject(subject, maker, samples).inputs
    tolerance = 1e-3 * (high - low)
    assert ((found >= low - tolerance) & (found <= high + tolerance)).all()
    assert float(found[:, -1].abs().max()) <= 10**5.5
    # Beyond the reach of half precision patches are stored as they are.
    assert samples.tensors()["patches"].dtype == torch.float32
    assert torch.equal(Samples.of(samples.tensors()).patches, samples.patches)
    assert bool(maker.certify(samples.patches, samples.classes, samples.draws).holds.all())


class Scaled(nn.Module):
    factor: Tensor

    def __init__(self, factor: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.factor


def test_rounding() -> None:
    assert rounded(torch.tensor([0.1])).dtype == torch.float16
    assert rounded(torch.tensor([1e5])).dtype == torch.float32


@pytest.mark.parametrize("name", SHAPES)
def test_what_ships_is_verified(name: str, made: Made) -> None:
    maker, samples = made(name, "null", None)
    shipping = replace(maker.subject, generated={"null": pack(maker, samples)})
    found = generated("null")(shipping, maker.run)
    assert torch.equal(found.inputs, make_subject(maker.subject, maker, samples).inputs)
    weak = replace(shipping, model=Means(shipping.layout, 0.1))
    with pytest.raises(Invalid, match=r"samples that ship with 'toy' keep their certificate"):
        generated("null")(weak, maker.run)


@pytest.mark.parametrize("name", SHAPES)
def test_an_interrupted_block_goes_on(name: str, run: Run) -> None:
    subject = toy(name)
    maker = Maker(subject, Plan.of(subject, scenario("double"), steps=60), run)
    whole, begun = optimisation.Block(maker, 0), optimisation.Block(maker, 0)
    begun.attempt += 1
    begun._restart(torch.arange(3))
    saved = {key: tensor.clone() for key, tensor in begun.state().items()}
    resumed = optimisation.Block(maker, 0)
    resumed.load(saved)
    assert torch.equal(resumed.places, begun.places)
    assert not torch.equal(resumed.places, whole.places)
    for block in (begun, resumed):
        for _ in range(3):
            block.advance()
    assert torch.equal(begun._made(), resumed._made())


@pytest.mark.parametrize("name", SHAPES)
def test_noise_in_place_of_a_reference(name: str, run: Run) -> None:
    subject = replace(toy(name), reference=None)
    maker = Maker(subject, Plan.of(subject, scenario("null")), run)
    found = maker.references(4000, torch.Generator().manual_seed(0))
    low, high = subject.inputs.amin(subject.layout.alike), subject.inputs.amax(subject.layout.alike)
    by = subject.layout.by_feature(found)
    per_column = subject.layout.channels is None
    axes = 0 if per_column else (0, 1)
    centre = subject.inputs.mean(0) if name == "columns" else subject.layout.mean(subject.inputs).flatten()
    if name in ("signal", "volume"):
        centre = (low + high) / 2
    shown = by.squeeze(-1).mean(0) if per_column else by.mean(axes)
    torch.testing.assert_close(shown, centre, atol=0.02, rtol=0)
    # Half as wide, noise does half as much.
    halved = Maker(subject, replace(maker.plan, noise=0.05), run)
    assert unrest(halved) == pytest.approx(unrest(maker) / 2, rel=0.1)
    assert calmed(maker).plan.noise <= maker.plan.noise


@pytest.mark.parametrize("name", SHAPES)
def test_the_file_has_all_that_is_needed(name: str, made: Made) -> None:
    maker, samples = made(name, "null", None)
    found = tensors(maker, samples)
    about = description(maker)
    assert (about["layout"], about["patch"]) == (name, maker.plan.side)
    with torch.no_grad():
        rows, a = torch.arange(len(samples)), found["target_a"]
        said = {
            key: maker.subject.model(found[key])[rows, a]
            for key in ("reference", "only_a", "only_b", "composite")
        }
    effect = said["only_a"] - said["reference"]
    assert ((said["only_b"] - said["reference"]).abs() / effect <= MEDIAN).all()
    assert ((said["composite"] - said["only_a"]).abs() / effect <= MEDIAN).all()


@pytest.mark.parametrize("name", SHAPES)
def test_the_check_tells_a_map_of_the_truth_from_noise(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in (blocks, optimisation, module):
        monkeypatch.setattr(where, "BLOCK", 48)
    subject = toy(name)
    right, wrong = (judge("null_feature", f"xattr:{method}", subject, run) for method in ("oracle", "random"))
    assert right.status == "pass", right.text
    assert wrong.status == "fail", wrong.text


def test_evidence_has_no_composites_to_draw(made: Made, run: Run) -> None:
    maker, samples = made("signal", "null", None)
    shipping = replace(maker.subject, generated={"null": pack(maker, samples)})
    found = judge("null_feature", "xattr:input_x_gradient", shipping, run)
    assert "composite" not in found.evidence
    assert "signed_ratio" in found.evidence
