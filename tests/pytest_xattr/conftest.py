"""A folder of a user's own, a few fast checks, and pytest run in it without a process of its own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from xattr_check import AtLeast, AtMost, Axiom, Measurement, axiom, contract
from xattr_check.core import registry
from xattr_check.core.checks import violation
from xattr_check.core.explainer import Explainer
from xattr_check.core.faults import shape_fault
from xattr_check.core.run import Draw
from xattr_check.core.subject import Subject

MYMOD = """
import time
import torch
from xattr_check import Subject, claims


def gradient(model, inputs, targets):
    leaves = inputs.detach().requires_grad_()
    return torch.autograd.grad(model(leaves).gather(1, targets[:, None]).sum(), leaves)[0]


def good(model, inputs, targets):
    return gradient(model, inputs, targets)


def flipped(model, inputs, targets):
    return -gradient(model, inputs, targets)


@claims("promise")
def promising(model, inputs, targets):
    return gradient(model, inputs, targets)


def misshapen(model, inputs, targets):
    return gradient(model, inputs, targets)[:, 1:]


def sometimes(model, inputs, targets):
    if (inputs[:, 0] > 1).any():
        raise ValueError("cannot explain this one")
    return gradient(model, inputs, targets)


def always(model, inputs, targets):
    raise ValueError("cannot explain anything")


def sleepy(model, inputs, targets):
    time.sleep(60)


def one_argument(model):
    return None


number = 3


def columns(n=64):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    inputs = torch.randn(n, 6, generator=generator)
    return Subject("columns", model, inputs, model(inputs).argmax(1))


def fewer():
    found = columns(32)
    return Subject("fewer", found.model, found.inputs, found.targets)


def no_inputs():
    return Subject("empty", torch.nn.Linear(6, 3), torch.zeros(0, 6), torch.zeros(0).long())


def few_targets():
    return Subject("short", torch.nn.Linear(6, 3), torch.zeros(4, 6), torch.zeros(3).long())


def wrong_rank():
    return Subject("flat", torch.nn.Flatten(0), torch.zeros(4, 6), torch.zeros(4).long())


def broken_subject():
    raise OSError("no such disk")


def not_a_subject():
    return 3
"""


@contract(statement="Maps have the shape of the inputs.")
def fits(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    maps = method.raw(subject.model, draw.inputs, draw.targets)
    return violation(shape_fault(maps, draw.inputs, subject.layout))


@axiom(
    statement="Maps point where the gradient points.",
    family="faithfulness",
    gate=AtLeast(0.5),
    reads="mean cosine with the gradient",
    negative=["random"],
)
def follows(method: Explainer, subject: Subject, draw: Draw, *, power: int = 1) -> Measurement:
    return Measurement(_cosine(method(subject.model, draw.inputs, draw.targets), draw) ** power)


def _cosine(maps: Tensor, draw: Draw) -> Tensor:
    leaves = draw.inputs.clone().requires_grad_()
    outputs = draw.subject.model(leaves).gather(1, draw.targets[:, None])
    gradient = torch.autograd.grad(outputs.sum(), leaves)[0]
    return torch.cosine_similarity(maps.flatten(1), gradient.flatten(1)).double()


@axiom(statement="Maps sum to nothing.", family="exact", gate=AtMost(0.0), claimed=True, reads="mean |Σa|")
def promise(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    return Measurement(method(subject.model, draw.inputs, draw.targets).sum(1).abs().double())


@axiom(statement="Maps cover a mask.", family="localisation", gate=AtLeast(0.5), needs=["mask"])
def covers(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    raise AssertionError("never measured: the subject has no mask")


@axiom(statement="Half of the inputs.", family="sanity", gate=AtLeast(0.5), reads="heads")
def tossed(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    return Measurement((torch.arange(len(draw.indices)) % 2).double())


@axiom(statement="A check with a fault.", family="sanity", gate=AtLeast(0.5), cost="standard")
def faulty(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    raise KeyError("its own fault")


CHECKS: dict[str, Axiom] = {check.name: check for check in (covers, faulty, fits, follows, promise, tossed)}


@pytest.fixture(scope="session", autouse=True)
def _imported() -> None:
    """What a run imports is imported before: pytester forgets modules that appear during a run."""
    import torchvision

    from pytest_xattr import session
    from xattr_check.report import markdown, pictures
    from xattr_check.report import page as report

    assert markdown
    assert pictures
    assert report
    assert session
    assert torchvision
    registry.methods(), registry.subjects(), registry.checks()


@pytest.fixture
def real_folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's folder with mymod.py."""
    monkeypatch.setenv("COLUMNS", "80")
    # None has a part in what is tested; they collect garbage or import anew, both slow beside torch.
    monkeypatch.setenv(
        "PYTEST_ADDOPTS", "-p no:unraisableexception -p no:threadexception -p no:hypothesispytest"
    )
    pytester.makepyfile(mymod=MYMOD)
    return pytester


@pytest.fixture
def folder(real_folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's folder, where the installed checks are those of this file."""
    monkeypatch.setattr(registry, "checks", lambda: CHECKS)
    return real_folder


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def judge(folder: pytest.Pytester) -> Run:
    """Run pytest on the columns of mymod with further arguments."""

    def run(*arguments: str, method: str | None = "mymod:good", **options: Any) -> pytest.RunResult:
        chosen = [] if method is None else [f"--xattr-method={method}"]
        return folder.runpytest_inprocess(*chosen, "--xattr-subject=mymod:columns", *arguments, **options)

    return run
