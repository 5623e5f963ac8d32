"""Small networks: what is drawn, computed otherwise, bounded, printed, searched and made smaller."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import columns, images
from torch import Tensor, nn

import xattr_check
from xattr_check import Store, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_check.errors import Undefined
from xattr_check.search.cases import AXES, FULL, WITH_ATTENTION, Case, attends, cases, units_of
from xattr_check.search.magnitudes import Magnitudes
from xattr_check.search.modules import Attention, Exponentials, Mirrored, Seen, Shifted, Shortcut, Summed
from xattr_check.search.rewrites import REWRITES, rewritten, with_dead_unit
from xattr_check.search.search import REFUSALS, Explain, Search, Violation
from xattr_check.search.snippet import program
from xattr_methods import integrated_gradients

LAYOUTS = st.tuples(st.sampled_from(sorted(AXES)), st.sampled_from([FULL, WITH_ATTENTION]))
ANY = LAYOUTS.flatmap(lambda drawn: cases(drawn[0], 2, drawn[1]))
FEW = settings(max_examples=60, derandomize=True, deadline=None, database=None)


@FEW
@given(ANY)
def test_a_case_is_a_network_that_computes(case: Case) -> None:
    outputs = case.network(case.inputs)
    assert outputs.shape == (2, 2)
    assert outputs.dtype == torch.float64
    assert bool(outputs.isfinite().all())
    assert not any(one.requires_grad for one in case.network.parameters())
    near = [case.near(number) for number in (1, 1, 2)]
    assert torch.equal(near[0].inputs, near[1].inputs)
    assert not torch.equal(near[0].inputs, near[2].inputs)


@FEW
@given(ANY)
def test_networks_written_otherwise_compute_the_same(case: Case) -> None:
    for one in (case, case.near(1)):
        inputs = torch.cat([one.inputs, -3 * one.inputs])
        ways = list(rewritten(one))
        assert len(ways) >= 3
        for network, _ in ways:
            torch.testing.assert_close(network(inputs), one.network(inputs), rtol=1e-9, atol=1e-9)


@FEW
@given(ANY)
def test_a_dead_unit_is_dead_for_all_inputs_and_changes_none(case: Case) -> None:
    network = with_dead_unit(case)
    (beside,) = (one for one in network if isinstance(one, Summed))
    seen: list[Tensor] = []
    beside.first[2].register_forward_hook(lambda _module, _given, found: seen.append(found))
    inputs = torch.cat([case.inputs, -3 * case.inputs])
    torch.testing.assert_close(network(inputs), case.network(inputs), rtol=1e-9, atol=1e-9)
    assert float(seen[0].max()) <= -1


def by_hand() -> Case:
    """Two columns through two ReLUs, and two outputs."""
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double().requires_grad_(False)
    return Case(network, torch.tensor([[1.0, 2.0], [-1.0, 0.5]]).double(), 0, 0)


def test_every_way_of_computing_is_met() -> None:
    assert {name for _, name in rewritten(by_hand())} == set(REWRITES)
    started = [next(iter(rewritten(replace(by_hand(), number=number))))[1] for number in range(len(REWRITES))]
    assert started == list(REWRITES)


@FEW
@given(ANY, st.integers(0, 10))
def test_no_number_is_larger_than_its_bound(case: Case, seed: int) -> None:
    sizes = Magnitudes.of(case.network, case.inputs)
    shares = torch.rand(5, *case.inputs.shape[1:], generator=torch.Generator().manual_seed(seed))
    between = torch.lerp(*case.inputs.double(), shares.double()).requires_grad_()
    outputs = case.network(between)
    assert bool((outputs.abs() <= sizes.output + 1e-9).all())
    (slopes,) = torch.autograd.grad(outputs[:, 0].sum(), between)
    # The slope of a GELU is 1.13 at most.
    assert bool((slopes.abs() <= 1.13**sizes.depth * sizes.slope + 1e-9).all())


def attention(seed: int, channels: int) -> Attention:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Conv1d(channels, 1, 1), nn.Conv1d(channels, 1, 1), nn.Conv1d(channels, channels, 1)
    return Attention(*layers, nn.Softmax(2)).double().requires_grad_(False)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 3)])
def test_attention_by_definition(shape: tuple[int, ...]) -> None:
    module = attention(0, shape[0] if len(shape) > 1 else 1)
    inputs = torch.randn(4, *shape).double()
    places = inputs.reshape(4, -1, 3 if len(shape) == 1 else inputs[0, 0].numel())
    query, key, value = (one(places).mT for one in (module.query, module.key, module.value))
    expected = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0).mT
    torch.testing.assert_close(module(inputs), expected.reshape(inputs.shape))


def test_attention_in_single_steps_is_the_same() -> None:
    scores = 50 * torch.randn(3, 4, 5).double()
    torch.testing.assert_close(Exponentials()(scores), scores.softmax(2))


def test_whether_attention_does_something() -> None:
    def case(weight: float) -> Case:
        head = attention(0, 1)
        head.query.weight.fill_(weight)
        network = nn.Sequential(head, nn.Linear(3, 2).double().requires_grad_(False))
        return Case(network, torch.tensor([[1.0, 2.0, 0.5], [-1.0, 0.5, 1.0]]).double(), 0, 0)

    assert [attends(case(weight)) for weight in (1.0, 0.0)] == [True, False]
    assert not attends(by_hand())
    once = case(1.0)
    assert attends(once)
    assert float(once.network[0].query.weight) == 1  # it is put back


@FEW
@given(st.integers(0, 1000), st.integers(1, 6), st.sampled_from(["midpoint", "left", "right"]))
def test_a_quadrature_is_as_near_as_slopes_change_little(seed: int, size: int, rule: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = 3 * torch.randn(2, size, generator=generator).double()
    network = nn.Sequential(attention(seed, 1), nn.Linear(size, 2).double()).requires_grad_(False)
    zeros = torch.zeros_like(inputs[:1])
    bends = Magnitudes.of(network, inputs, zeros).bends
    maps = integrated_gradients(network, inputs, torch.zeros(2).long(), steps=50, quadrature=rule)
    gaps = maps.sum(1) - (network(inputs) - network(zeros))[:, 0]
    assert float(gaps.abs().sum()) <= bends / 50 + 1e-9
    assert bends <= Magnitudes.of(network, inputs).bends + 1e-9


@FEW
@given(st.integers(0, 1000), st.integers(1, 6), st.booleans())
def test_no_slope_of_attention_is_larger_than_its_bound(seed: int, size: int, maps: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = 3 * torch.randn(2, *((2, size) if maps else (size,)), generator=generator).double()
    layers = [attention(seed, 2 if maps else 1), nn.Flatten(), nn.Linear(inputs[0].numel(), 2).double()]
    sizes = Magnitudes.of(nn.Sequential(*layers).requires_grad_(False), inputs)
    share = torch.rand(20, *[1] * (inputs.ndim - 1), generator=generator).double()
    between = torch.lerp(inputs[:1], inputs[1:], share).requires_grad_()
    outputs = nn.Sequential(*layers)(between)
    assert bool((outputs.abs() <= sizes.output + 1e-9).all())
    for one in outputs.unbind(1):
        (slopes,) = torch.autograd.grad(one.sum(), between, retain_graph=True)
        assert bool((slopes.abs() <= sizes.slope + 1e-9).all())


def test_a_program_runs_with_torch_alone() -> None:
    case = by_hand()
    twice = Shortcut(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))).double().eval().requires_grad_(False)
    around = Seen(torch.tensor([True, False])), Shifted(torch.tensor(1.0).double()), Mirrored(), twice, twice
    around = *around, attention(0, 1)
    network = nn.Sequential(*around, *with_dead_unit(case)).eval()
    text = program({"f": network}, dict(zip("xy", case.inputs, strict=True)), 1)
    assert "xattr" not in text
    printed = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    found = [float(part.partition(",")[0]) for part in printed.split("tensor(")[1:]]
    assert found == pytest.approx(network(case.inputs)[:, 1].tolist(), abs=1e-3)


def slope(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    leaves = inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(leaves).gather(1, targets[:, None]).sum(), leaves)
    return found


def search(statement: object, method: object, subject: Subject, run: Run, **options: object) -> Search:
    explainer = Explainer.of(load_method(method), subject, run)
    return Search(statement, explainer, run, seed=0, **options)  # type: ignore[arg-type]


def positive(case: Case, explain: Explain) -> Violation:
    """What no gradient keeps: maps are positive."""
    maps = explain(case.network, case.inputs[:1])
    return Violation(float(maps.clamp_max(0).abs().sum()), 1e-9, networks={"f": case.network})


@pytest.mark.parametrize("make", [columns, images])
def test_what_is_found_is_small_and_found_again(make: Callable[[], Subject], tmp_path: Path) -> None:
    found = [search(positive, slope, make(), Run(store=Store(tmp_path))).smallest() for _ in range(2)]
    first, second = (one.networks["f"] for one in found if one is not None)
    assert units_of(first) == 0
    assert repr(first) == repr(second)
    numbers = [dict(one.named_parameters()) for one in (first, second)]
    assert all(torch.equal(numbers[0][name], numbers[1][name]) for name in numbers[0])


def test_what_attention_alone_breaks_is_found(run: Run) -> None:
    def attending(case: Case, explain: Explain) -> Violation:
        found = any(isinstance(one, Attention) for one in case.network)
        return Violation(float(found), 0.5, networks={"f": case.network})

    found = search(attending, slope, columns(), run).smallest()
    assert found is not None
    assert [type(one) for one in found.networks["f"]] == [nn.Linear, nn.ReLU, Attention, nn.Linear]


def test_the_generators_of_the_process_are_left_alone(run: Run) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    search(positive, slope, columns(), run).smallest()
    assert torch.equal(torch.get_rng_state(), before)


def test_what_holds_at_the_neighbours_is_no_violation(run: Run) -> None:
    def at_a_tie(case: Case, explain: Explain) -> Violation:
        return Violation(float((case.inputs == 0).any()), 0.5)

    assert search(at_a_tie, slope, columns(), run).smallest() is None


def test_who_explains_no_small_network_is_not_judged(run: Run) -> None:
    calls = []

    def never(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(inputs)
        raise ValueError("no layer4")

    with pytest.raises(Undefined, match="of small random networks, the method raised ValueError: no layer4"):
        search(positive, never, images(), run).smallest()
    assert len(calls) <= 2 * REFUSALS


def test_who_draws_at_random_is_not_searched(run: Run) -> None:
    @xattr_check.stochastic
    def noisy(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.randn_like(inputs)

    with pytest.raises(Undefined, match="drawn at random"):
        search(positive, noisy, images(), run).smallest()


def test_a_profile_of_the_users_own_changes_nothing(run: Run) -> None:
    settings.register_profile("one", max_examples=1, derandomize=True)
    try:
        settings.load_profile("one")
        found = search(positive, lambda model, inputs, targets: inputs**2, columns(), run)
        assert found.smallest() is None
        assert len(found.ratios) > 10
    finally:
        settings.load_profile("default")


def test_what_is_imported_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis draws numbers that it finds in modules of the project."""
    providers: Any = import_module("hypothesis.internal.conjecture.providers")

    def told(case: Case, explain: Explain) -> Violation:
        return Violation(float(explain(case.network, case.inputs).abs().sum()), 1e9)

    def drawn() -> list[float]:
        searched = search(told, "xattr:gradient", columns(), Run(Store(tmp_path)))
        assert searched.smallest() is None
        return searched.ratios

    first = drawn()
    assert len(set(first)) > 20
    found = providers.Constants(integers={-7, -3, 1, 2, 3, 5})
    monkeypatch.setattr(providers, "_get_local_constants", lambda: found)
    monkeypatch.setattr(providers, "CONSTANTS_CACHE", type(providers.CONSTANTS_CACHE)(1024))
    assert drawn() == first
