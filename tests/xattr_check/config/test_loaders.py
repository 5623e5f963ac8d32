"""Methods and subjects: what their specs resolve to; test_messages.py of pytest_xattr pins their mistakes."""

import re
from pathlib import Path

import pytest
import torch

from xattr_check import Subject, UsageError, load_method, load_subject
from xattr_check.config.loaders import load_methods
from xattr_check.core import registry

SOURCE = """
import torch
from xattr_check import Subject, claims, stochastic

@stochastic
@claims("completeness")
def explain(model, inputs, targets, steps=3):
    return torch.full_like(inputs, steps)

class Explain:
    def __call__(self, model, inputs, targets):
        return inputs
    @staticmethod
    def static(model, inputs, targets):
        return -inputs

def make(n=2):
    return Subject("made", torch.nn.Linear(2, 2), torch.zeros(n, 2), torch.zeros(n).long())

ready = make(3)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "spec_mod.py").write_text(SOURCE)
    return "spec_mod"


def maps(spec: str) -> float:
    zeros = torch.ones(1, 2)
    return float(load_method(spec)(torch.nn.Identity(), zeros, torch.zeros(1).long()).mean())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("spec_mod:explain", 3.0),
        ("spec_mod:explain?steps=7", 7.0),
        ("spec_mod:Explain", 1.0),
        ("spec_mod:Explain.static", -1.0),
        ("spec_mod.py:explain", 3.0),
        ("./spec_mod.py:explain?steps=0.5", 0.5),
    ],
)
def test_forms(module: str, spec: str, expected: float) -> None:
    assert load_method(spec).name == spec
    assert maps(spec) == expected


def test_declarations_of_a_function_are_kept(module: str) -> None:
    found = load_method("spec_mod:explain?steps=2")
    assert found.claims == {"completeness"}
    assert found.stochastic


def test_reference_methods_by_name() -> None:
    assert load_method("xattr:gradient").name == "xattr:gradient"
    found = load_methods(["all"])
    names = {method.name for method in found}
    assert "xattr:gradient" in names
    assert all(method.control is None for method in found)
    assert len(found) == sum(one.control is None for one in registry.methods().values())


def test_a_spec_twice_is_one_method_but_functions_keep_apart() -> None:
    assert len(load_methods(["xattr:gradient", "xattr:gradient", "all"])) == len(load_methods(["all"]))
    functions = [lambda model, inputs, targets: inputs, lambda model, inputs, targets: -inputs]
    names = [method.name for method in load_methods(functions)]
    assert len(set(names)) == 2
    assert names[1] == f"{names[0]}#2"


def test_subjects(module: str) -> None:
    assert len(load_subject("spec_mod:make").inputs) == 2
    assert len(load_subject("spec_mod:make?n=5").inputs) == 5
    assert len(load_subject("spec_mod:ready").inputs) == 3
    ready = load_subject("spec_mod.py:ready")
    assert load_subject(ready) is ready
    assert isinstance(load_subject(lambda: ready), Subject)
    with pytest.raises(UsageError, match=r"subject: expected it to return an xattr_check.Subject, came int"):
        load_subject(lambda: 3)


def test_a_free_sentence_of_a_factory_is_told_with_its_option(module: str) -> None:
    Path("spec_free.py").write_text(
        "from xattr_check import SubjectError, UsageError\n"
        "def free(n=1):\n    raise UsageError('expected photographs', hint='set DATA')\n"
        "def own():\n    raise SubjectError(option='subject', value='mine', expected='inputs')\n"
    )
    with pytest.raises(
        UsageError, match=r"^--xattr-subject='spec_free:free\?n=2': expected photographs; set DATA"
    ):
        load_subject("spec_free:free?n=2")
    with pytest.raises(UsageError, match=r"^subject 'mine': expected inputs$"):
        load_subject("spec_free:own")


def test_a_mutant_is_a_method_under_an_operator() -> None:
    spec = "mutant:edges_by_sum(0.3)@xattr:integrated_gradients?steps=4"
    method = load_method(spec)
    assert method.name == spec
    assert method.claims == load_method("xattr:integrated_gradients").claims
    assert method.needs == {"neighbours"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("mutant:magnitude", "expected mutant:OPERATOR@SPEC, for example mutant:magnitude@xattr:gradcam"),
        ("mutant:magnitud@xattr:gradcam", "no operator 'magnitud'; the nearest are magnitude"),
        ("mutant:magnitude(2)@xattr:gradcam", "magnitude has no amount; type magnitude alone"),
        (
            "mutant:edges_by_sum(2)@xattr:gradcam",
            "expected the share of the other map, above 0 and at most 1, came '2'",
        ),
        ("mutant:magnitude@xattr:grad_cam", "no reference method 'grad_cam'; the nearest are gradcam"),
    ],
)
def test_a_mutant_that_is_none_is_told(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        load_method(spec)


@pytest.mark.parametrize(
    ("spec", "option", "hint"),
    [
        ("xattr:gradcam,xattr:gradient", "--xattr-method", "give --xattr-method once for each"),
        ("mymod:one, mymod:other", "--xattr-method", "give --xattr-method once for each"),
        ("xattr:rise?masks=4,xattr:lime", "--among", "put spaces between them"),
    ],
)
def test_several_methods_in_one_spec(spec: str, option: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_methods([spec], option)
    assert str(raised.value).endswith(hint)
