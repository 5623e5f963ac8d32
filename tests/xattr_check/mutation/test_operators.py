"""Operators: each against what it says in the plainest words, on a map that is known by heart."""

import pytest
import subjects
import torch
from torch import Tensor, nn

from xattr_check.core.layouts import blurred
from xattr_check.core.method import Method, as_method
from xattr_check.core.subject import Subject
from xattr_check.errors import Undefined, UsageError
from xattr_check.mutation.mixing import mixed_by_product, mixed_by_sum
from xattr_check.mutation.mutants import mutant, operators, read_operator
from xattr_check.mutation.operator import Call

SIDE = 4


def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient times the input, which tells inputs, models and targets apart."""
    inputs = inputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(inputs).gather(1, targets[:, None]).sum(), inputs)
    return slope * inputs.detach()


def images() -> Subject:
    """Six images of 4 × 4 with two channels, on a linear model of three outputs, in float64."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * SIDE * SIDE, 3)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(3, 2 * SIDE * SIDE, generator=generator))
    inputs = torch.randn(6, 2, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return Subject("images", model, inputs, torch.tensor([0, 1, 2, 0, 1, 2]))


SUBJECT = images()
METHOD = as_method(explain, "right")
RIGHT = explain(SUBJECT.model, SUBJECT.inputs, SUBJECT.targets)


def broken(name: str, amount: float | None = None, subject: Subject = SUBJECT) -> Tensor:
    """The maps of a mutant on all inputs of a subject."""
    made = mutant(operators()[name], METHOD, amount).bind(subject)
    return made(subject.model, subject.inputs, subject.targets)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("negated", -RIGHT),
        ("magnitude", RIGHT.abs()),
        ("clipped", RIGHT.relu()),
        ("negated_channel", torch.stack([-RIGHT[:, 0], RIGHT[:, 1]], dim=1)),
        ("mirrored", RIGHT[..., [3, 2, 1, 0]]),
        ("transposed", torch.einsum("nchw->ncwh", RIGHT)),
        ("batch_mate", RIGHT[[5, 0, 1, 2, 3, 4]]),
    ],
)
def test_it_is_what_it_says(name: str, wanted: Tensor) -> None:
    assert torch.equal(broken(name), wanted)


def test_a_quarter_turn() -> None:
    turned = torch.empty_like(RIGHT)
    for row in range(SIDE):
        for column in range(SIDE):
            turned[..., SIDE - 1 - column, row] = RIGHT[..., row, column]
    assert torch.equal(broken("rotated"), turned)


@pytest.mark.parametrize(("amount", "steps"), [(None, 1), (0.5, 2)])
def test_a_shift_moves_every_pixel_as_far(amount: float | None, steps: int) -> None:
    shifted = broken("shifted", amount)
    for row in range(SIDE):
        for column in range(SIDE):
            came_from = RIGHT[..., (row - steps) % SIDE, (column - steps) % SIDE]
            assert torch.equal(shifted[..., row, column], came_from)


def test_smoothed_and_sharpened_are_the_two_sides_of_a_blur() -> None:
    assert torch.equal(broken("smoothed", 0.25), blurred(RIGHT, 1.0))
    away = RIGHT - blurred(RIGHT, SIDE / 16)
    assert torch.allclose(broken("sharpened", 2.0), RIGHT + 2 * away)


def test_an_8_bit_image_has_whole_numbers_from_0_to_255() -> None:
    found = broken("quantised")
    assert torch.equal(found, found.round())
    assert found.flatten(1).amin(1).tolist() == [0.0] * 6
    assert found.flatten(1).amax(1).tolist() == [255.0] * 6
    assert torch.equal(found[0].argmax(), RIGHT[0].argmax())


def test_a_wrong_target_is_another_one_as_often_as_asked() -> None:
    always = broken("wrong_target", 1.0)
    others = [explain(SUBJECT.model, SUBJECT.inputs, (SUBJECT.targets + step) % 3) for step in (1, 2)]
    for row in range(6):
        assert sum(torch.equal(always[row], other[row]) for other in others) == 1
    sometimes = broken("wrong_target", 0.5)
    same = [torch.equal(sometimes[row], RIGHT[row]) for row in range(6)]
    assert 0 < sum(same) < 6


def test_reversed_channels_are_those_of_the_input() -> None:
    assert torch.equal(
        broken("reversed_channels"), explain(SUBJECT.model, SUBJECT.inputs.flip(1), SUBJECT.targets)
    )


def test_an_untrained_network_is_another_one_each_time_the_same() -> None:
    before = [weight.clone() for weight in SUBJECT.model.parameters()]
    found = broken("untrained")
    assert torch.equal(found, broken("untrained"))
    assert not torch.allclose(found, RIGHT)
    assert all(torch.equal(one, other) for one, other in zip(before, SUBJECT.model.parameters(), strict=True))


def test_the_previous_call_answers_the_next() -> None:
    made = mutant(operators()["previous"], METHOD).bind(SUBJECT)
    first, second = SUBJECT.inputs[:3], SUBJECT.inputs[3:]
    targets = SUBJECT.targets[:3]
    assert torch.equal(made(SUBJECT.model, first, targets), RIGHT[:3])
    assert torch.equal(made(SUBJECT.model, second, targets), RIGHT[:3])


def test_another_layer_is_asked_for_where_the_method_has_one() -> None:
    asked: list[str | None] = []

    def of_layer(model: nn.Module, inputs: Tensor, targets: Tensor, *, layer: str | None = None) -> Tensor:
        asked.append(layer)
        return inputs

    subject = subjects.images()
    made = mutant(operators()["earlier_layer"], as_method(of_layer, "of_layer")).bind(subject)
    made(subject.model, subject.inputs, subject.targets)
    assert asked == ["conv2"]
    with pytest.raises(Undefined, match="right has no parameter layer"):
        broken("earlier_layer")


def test_maps_of_other_inputs_are_never_the_own_and_do_not_depend_on_the_batch() -> None:
    call = Call(METHOD, SUBJECT, SUBJECT.model, SUBJECT.inputs, SUBJECT.targets)
    others = call.of_other_inputs()
    alone = Call(METHOD, SUBJECT, SUBJECT.model, SUBJECT.inputs[2:3], SUBJECT.targets[2:3]).of_other_inputs()
    assert torch.equal(others[2:3], alone)
    for row in range(6):
        assert not torch.equal(others[row], RIGHT[row])


def test_a_sum_is_of_two_parts_that_are_as_large() -> None:
    call = Call(METHOD, SUBJECT, SUBJECT.model, SUBJECT.inputs, SUBJECT.targets)
    other = torch.arange(1.0, 17).double().reshape(1, 1, SIDE, SIDE).expand(6, -1, -1, -1)
    found = mixed_by_sum(lambda _: other, call, 0.25)
    for row in range(6):
        both = other[row].expand(2, -1, -1)
        scaled = both * (RIGHT[row].norm() / both.norm())
        assert torch.allclose(found[row], 0.75 * RIGHT[row] + 0.25 * scaled)


def test_a_product_keeps_signs_and_the_size_of_the_map() -> None:
    call = Call(METHOD, SUBJECT, SUBJECT.model, SUBJECT.inputs, SUBJECT.targets)
    other = -torch.arange(1.0, 17).double().reshape(1, 1, SIDE, SIDE).expand(6, -1, -1, -1)
    found = mixed_by_product(lambda _: other, call, 0.5)
    assert torch.allclose(found.flatten(1).norm(dim=1), RIGHT.flatten(1).norm(dim=1))
    ratio = found[0, 0] / (RIGHT[0, 0] * other[0, 0].abs() ** 0.5)
    assert torch.allclose(ratio, ratio[0, 0].expand(SIDE, SIDE))
    assert ratio[0, 0] > 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mirrored", "columns have no order"),
        ("negated_channel", "one number for each feature"),
        ("earlier_layer", "no parameter layer"),
    ],
)
def test_what_has_no_meaning_on_a_table_says_so(name: str, told: str) -> None:
    with pytest.raises(Undefined, match=told):
        broken(name, subject=subjects.columns())


def test_every_operator_says_what_a_subject_lacks_or_makes_maps() -> None:
    """On images, on columns and on embedded tokens."""
    for subject in (SUBJECT, subjects.columns(), subjects.tokens()):
        for name, one in operators().items():
            made = mutant(one, METHOD)
            if not made.needs <= subject.offers:
                continue
            try:
                found = broken(name, subject=subject)
            except Undefined:
                continue
            assert found.shape == subject.inputs.shape, name
            assert bool(found.isfinite().all()), name


def test_a_table_has_no_directions() -> None:
    offers = subjects.columns().offers
    directed = {name for name, one in operators().items() if one.needs & {"image", "neighbours"}}
    assert directed >= {"rotated", "transposed", "smoothed", "sharpened", "edges_by_sum", "center_by_product"}
    assert not any(operators()[name].needs <= offers for name in directed)


def test_what_is_declared_of_the_right_method_holds_for_the_mutant() -> None:
    right = Method("right", explain, claims=frozenset({"completeness"}), sensitivity=True, unit="bits")
    made = mutant(operators()["shifted"], right, 0.25)
    assert made.name == "mutant:shifted(0.25)@right"
    assert (made.claims, made.sensitivity, made.unit) == (right.claims, True, "bits")
    assert made.statement.startswith("The map shifted along all axes of its features")


def test_a_map_is_shifted_by_half_a_side_at_most() -> None:
    """A whole one is where it was."""
    with pytest.raises(UsageError, match=r"above 0 and at most 0\.5, came '1'"):
        read_operator("shifted(1)")
