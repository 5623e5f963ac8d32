"""A change that makes a method worse, in a git repository: which check turns red, and what stays green."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

MYMOD = """
import torch
from torch.nn import functional
from xattr_check import claims


@claims("completeness")
def explain(model, inputs, targets, steps=16):
    total = torch.zeros_like(inputs)
    for k in range(steps):
        x = (inputs * (k + 0.5) / steps).requires_grad_()
        score = model(x).gather(1, targets[:, None]).sum()
        total += torch.autograd.grad(score, x)[0]
    return inputs * total / steps


def cam(model, inputs, targets, layer="stage3"):
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[-1]))
    score = model(inputs).gather(1, targets[:, None]).sum()
    handle.remove()
    weights = torch.autograd.grad(score, kept[0])[0].mean((2, 3), keepdim=True)
    cells = (weights * kept[0].detach()).sum(1, keepdim=True).relu()
    return functional.interpolate(cells, size=inputs.shape[2:], mode="bilinear")
"""
# What replaces what, in which method, and the checks that have to turn red.
BROKEN = {
    "a weight of 10 % for half of the steps": (
        "        total += torch.autograd.grad(score, x)[0]",
        "        total += torch.autograd.grad(score, x)[0] * (1.1 if k < steps / 2 else 1.0)",
        "mymod:explain",
        {"completeness"},
    ),
    "half a pixel": (
        'functional.interpolate(cells, size=inputs.shape[2:], mode="bilinear")',
        "functional.avg_pool2d(functional.pad(functional.interpolate(cells, size=inputs.shape[2:], "
        'mode="bilinear"), (1, 0, 1, 0), mode="replicate"), 2, stride=1)',
        "mymod:cam",
        {"sensitivity_n"},
    ),
    "a wrong layer": (
        'layer="stage3"',
        'layer="stage2"',
        "mymod:cam",
        {"sensitivity_n"},
    ),
}
# The same by another way: the last step first and in halves; a product in place of a mean.
HARMLESS = {
    "range(steps):": "reversed(range(steps)):",
    "total += torch.autograd.grad(score, x)[0]": "total += torch.autograd.grad(score, x)[0] / steps",
    "inputs * total / steps": "total * inputs",
    ".mean((2, 3), keepdim=True)": ".sum((3, 2), keepdim=True)",
    "(weights * kept[0].detach()).sum(1, keepdim=True).relu()": (
        'torch.einsum("ncij,ncab->nab", weights, kept[0].detach())[:, None].relu() / kept[0][0, 0].numel()'
    ),
}
METHODS = ("mymod:explain", "mymod:cam")
FEW = "--xattr-checks=completeness, sensitivity_n"
MORE = f"{FEW}, contract, null_feature, class_sensitivity_double, faithfulness, localisation"
GATE = ("--xattr-compare=git:HEAD~1", "--xattr-compare-fail=p<0.01, any:pass->fail")
Pytest = Callable[..., pytest.RunResult]


class Repository:
    """A git repository of one module."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = path / "mymod.py"
        self.git("init", "--quiet", "--initial-branch=main")
        (path / ".gitignore").write_text("__pycache__/\n.xattr/\n.pytest_cache/\n")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, text: str, message: str) -> str:
        """Commit the module with that text; the commit's name."""
        self.module.write_text(text)
        sys.modules.pop("mymod", None)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


def changed(*replacements: tuple[str, str], text: str = MYMOD) -> str:
    """The module with each text replaced, which has to be there once."""
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def repository(real_folder: pytest.Pytester) -> Repository:
    return Repository(real_folder.path)


@pytest.fixture
def gate(real_folder: pytest.Pytester) -> Pytest:
    def run(*arguments: str, methods: Sequence[str] = METHODS) -> pytest.RunResult:
        chosen = [f"--xattr-method={method}" for method in methods]
        return real_folder.runpytest_inprocess(*chosen, *arguments)

    return run


def red(outcome: pytest.RunResult) -> set[tuple[str, str]]:
    """(method, check) of the rows that a rule does not allow."""
    found, method, check = set(), "", ""
    table = outcome.outlines[
        outcome.outlines.index(next(line for line in outcome.outlines if "compared ===" in line)) :
    ]
    for number, line in enumerate(table):
        if line.startswith("  mymod:"):
            method = line.strip()
        elif line.startswith("    ") and not line.startswith("     "):
            check = line.split()[0]
            told = []
            for following in table[number + 1 :]:
                if not following.startswith("        "):
                    break
                told.append(following.strip())
            if "not allowed by p<0.01" in " ".join(told):
                found.add((method, check))
    return found


def hold(repository: Repository, gate: Pytest, options: Sequence[str], names: Iterable[str] = BROKEN) -> None:
    """A good version is saved; each broken one turns red at its check, and a harmless one stays green."""
    good = repository.commit(MYMOD, "good")
    gate(*options, "--xattr-save").stdout.fnmatch_lines([f"saved as *_{good[:12]}_*.json"])
    (saved,) = (repository.path / ".xattr" / "history").glob("*.json")
    assert json.loads(saved.read_text())["run"]["git"] == {"commit": good, "dirty": False}
    repository.commit(changed(*HARMLESS.items()), "refactored")
    outcome = gate(*options, *GATE)
    assert red(outcome) == set(), outcome.stdout.str()
    outcome.stdout.fnmatch_lines([f"with {good[:12]} of 20* at {good[:8]}"])
    for name in names:
        old, new, method, checks = BROKEN[name]
        repository.git("reset", "--quiet", "--hard", good)
        repository.commit(changed((old, new)), name)
        outcome = gate(*options, *GATE, methods=[method])
        assert outcome.ret == pytest.ExitCode.TESTS_FAILED, name
        found = red(outcome)
        assert {one for one, _ in found} == {method}, (name, found)
        assert {check for _, check in found} >= checks, (name, found)


def test_a_break_turns_red_and_a_refactoring_stays_green(repository: Repository, gate: Pytest) -> None:
    hold(repository, gate, [FEW], ["a wrong layer"])


@pytest.mark.slow
def test_all_breaks_turn_red_alone(repository: Repository, gate: Pytest) -> None:
    hold(repository, gate, [FEW])


@pytest.mark.slow
def test_so_it_is_beside_many_other_checks(repository: Repository, gate: Pytest) -> None:
    hold(repository, gate, [MORE])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_refactoring_stays_green_on_every_seed(seed: int, repository: Repository, gate: Pytest) -> None:
    options = (MORE, f"--xattr-seed={seed}")
    repository.commit(MYMOD, "good")
    gate(*options, "--xattr-save")
    repository.commit(changed(*HARMLESS.items()), "refactored")
    outcome = gate(*options, *GATE)
    assert red(outcome) == set()
    outcome.stdout.no_fnmatch_line("* worse*")
    outcome.stdout.no_fnmatch_line("*->*")


@pytest.mark.slow
def test_git_bisect_finds_the_commit_that_broke_it(repository: Repository, gate: Pytest) -> None:
    old, new, method, _ = BROKEN["a weight of 10 % for half of the steps"]
    only = "--xattr-checks=completeness"
    good = repository.commit(MYMOD, "good")
    gate(only, "--xattr-save=good")
    repository.commit("raise RuntimeError('in the middle of it')\n", "cannot be imported")
    repository.commit(changed(("steps=16", "steps=16, unused=None")), "another parameter")
    broken = repository.commit(changed((old, new)), "faster")
    repository.commit(changed((old, new)) + "\n# said\n", "a comment")
    repository.git("bisect", "start", "HEAD", good)
    rule = f"--xattr-method={method} {only} --xattr-compare=good '--xattr-compare-fail=p<0.01'"
    # What is neither a pass nor a failure says nothing about the method.
    script = f"{sys.executable} -m pytest {rule}; code=$?; test $code -le 1 || exit 125; exit $code"
    told = repository.git("bisect", "run", "sh", "-c", script)
    assert f"{broken} is the first bad commit" in told
