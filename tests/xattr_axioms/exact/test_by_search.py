"""Axioms by search: what breaks one is shown by a small network, what keeps it is not accused."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_methods import CAUGHT_BY, EXACT, broken
from judging import each, judge, seeds
from subjects import columns, images, tokens
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import xattr_check
from xattr_check import Store, Subject
from xattr_check.core.run import Run
from xattr_methods import gradient, integrated_gradients

CHECKS = {check.claim: name for name, check in xattr_check.checks().items() if check.claim}
PLANTED = [name for name in EXACT if CAUGHT_BY[name] in CHECKS]
# Whose smallest network takes seconds to find.
LONG = ("clipped_backwards", "gradient_where_flat", "positive_part", "one_after_the_other", "largest_is_one")
KEEPING = ("gradient", "integrated_gradients", "deeplift", "shapley")
Make = Callable[[], Subject]
Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]


def of(path: Path, seed: int = 0) -> Run:
    return Run(store=Store(path), seed=seed)


def test_every_search_is_of_an_axiom() -> None:
    known = xattr_check.checks()
    assert {"completeness", "implementation_invariance"} < set(CHECKS)
    assert [claim for claim in CHECKS if not (known[claim].claimed and known[CHECKS[claim]].claimed)] == []
    assert [name for claim, name in CHECKS.items() if name != f"{claim}_by_search"] == []


@pytest.mark.parametrize(("name", "seed"), each(*PLANTED, slow=LONG))
def test_a_planted_violation_is_found(name: str, seed: int, tmp_path: Path) -> None:
    verdict = judge(CHECKS[CAUGHT_BY[name]], broken(name), images(), of(tmp_path, seed))
    assert (verdict.status, verdict.required) == ("fail", True), str(verdict)
    count = verdict.sentence.partition("does not hold for a network of ")[2].split()[0]
    assert count in ("no", "1", "2", "3"), str(verdict)


@xattr_check.claims("completeness")
def too_much(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return 1.1 * integrated_gradients(model, inputs, targets)


@pytest.mark.parametrize("make", [columns, images])
def test_a_tenth_too_much_is_found(make: Make, tmp_path: Path) -> None:
    verdict = judge("completeness_by_search", too_much, make(), of(tmp_path))
    assert (verdict.status, verdict.required) == ("fail", True)
    assert "does not hold for a network of no hidden units: Σa(x) − Σa(y) = " in str(verdict)


class _Constant(TorchFunctionMode):
    """Takes every softmax for a constant on the way back."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        return found.detach() if func in (torch.softmax, nn.functional.softmax, Tensor.softmax) else found


@xattr_check.claims("completeness", "implementation_invariance")
def constant_attention(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with _Constant():
        return integrated_gradients(model, inputs, targets)


@xattr_check.claims("implementation_invariance")
def constant_attention_at_once(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with _Constant():
        return gradient(model, inputs, targets)


@pytest.mark.slow
@pytest.mark.parametrize("method", [constant_attention, constant_attention_at_once])
@pytest.mark.parametrize("make", [columns, images])
@pytest.mark.parametrize("seed", range(5))
def test_attention_that_is_taken_for_a_constant_is_found(
    seed: int, make: Make, method: Explain, tmp_path: Path
) -> None:
    verdict = judge("implementation_invariance_by_search", method, make(), of(tmp_path, seed))
    assert verdict.status == "fail", str(verdict)
    assert "; g is f with the softmax of its attention in single steps" in str(verdict)


@pytest.mark.parametrize("seed", seeds())
def test_attention_that_is_taken_for_a_constant_is_not_complete(seed: int, tmp_path: Path) -> None:
    verdict = judge("completeness_by_search", constant_attention, columns(), of(tmp_path, seed))
    assert verdict.status == "fail", str(verdict)


@pytest.mark.parametrize("quadrature", ["midpoint", "left", "right", "trapezoid"])
@pytest.mark.parametrize("seed", seeds())
def test_fifty_steps_are_enough_for_attention(seed: int, quadrature: str, tmp_path: Path) -> None:
    verdict = judge(
        "completeness_by_search",
        f"xattr:integrated_gradients?quadrature={quadrature}",
        columns(),
        of(tmp_path, seed),
    )
    assert verdict.status == "pass", str(verdict)


def test_what_is_printed_runs_and_tells_how_to_find_it_again(tmp_path: Path) -> None:
    verdict = judge("completeness_by_search", too_much, columns(), of(tmp_path, 2))
    assert "# Of too_much: Σa(x) − Σa(y) = " in verdict.trace
    assert verdict.trace.splitlines()[-1] == (
        "# Again: pytest --xattr-method='too_much' --xattr-subject='columns' "
        "--xattr-checks=completeness_by_search --xattr-seed=2 --xattr-budget=quick"
    )
    done = subprocess.run([sys.executable, "-c", verdict.trace], capture_output=True, text=True, check=True)
    first, second = (float(part.partition(",")[0]) for part in done.stdout.split("tensor(")[1:])
    told = float(verdict.sentence.rpartition("f(x) − f(y) = ")[2])
    assert first - second == pytest.approx(told, abs=1e-3)


@pytest.mark.parametrize("make", [columns, pytest.param(images, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("method", "seed"), each(*KEEPING, slow=KEEPING[1:]))
def test_what_keeps_an_axiom_is_not_accused(method: str, seed: int, make: Make, tmp_path: Path) -> None:
    claims = sorted(xattr_check.methods()[method].claims & CHECKS.keys())
    assert claims
    run = of(tmp_path, seed)
    found = [judge(CHECKS[claim], f"xattr:{method}", make(), run) for claim in claims]
    assert [str(verdict) for verdict in found if verdict.status != "pass"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gradcam", "lrp"])
def test_who_looks_inside_is_told_networks_apart_that_compute_the_same(name: str, run: Run) -> None:
    verdict = judge("implementation_invariance_by_search", f"xattr:{name}", images(), run)
    assert (verdict.status, verdict.required) == ("fail", False)
    assert "; g is f with " in str(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deconvnet", "deeplift?rule=reveal_cancel"])
def test_who_looks_behind_dead_neurons_is_found(name: str, run: Run) -> None:
    verdict = judge("dead_neurons_by_search", f"xattr:{name}", columns(), run)
    assert (verdict.status, verdict.required) == ("fail", False)
    assert "a(f, x) = " in str(verdict)


@pytest.mark.parametrize("check", ["implementation_invariance_by_search", "dead_neurons_by_search"])
@pytest.mark.parametrize("name", ["constant", "input_magnitude"])
def test_who_looks_at_no_network_is_told_nothing(name: str, check: str, run: Run) -> None:
    verdict = judge(check, f"xattr:{name}", images(), run)
    assert verdict.status == "not_applicable"
    assert str(verdict).endswith("; uninformative, since the method gives the same map whatever the network")


def test_tokens_have_no_small_networks(run: Run) -> None:
    verdict = judge("dummy_by_search", "xattr:gradient", tokens(), run)
    assert verdict.status == "not_applicable"
    assert "there are no small networks of embeddings to search" in str(verdict)


def test_a_layer_that_is_named_is_in_no_small_network(run: Run) -> None:
    def of_a_layer(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        model.get_submodule("layer4")
        return torch.zeros_like(inputs)

    verdict = judge("linearity_by_search", of_a_layer, images(), run)
    assert verdict.status == "not_applicable"
    assert "of small random networks, the method raised AttributeError" in str(verdict)
