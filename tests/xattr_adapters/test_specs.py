"""Adapters without their libraries: what the engine asks of them, and what it says."""

import builtins
import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from xattr_adapters._shared import grid, parameters_of, summed, twin
from xattr_check import Method, UsageError, load_method
from xattr_check.core import adapter
from xattr_check.core.state import ModelState

LIBRARIES = {
    "captum": ("Saliency", "captum"),
    "zennit": ("EpsilonPlus", "zennit"),
    "pytorch_grad_cam": ("GradCAM", "grad-cam"),
    "saliency": ("GradientSaliency", "saliency"),
    "shap": ("GradientExplainer", "shap"),
}
OURS = [EntryPoint(name, f"xattr_adapters.{name}:adapter", "xattr_check.adapters") for name in LIBRARIES]


def install(monkeypatch, *points: EntryPoint) -> None:
    def found(*, group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(adapter, "entry_points", found)
    adapter.adapters.cache_clear()


@pytest.fixture
def fake(monkeypatch) -> ModuleType:
    """A library `fakelib` with one class, and its adapter, in a package that is installed."""
    library = ModuleType("fakelib")
    library.__path__ = []

    class Explainer:
        def __init__(self, model=None) -> None:
            self.model = model

    Explainer.__module__ = "fakelib"
    library.Explainer = Explainer
    adapting = ModuleType("fake_adapter")

    def adapt(wanted, layer):
        if wanted == "Unknown":
            raise UsageError("fakelib has no method 'Unknown'")
        if wanted == "Broken":
            raise OSError("no weights")
        if wanted == "function":
            return lambda model, inputs, targets, factor=2.0: inputs * factor
        if not isinstance(wanted, str) and not isinstance(wanted, type):
            raise UsageError("give the class")
        return Method(f"fakelib {wanted} {layer}", lambda model, inputs, targets: inputs)

    adapting.adapt = adapt
    monkeypatch.setitem(sys.modules, "fakelib", library)
    monkeypatch.setitem(sys.modules, "fake_adapter", adapting)
    install(monkeypatch, EntryPoint("fakelib", "fake_adapter:adapt", "xattr_check.adapters"))
    return library


def test_an_entry_point_is_enough(fake) -> None:
    inputs = torch.ones(1, 2)
    assert load_method("fakelib:Anything").name == "fakelib:Anything"
    assert load_method("fakelib:Anything@layer4.1").name == "fakelib:Anything@layer4.1"
    doubled = load_method("fakelib:function")
    assert torch.equal(doubled(nn.Identity(), inputs, torch.tensor([0])), 2 * inputs)
    trebled = load_method("fakelib:function?factor=3")
    assert torch.equal(trebled(nn.Identity(), inputs, torch.tensor([0])), 3 * inputs)


def test_classes_of_the_library_go_to_its_adapter_and_instances_may_be_refused(fake) -> None:
    assert load_method(fake.Explainer).name.endswith("Explainer")
    with pytest.raises(UsageError, match=r"^method 'Explainer': give the class$"):
        load_method(fake.Explainer())


def test_a_class_of_ones_own_that_is_called_stays_ones_own(fake) -> None:
    class Own(fake.Explainer):
        def __call__(self, model, inputs, targets):
            return -inputs

    inputs = torch.ones(1, 2)
    for given in (Own, Own()):
        assert torch.equal(load_method(given)(nn.Identity(), inputs, torch.tensor([0])), -inputs)


def test_a_module_of_the_librarys_name_stays_ones_own(fake) -> None:
    del fake.__path__
    with pytest.raises(UsageError, match="expected a function explain"):
        load_method(fake.Explainer())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fakelib:Unknown", "--xattr-method='fakelib:Unknown': fakelib has no method 'Unknown'"),
        ("fakelib:", "--xattr-method='fakelib:': expected fakelib:NAME or fakelib:NAME@LAYER"),
        ("fakelib:A@", "--xattr-method='fakelib:A@': expected fakelib:NAME or fakelib:NAME@LAYER"),
        (
            "fakelib:function?factory=3",
            "--xattr-method='fakelib:function?factory=3': expected a parameter among factor, came 'factory'",
        ),
    ],
)
def test_mistakes_are_one_sentence(fake, spec: str, message: str) -> None:
    with pytest.raises(UsageError) as told:
        load_method(spec)
    assert str(told.value) == message


def test_an_error_in_an_adapter_shows_its_traceback(fake) -> None:
    with pytest.raises(UsageError, match=r"making the method failed:\n[\s\S]*OSError: no weights"):
        load_method("fakelib:Broken")


def test_two_adapters_of_one_prefix_are_a_mistake(monkeypatch) -> None:
    points = [EntryPoint("fakelib", f"{one}:adapt", "xattr_check.adapters") for one in ("a", "b")]
    install(monkeypatch, *points)
    with pytest.raises(UsageError, match="'fakelib' is declared as a:adapt and as b:adapt; uninstall one"):
        load_method("fakelib:A")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_is_told_with_the_command(monkeypatch, tmp_path: Path, library: str) -> None:
    install(monkeypatch, *OURS)
    monkeypatch.chdir(tmp_path)
    load = importlib.import_module

    def absent(name: str, package: str | None = None) -> ModuleType:
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(f"No module named {library!r}", name=library)
        return load(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    name, distribution = LIBRARIES[library]
    with pytest.raises(UsageError) as told:
        load_method(f"{library}:{name}")
    said = (
        f"--xattr-method='{library}:{name}': package {library!r} is not installed; pip install {distribution}"
    )
    assert str(told.value) == said
    Path(f"{library}.py").touch()
    with pytest.raises(UsageError) as told:
        load_method(f"{library}:{name}")
    assert str(told.value) == f"{said}; your own file is {library}.py:{name}"


def test_a_missing_dependency_of_a_library_is_named(monkeypatch) -> None:
    def absent(name: str, package: str | None = None) -> ModuleType:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UsageError, match=r"'captum' needs 'matplotlib', .*; pip install matplotlib$"):
        adapter.import_library("captum.attr", "captum")


def test_nothing_is_imported_before_it_is_asked_for(monkeypatch) -> None:
    for module in [name for name in sys.modules if name.startswith("xattr_adapters.")]:
        monkeypatch.delitem(sys.modules, module)
    asked: list[str] = []
    load = builtins.__import__

    def noted(name: str, *rest, **more):
        asked.append(name.partition(".")[0])
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", noted)
    install(monkeypatch, *OURS)
    assert set(adapter.adapters()) == set(LIBRARIES)
    for library in LIBRARIES:
        importlib.import_module(f"xattr_adapters.{library}")
    assert not set(asked) & set(LIBRARIES)


def test_every_adapter_is_declared() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for point in OURS:
        assert f'{point.name} = "{point.value}"' in text


def test_entry_points_of_this_installation_are_adapters() -> None:
    for point in entry_points(group="xattr_check.adapters"):
        assert callable(point.load())


def test_a_twin_shares_weights_and_nothing_else(images) -> None:
    model, inputs, _ = images
    state = ModelState(model)
    copied = twin(model)
    assert copied.first.weight.data_ptr() == model.first.weight.data_ptr()
    assert not copied.relu.inplace
    assert model.relu.inplace
    torch.testing.assert_close(copied(inputs), model(inputs))
    copied.first.register_forward_hook(lambda *arguments: None)
    copied.norm.weight.data = torch.ones(5)
    copied.norm.running_mean.data = torch.zeros(5)
    copied.relu = nn.Identity()
    copied(inputs.requires_grad_()).sum().backward()
    assert not any(state.differences().values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tied_weights_stay_tied() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    copied = twin(model)
    assert copied[1].weight is copied[0].weight


def test_values_of_layers_become_maps() -> None:
    pictures, tokens = torch.zeros(2, 3, 8, 6), torch.zeros(2, 5, 4)
    assert summed("a", torch.ones(2, 7, 4, 3), pictures, "nearest", None).shape == (2, 1, 8, 6)
    assert summed("a", torch.ones(2, 5, 7), tokens, "bilinear", "embeddings").shape == (2, 5, 1)
    assert summed("a", torch.ones(2, 5, 7), tokens, "bilinear", "signal").shape == (2, 1, 4)
    with pytest.raises(ValueError, match=r"^a: expected a layer whose output is laid out as the input"):
        summed("a", torch.ones(2, 7), pictures, "bilinear", None)


def test_squares_of_a_grid() -> None:
    squares = grid(2, torch.zeros(3, 2, 4, 6))
    assert squares.shape == (1, 2, 4, 6)
    assert squares[0, 0].tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[2, 2, 2, 3, 3, 3]] * 2
    assert grid(2, torch.zeros(3, 5)).tolist() == [[0, 0, 0, 1, 1]]
    assert grid(9, torch.zeros(3, 2, 4), "embeddings").tolist() == [[[0] * 4, [1] * 4]]
    assert grid(2, torch.zeros(3, 2, 4), "signal").tolist() == [[[0, 0, 1, 1]] * 2]


def test_parameters_are_those_of_the_callables() -> None:
    def made(self, model, eps=1e-3, hidden=0): ...

    def called(inputs, steps, *rest, **more): ...

    signature = parameters_of(made, called, without=("hidden",), also={"memory": 3})
    assert str(signature) == "(model, inputs, targets, *, eps=0.001, steps, memory=3)"
