"""What networks of subjects of all kinds use, side by side."""

from dataclasses import replace

import pytest
import torch
from subjects import columns, images, tokens
from torch import Tensor, nn

from xattr_check import ModelReport, Subject, UsageError, model_report


class Columns(nn.Module):
    """A sum of columns, each with its weight: (N, D) -> (N, 1)."""

    def __init__(self, *weights: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([weights]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weights.T


class Channels(nn.Module):
    """The brightness inside and outside of the middle, or how red it is, for two classes of one margin."""

    def __init__(self, inside: float, outside: float, colour: bool = False) -> None:
        super().__init__()
        self.inside, self.outside, self.colour = inside, outside, colour

    def forward(self, inputs: Tensor) -> Tensor:
        seen = inputs[:, 0] - inputs[:, 1] if self.colour else inputs.mean(1)
        middle = seen[:, 4:8, 4:8].sum((1, 2))
        return self.inside * middle + self.outside * (seen.sum((1, 2)) - middle)


def table() -> Subject:
    inputs = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    model, other = Columns(3.0, 1.0, 0.0), Columns(0.0, 0.0, 1.0)
    return Subject(
        "table", model, inputs, torch.zeros(2).long(), output="value", siblings={"other": other},
        regions=torch.tensor([0, 1, 1]),
    )  # fmt: skip


def squares() -> Subject:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(6, 3, 12, 12, generator=generator)
    mask = torch.zeros(6, 12, 12, dtype=torch.bool)
    mask[:, 4:8, 4:8] = True
    siblings = {"outside": Channels(0.0, 1.0), "colour": Channels(1.0, 0.0, colour=True)}
    return Subject(
        "squares", Channels(1.0, 0.0), inputs, torch.ones(6).long(), output="margin",
        truth={"mask": mask}, siblings=siblings,
    )  # fmt: skip


def test_foreground_and_colour_of_networks_side_by_side() -> None:
    found = model_report(squares(), grids=[3], inputs=4, samples=32)
    assert [one.name for one in found.networks] == ["model", "outside", "colour"]
    shares = {
        (one.name, pair.regions): [figure.interval.value for figure in pair.total]
        for one in found.networks
        for pair in one.pairs
    }
    approx = pytest.approx
    assert shares["model", "mask"] == [approx(0, abs=1e-9), approx(1, abs=0.15)]
    assert shares["outside", "mask"] == [approx(1, abs=0.15), approx(0, abs=1e-9)]
    assert shares["colour", "colour"] == [approx(0, abs=1e-6), approx(1, abs=0.15)]
    assert [(one.regions, one.count, one.forwards) for one in found["model"].ratios] == [
        ("grid:3", 9, 32 * 11)
    ]
    assert found.notes == ()


def test_groups_of_columns_and_what_does_not_apply() -> None:
    found = model_report(table(), samples=64)
    assert [(one.regions, one.count) for one in found["other"].ratios] == [("columns", 2)]
    assert found["other"].ratios[0].top.interval.value == pytest.approx(1, abs=0.2)
    assert found["model"].pairs == ()
    assert found.notes == ()


def test_a_network_that_answers_to_nothing_is_told() -> None:
    subject = replace(table(), siblings={"silent": Columns(0.0, 0.0, 0.0)})
    found = model_report(subject, samples=16)
    assert found.notes[-1] == (
        "silent, columns: the output is the same whichever regions fade on 2 of 2 inputs, which do not count"
    )


def test_one_region_has_nothing_to_share() -> None:
    subject = replace(table(), regions=torch.zeros(3).long())
    assert model_report(subject).notes[0] == "columns: 1 region, where a share takes 2 at least"


@pytest.mark.parametrize("make", [columns, images, tokens])
def test_any_subject_without_masks_or_siblings(make: type) -> None:
    found = model_report(make(), grids=[2], inputs=2, samples=8)
    assert [one.name for one in found.networks] == ["model"]
    assert len(found["model"].ratios) == 1


def test_each_network_is_asked_for_its_own_answer() -> None:
    """Else a network that names something else would be explained for what it does not say."""
    subject = columns()
    wrong = replace(subject, targets=(subject.targets + 1) % 3)
    one, other = (model_report(each, inputs=3, samples=16) for each in (subject, wrong))
    assert one.document()["networks"] == other.document()["networks"]


def test_neither_chunks_nor_other_networks_change_figures() -> None:
    subject = squares()
    options = {"grids": [2], "inputs": 3, "samples": 16}
    whole = model_report(subject, **options)  # type: ignore[arg-type]
    alone = model_report(subject, networks=["outside"], memory=1, **options)  # type: ignore[arg-type]
    assert alone.document()["networks"] == [whole.document()["networks"][1]]


def test_the_same_regions_are_looked_at_once() -> None:
    """A grid of more cells than there are pixels has one of each."""
    found = model_report(squares(), grids=[12, 50], inputs=1, samples=2, networks=["model"])
    (many,) = found["model"].ratios
    assert f"grid:50: the {many.count} regions are those of grid:12" in found.notes


def test_a_seed_may_be_below_zero() -> None:
    one, other = (model_report(table(), samples=4, seed=seed) for seed in (-1, -2))
    assert one.document()["networks"] != other.document()["networks"]


def test_steps_are_watched() -> None:
    seen: list[tuple[int, int]] = []
    model_report(table(), samples=4, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 4) for done in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"networks": ["robust"]}, "networks 'robust': expected some of model, other"),
        ({"networks": "robust"}, "networks 'robust': expected some of model, other"),
        ({"networks": []}, "networks=[]: expected some of model, other"),
        ({"samples": 50}, "samples=50: expected a power of two, 2 or more"),
        ({"samples": 1}, "samples=1: expected a power of two, 2 or more"),
        ({"inputs": 0}, "inputs=0: expected at least 1"),
        ({"grids": [4, 0]}, "grids=[4, 0]: expected cells of at least 1"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as raised:
        model_report(table(), **options)  # type: ignore[arg-type]
    assert str(raised.value) == sentence


def test_a_report_is_data() -> None:
    found = model_report(table(), samples=8)
    assert isinstance(found, ModelReport)
    network = found.document()["networks"][0]
    assert set(network["ratios"][0]) == {
        "regions", "count", "forwards", "ratio", "above", "noise", "beyond",
    }  # fmt: skip
    assert set(network["ratios"][0]["noise"]) == {"value", "interval"}


def test_a_spec_in_place_of_a_subject_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        model_report("digits")  # type: ignore[arg-type]
    told = "subject: expected a Subject, came 'digits'; load_subject('digits') makes one"
    assert str(caught.value) == told


def test_a_ratio_that_no_share_can_be_is_told() -> None:
    found = [model_report(squares(), grids=[4], inputs=2, samples=2, seed=seed) for seed in range(8)]
    told = [note for one in found for note in one.notes if "cannot be outside 0 to 1" in note]
    assert told
    assert told[0].endswith("2 samples are too few; ask for 8")
