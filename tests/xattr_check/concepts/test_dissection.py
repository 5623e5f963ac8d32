"""Network dissection, held against brute force and against units that are planted."""

import math

import pytest
import torch
from subjects import TinyNetwork, images
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import ConceptError, load_subject, network_dissection
from xattr_check.concepts.dissection import Activations, Dissection
from xattr_check.concepts.thresholds import Tails
from xattr_check.concepts.units import Units
from xattr_check.networks.randomize import every_layer, randomized
from xattr_check.networks.usage import peak_memory

SIDE = 12


class Copies(nn.Module):
    """Hands its input on through a layer `units`, which is given back as the mean of each channel."""

    def __init__(self, shrink: int = 1) -> None:
        super().__init__()
        self.units: nn.Module = nn.AvgPool2d(shrink) if shrink > 1 else nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.units(inputs).mean((2, 3))
        return found


def squares(count: int = 20, side: int = 8, seed: int = 0) -> Tensor:
    """(N, 3, 32, 32) bool: a square in each channel at even places, in the last one of every other."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(count, 3, 32, 32, dtype=torch.bool)
    for image in found:
        for channel in image:
            top, left = (
                2 * int(one) for one in torch.randint(0, (32 - side) // 2, (2,), generator=generator)
            )
            channel[top : top + side, left : left + side] = True
    found[::2, 2] = False
    return found


def textbook(
    activations: Tensor,
    masks: dict[str, Tensor],
    quantile: float = 0.005,
    *,
    per_image: bool = False,
    mean_of_ratios: bool = False,
    all_images: bool = False,
) -> Tensor:
    """(K, C): intersection over union of each unit with each concept, image by image; or three mistakes."""
    size = next(iter(masks.values())).shape[-2:]
    found = torch.zeros(activations.shape[1], len(masks), dtype=torch.float64)
    for unit in range(activations.shape[1]):
        own = activations[:, unit]
        for column, mask in enumerate(masks.values()):
            both, either, ratios = 0, 0, []
            for image in range(len(own)):
                label = mask[image].reshape(size)
                if not label.any() and not all_images:
                    continue
                values = (own[image] if per_image else own).flatten().sort(descending=True).values
                above = max(1, int(quantile * len(values)))
                cutoff = (values[above - 1] + values[above]) / 2
                marked = (
                    functional.interpolate(own[image][None, None], size=size, mode="bilinear")[0, 0] > cutoff
                )
                both += int((marked & label).sum())
                either += int((marked | label).sum())
                ratios.append(int((marked & label).sum()) / max(1, int((marked | label).sum())))
            found[unit, column] = sum(ratios) / len(ratios) if mean_of_ratios else both / either
    return found


def noise_case() -> tuple[nn.Module, Tensor, dict[str, Tensor], Tensor]:
    """A small network in float64, images, masks of three concepts, and the units of its second layer."""
    subject = images(40)
    model = subject.model.double()
    generator = torch.Generator().manual_seed(1)
    # Of other contrast each, so that a quantile of each image is another one.
    contrast = torch.rand(40, 1, 1, 1, generator=generator, dtype=torch.float64) * 3
    inputs = subject.inputs.double() * contrast
    large = torch.rand(40, SIDE, SIDE, generator=generator) > 0.3
    rare = large & (torch.arange(40) % 4 == 0)[:, None, None]
    masks = {"bright": inputs.mean(1) > 1, "large": large, "rare": rare}
    with torch.no_grad():
        hidden = model.relu1(model.norm1(model.conv1(inputs)))
        units = model.relu2(model.norm2(model.conv2(hidden)))
    return model, inputs, masks, units


@pytest.mark.parametrize("quantile", [0.005, 0.05])
@pytest.mark.parametrize("memory", [2**28, 2**12])
def test_ratios_of_sums_by_brute_force(quantile: float, memory: int) -> None:
    model, inputs, masks, units = noise_case()
    found = network_dissection(model, inputs, masks, layer="relu2", quantile=quantile, memory=memory)
    assert found.layer == "relu2"
    assert found.concepts == ("bright", "large", "rare")
    torch.testing.assert_close(found.ious, textbook(units, masks, quantile))
    assert found.shown.tolist() == [int(mask.flatten(1).any(1).sum()) for mask in masks.values()]


@pytest.mark.parametrize("mistake", ["per_image", "mean_of_ratios", "all_images"])
def test_the_usual_mistakes_come_out_differently(mistake: str) -> None:
    model, inputs, masks, units = noise_case()
    found = network_dissection(model, inputs, masks, layer="relu2", quantile=0.05)
    wrong = textbook(units, masks, 0.05, **{mistake: True})
    assert float((found.ious - wrong).abs().max()) > 1e-3


def test_a_unit_is_on_on_its_share_of_all_places() -> None:
    model, inputs, masks, units = noise_case()
    found = network_dissection(model, inputs, masks, layer="conv2", quantile=0.01)
    places = len(inputs) * units[0, 0].numel()
    assert found.on.tolist() == [int(0.01 * places) / places] * 12


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_a_copy_of_a_mask_has_an_iou_of_one(scale: float) -> None:
    """Also where it is on on far more than the share of all places, and whatever it is elsewhere."""
    masks = squares()
    found = network_dissection(Copies().eval(), masks * abs(scale) + min(0, scale), named(masks))
    torch.testing.assert_close(found.ious.diagonal(), torch.ones(3, dtype=torch.float64))
    assert float((found.ious - torch.eye(3)).max()) < 0.3
    assert found.names == ("a", "b", "c")


def test_a_coarse_copy_comes_near_to_it() -> None:
    masks = squares()
    found = network_dissection(Copies(2).eval(), masks.float(), named(masks))
    assert found.units.cells == (16, 16)
    # Halfway between on and off lies the outline of a square, but for its corners.
    assert float(found.ious.diagonal().min()) > 0.9


def named(masks: Tensor) -> dict[str, Tensor]:
    return {"abc"[number]: masks[:, number] for number in range(3)}


def test_a_unit_that_is_nearly_always_zero_detects_nothing() -> None:
    """Its quantile is 0: whatever is at least that is on everywhere, and all of the concept is on it."""
    inputs = torch.zeros(20, 3, 32, 32)
    inputs[0, 0, :4, :4] = 1.0
    inputs[:, 2] = torch.rand(20, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = torch.ones(20, 32, 32, dtype=torch.bool)
    found = network_dissection(Copies().eval(), inputs, {"whole": whole, "rare": inputs[:, 0] > 0})
    assert found.names[:2] == ("", "")
    assert found.ious[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert found.on[:2].tolist() == [1.0, 1.0]


def test_a_unit_with_noise_below_its_usual_value_detects_nothing() -> None:
    inputs = torch.zeros(20, 3, 32, 32)
    inputs[:2, :, 0, 0] = -0.001
    inputs[0, :, :4, :4] = 1.0
    found = network_dissection(Copies().eval(), inputs, {"whole": torch.ones(20, 32, 32, dtype=torch.bool)})
    assert found.names == ("", "", "")


def test_a_concept_that_is_on_no_image_has_no_detector() -> None:
    masks = {**named(squares()), "none": torch.zeros(20, 32, 32, dtype=torch.bool)}
    found = network_dissection(Copies().eval(), squares().float(), masks)
    assert found.ious[:, 3].tolist() == [0.0] * 3
    assert found.ceilings[3] == 1.0
    assert found.shown.tolist() == [20, 20, 10, 0]


def test_images_without_any_concept_do_not_count() -> None:
    masks = squares()
    blank = torch.zeros(200, 3, 32, 32, dtype=torch.bool)
    together = torch.cat([blank, masks])
    found = network_dissection(Copies().eval(), together.float(), named(together), quantile=0.002)
    torch.testing.assert_close(found.ious.diagonal(), torch.ones(3, dtype=torch.float64))
    assert found.shown.tolist() == [20, 20, 10]


def test_detectors_are_counted_by_concept_and_kind() -> None:
    units = Units.of(Copies(), torch.zeros(1, 3, 32, 32))
    ious = torch.tensor([[0.05, 0.3, 0.0], [0.039, 0.0, 0.0], [0.0, 0.2, 0.1], [0.05, 0.0, 0.01]])
    nothing = torch.zeros(4)
    found = Dissection(
        units, ("a/x", "a/y", "b/x"), 0.005, 0.04, nothing, nothing, ious, torch.ones(3), torch.ones(3)
    )
    assert found.names == ("a/y", "", "a/y", "a/x")
    assert found.detectors == [0, 2, 3]
    assert found.counts == {"a/x": 1, "a/y": 2}
    assert found.kinds == {"a": 3, "b": 0}


def test_the_ceiling_of_a_concept_that_covers_much() -> None:
    """A unit is on on a share of all places: of half of the images it cannot cover more than twice that."""
    half = torch.zeros(20, 32, 32, dtype=torch.bool)
    half[::2] = True
    inputs = torch.rand(20, 3, 32, 32) + half[:, None]
    found = network_dissection(Copies().eval(), inputs, {"half": half})
    assert found.ceilings.tolist() == [pytest.approx(0.01)]
    assert float(found.ious.max()) == pytest.approx(0.01, rel=0.02)
    assert found.names == ("", "", "")


def test_a_trained_network_has_more_detectors_than_a_random_one() -> None:
    subject = load_subject("digits")
    model, inputs = subject.model, subject.inputs
    random = randomized(model, every_layer(model, inputs), inputs, 0)
    trained, untrained = (network_dissection(one, inputs, subject.concepts) for one in (model, random))
    assert trained.layer == untrained.layer == "stage3.relu2"
    assert len(trained.detectors) >= 48
    assert len(untrained.detectors) <= 4
    assert len(trained.counts) == 10


def test_networks_detect_what_they_were_trained_on() -> None:
    subject = load_subject("digits")
    spurious = network_dissection(subject.siblings["spurious"], subject.inputs, subject.concepts)
    shapes = network_dissection(subject.model, subject.inputs, subject.concepts)
    assert shapes.kinds["digit"] > 10 * max(1, shapes.kinds["tint"])
    assert spurious.kinds["tint"] > 10 * max(1, spurious.kinds["digit"])


def test_the_last_layer_with_cells_is_chosen() -> None:
    subject = images()
    found = Units.of(subject.model, subject.inputs)
    assert (found.layer, found.count, found.cells) == ("relu2", 12, (6, 6))


class Twice(nn.Module):
    """One ReLU called twice, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(inputs.clone())
        found: Tensor = self.relu(hidden - 1).mean((2, 3))
        return found


def test_a_call_of_a_layer_is_chosen() -> None:
    inputs = 3 * torch.randn(20, 2, 32, 32)
    model = Twice().eval()
    for call, expected in ((0, inputs.relu()), (-1, (inputs.relu() - 1).relu()), (1, (inputs - 1).relu())):
        units = Units.of(model, inputs, "relu", call)
        torch.testing.assert_close(units.activations(model, inputs), expected)
        assert units.call == call % 2


def test_a_layer_in_front_of_a_relu_in_place_is_seen_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(400, 2)).eval()
    inputs = torch.randn(2, 3, 12, 12)
    found = Units.of(model, inputs, "0").activations(model, inputs)
    torch.testing.assert_close(found, model[0](inputs))


def test_signals_have_units_too() -> None:
    model = nn.Sequential(
        nn.Conv1d(1, 2, 3, padding=1, stride=2), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    ).eval()
    mask = torch.arange(64).expand(30, 64) % 32 < 4
    inputs = mask[:, None].float() + 0.01 * torch.randn(30, 1, 64)
    with torch.no_grad():
        model[0].weight.copy_(torch.ones(2, 1, 3))
        model[0].bias.zero_()
    found = network_dissection(model, inputs, {"burst": mask}, layout="signal", quantile=0.1)
    assert found.names == ("burst", "burst")


def test_the_model_is_left_as_it_was() -> None:
    subject = images()
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    network_dissection(subject.model, subject.inputs, {"whole": subject.inputs.mean(1) > 0}, quantile=0.1)
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())
    assert not any(module._forward_hooks for module in subject.model.modules())


def test_few_activations_are_kept() -> None:
    """Beyond `memory` they are computed again: what is held does not grow with the number of images."""
    model = TinyNetwork().eval()
    peaks = []
    for count in (500, 2000):
        inputs = torch.randn(count, 3, SIDE, SIDE)
        masks = {"bright": inputs.mean(1) > 1}
        with peak_memory(inputs.device) as peak:
            network_dissection(model, inputs, masks, memory=2**18)
        peaks.append(peak[0])
    assert peaks[1] < 1.3 * peaks[0]
    units = Units.of(model, inputs)
    assert Activations(model, inputs, units, 2**30)._kept == []
    assert Activations(model, inputs, units, 2**10)._kept is None


class Broken(nn.Module):
    """A unit that is NaN on one image."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs.clone()
        hidden[(inputs[:, 0, 0, 0] > 2), 1, 3, 3] = math.nan
        found: Tensor = self.units(hidden).mean((2, 3))
        return found


WHOLE = {"whole": torch.ones(20, 32, 32, dtype=torch.bool)}
INPUTS = torch.zeros(20, 3, 32, 32)
MISTAKES = {
    "no concepts": (Copies(), INPUTS, {}, {}, "expected masks of at least one concept, came none"),
    "shape": (
        Copies(), INPUTS, {"a": torch.ones(20, 16, 16, dtype=torch.bool)}, {},
        "concept 'a': expected a tensor (20, 32, 32) or (20, 1, 32, 32), came (20, 16, 16)",
    ),
    "list": (
        Copies(), INPUTS, {"a": [True]}, {},
        "concept 'a': expected a tensor (20, 32, 32) or (20, 1, 32, 32), came list",
    ),
    "type": (
        Copies(), INPUTS, {"a": torch.ones(20, 32, 32)}, {},
        "concept 'a': expected bool, came float32; pass mask > 0.5",
    ),
    "layer": (
        Copies(), INPUTS, WHOLE, {"layer": "unit"},
        "layer 'unit': expected a module of the model, for example one of units",
    ),
    "no map": (
        nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), INPUTS, WHOLE, {"layer": "1"},
        "layer '1': expected one that returns (N, K, *cells) with more than one cell, came (1, 5)",
    ),
    "no spatial layer": (
        nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), INPUTS, WHOLE, {},
        "expected a model with a module that returns (N, K, *cells) with more than one cell, came none",
    ),
    "call": (
        Copies(), INPUTS, WHOLE, {"layer": "units", "call": 1},
        "layer 'units': expected call=1 of it, came 1 calls",
    ),
    "no images": (
        Copies(), INPUTS[:0], WHOLE, {},
        "expected images (N, C, H, W) with N ≥ 1, came (0, 3, 32, 32)",
    ),
    "no neighbours": (
        nn.Linear(5, 2), torch.zeros(4, 5), WHOLE, {},
        "expected images (N, C, H, W), signals or volumes, came columns (4, 5)",
    ),
    "quantile": (
        Copies(), INPUTS, WHOLE, {"quantile": 5.0}, "quantile=5: expected a share above 0 and below 1",
    ),
    "few places": (
        Copies(16), INPUTS, WHOLE, {},
        "quantile=0.005: expected at least 200 places of a unit, on all inputs together, came 80",
    ),
    "NaN": (
        Broken(), INPUTS + (torch.arange(20) == 7)[:, None, None, None] * 3, WHOLE, {},
        "layer 'units': expected finite activations, came NaN or infinite ones, first of unit 1 on input 7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_one_sentence(case: str) -> None:
    model, inputs, masks, options, sentence = MISTAKES[case]
    with pytest.raises(ConceptError) as raised:
        network_dissection(model.eval(), inputs, masks, **options)
    assert str(raised.value) == sentence
    assert isinstance(raised.value, ValueError)


def test_a_model_in_training_is_refused() -> None:
    with pytest.raises(
        ConceptError, match=r"^expected a model in eval mode, came one in training; call model"
    ):
        network_dissection(TinyNetwork(), torch.zeros(2, 3, SIDE, SIDE), WHOLE)


@pytest.mark.parametrize("pieces", [1, 7])
def test_tails_are_those_of_all_values(pieces: int) -> None:
    values = torch.randn(3, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values[1] = values[1].round()
    tails = Tails(0.01, 1000)
    for some in values.tensor_split(pieces, 1):
        tails.add(some)
    for unit, cutoff in enumerate(tails.thresholds()):
        ordered = values[unit].sort(descending=True).values
        lower = ordered[ordered < ordered[9]][0]
        assert float(cutoff) == float(lower + (ordered[9] - lower) / 2)
    assert int((values[0] > tails.thresholds()[0]).sum()) == 10


def test_a_threshold_lies_below_the_last_value_that_is_on() -> None:
    """Also where no number of the type lies between it and the next."""
    one = torch.tensor(1.0)
    pair = torch.stack([one, torch.nextafter(one, torch.tensor(2.0))])[None]
    tails = Tails(0.5, 2)
    tails.add(pair)
    assert (pair > tails.thresholds()[:, None]).tolist() == [[False, True]]
    alone = Tails(0.5, 2)
    alone.add(torch.zeros(1, 2))
    assert alone.thresholds().tolist() == [-math.inf]


def test_of_more_values_than_are_kept_some_places_are_drawn() -> None:
    values = torch.rand(2, 60_000, generator=torch.Generator().manual_seed(0))
    tails = Tails(0.1, 60_000, capacity=1000)
    for some in values.split(999, 1):
        tails.add(some)
    assert tails.above <= 1000
    assert tails._highest is not None
    assert tails._highest.shape == (2, tails.above)
    shares = (values > tails.thresholds()[:, None]).double().mean(1)
    assert shares.tolist() == pytest.approx([0.1, 0.1], rel=0.1)
