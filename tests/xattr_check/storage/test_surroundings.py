"""What the code of a model reads belongs to the model: globals, closures, defaults, what it calls."""

import gc
import sys
import weakref
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from torch import nn

from xattr_check.core.identity import Identity
from xattr_check.storage.digest import digest_model
from xattr_check.storage.surroundings import surroundings

HELPERS = """
SHIFT = 1.0
UNREAD = 1.0
def shifted(x, by=2.0):
    return x + by * SHIFT
class Options:
    def __init__(self):
        self.power = 2
    def apply(self, x):
        return x ** EXPONENT
EXPONENT = 1
"""
MODEL = """
import functools
import numpy as np
import torch
from torch import nn
import helpers
from helpers import Options, shifted

NUMBER, TEXT, PAIR = 1.0, "relu", (1, (2, 3))
TENSOR = torch.zeros(3)
ARRAY = np.zeros(3)
TABLE = {"a": [1.0], "b": lambda x: x * 1.5}
LIMIT = 3
STEP = functools.partial(torch.clamp, max=4.0)
ACTIVATION = torch.tanh
UNREAD = 1
CALLS = 0
OPTIONS = Options()
EMBED = nn.Linear(1, 1)
nn.init.ones_(EMBED.weight)
CYCLE = []
CYCLE.append(CYCLE)

def inner(x):
    # a remark
    return x * NUMBER

def make(factor):
    def run(self, x):
        return x * factor
    return run

@functools.cache
def constant():
    return 1.0

class Base(nn.Module):
    width = 1.0
    def helper(self, x, *, slope=0.5):
        return x * slope * self.width
    @property
    def limit(self):
        return LIMIT

class Net(Base):
    scaled = make(1.0)
    def train_step(self):
        return UNREAD + helpers.UNREAD
    def forward(self, x):
        global CALLS
        CALLS = CALLS + 1
        x = self.helper(inner(x)) + len(TEXT) + PAIR[1][0] + TENSOR.sum() + float(ARRAY.sum())
        x = [ACTIVATION(y) for y in [x]][0] + len(CYCLE) + EMBED.weight.sum()
        x = self.scaled(TABLE["b"](STEP(shifted(x)))) + self.limit
        return x + constant() + helpers.SHIFT + OPTIONS.apply(x)
"""
# What is put in the place of what, in which text, and changes what the model computes.
EDITS = {
    "number": ("MODEL", "NUMBER, TEXT, PAIR = 1.0", "NUMBER, TEXT, PAIR = 2.0"),
    "text": ("MODEL", '"relu"', '"tanh"'),
    "tuple in a tuple": ("MODEL", "(2, 3)", "(2, 4)"),
    "tensor": ("MODEL", "torch.zeros(3)", "torch.ones(3)"),
    "array": ("MODEL", "np.zeros(3)", "np.ones(3)"),
    "list in a table": ("MODEL", "[1.0]", "[2.0]"),
    "function in a table": ("MODEL", "x * 1.5", "x * 2.5"),
    "partial": ("MODEL", "max=4.0", "max=5.0"),
    "another library's function": ("MODEL", "ACTIVATION = torch.tanh", "ACTIVATION = torch.relu"),
    "module": ("MODEL", "nn.init.ones_", "nn.init.zeros_"),
    "function": ("MODEL", "return x * NUMBER", "return x + NUMBER"),
    "name in a function": ("MODEL", "ACTIVATION(y)", "torch.sigmoid(y)"),
    "closure": ("MODEL", "make(1.0)", "make(2.0)"),
    "cached function": ("MODEL", "return 1.0", "return 2.0"),
    "attribute of a base class": ("MODEL", "width = 1.0", "width = 2.0"),
    "method of a base class": ("MODEL", "* self.width", "+ self.width"),
    "default": ("MODEL", "slope=0.5", "slope=0.6"),
    "read by a property": ("MODEL", "LIMIT = 3", "LIMIT = 4"),
    "constant of another module": ("HELPERS", "SHIFT = 1.0", "SHIFT = 2.0"),
    "default in another module": ("HELPERS", "by=2.0", "by=3.0"),
    "function of another module": ("HELPERS", "x + by", "x - by"),
    "attribute of an object": ("HELPERS", "self.power = 2", "self.power = 3"),
    "method of an object": ("HELPERS", "x ** EXPONENT", "x * EXPONENT"),
    "read by an object": ("HELPERS", "EXPONENT = 1", "EXPONENT = 2"),
}
SILENT = {
    "remark": ("MODEL", "# a remark", "# another remark"),
    "not read": ("MODEL", "UNREAD = 1\n", "UNREAD = 2\n"),
    "not read elsewhere": ("HELPERS", "UNREAD = 1.0", "UNREAD = 2.0"),
    "assigned when it runs": ("MODEL", "CALLS = 0", "CALLS = 7"),
}


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    yield
    for name in ("helpers", "written"):
        sys.modules.pop(name, None)


def load(name: str, text: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(text, vars(module))
    return module


def written(edit: tuple[str, str, str] | None = None) -> nn.Module:
    """The model of both texts, one of them edited."""
    texts = {"HELPERS": HELPERS, "MODEL": MODEL}
    if edit is not None:
        which, before, after = edit
        assert before in texts[which]
        texts[which] = texts[which].replace(before, after, 1)
    load("helpers", texts["HELPERS"])
    torch.manual_seed(0)
    model: nn.Module = load("written", texts["MODEL"]).Net()
    return model


def test_what_the_code_of_a_model_reads_counts_and_nothing_else() -> None:
    plain = digest_model(written())
    assert digest_model(written()) == plain
    found = {name: digest_model(written(edit)) for name, edit in EDITS.items()}
    assert [name for name, value in found.items() if value == plain] == []
    assert len(set(found.values())) == len(EDITS)
    assert [name for name, edit in SILENT.items() if digest_model(written(edit)) != plain] == []


def test_what_a_method_leaves_in_it_makes_no_other_model() -> None:
    """Else what the next method is judged on would be taken for a model of its own."""
    model, found = written(), Identity()
    before = found.digest(model)
    vars(sys.modules["written"])["NUMBER"] = 5.0
    model.extra = 1.0  # type: ignore[assignment]
    assert found.digest(model) != before
    del model.extra
    assert found.digest(model) == before != digest_model(model)


def test_what_resists_or_is_huge_stands_in_no_ones_way() -> None:
    text = (
        "import threading, torch\nfrom torch import nn\n"
        "class Shy:\n    def __getattribute__(self, name):\n        raise RuntimeError(name)\n"
        "SHY, LOCK, MANY, KEYS = Shy(), threading.Lock(), list(range(100_000)), {object(): 1}\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n        return x + len(MANY) + len(KEYS) + (SHY is LOCK) + len(ALL)\n"
        "MODEL = Net()\nALL = [MODEL]\nMODEL.parents = [MODEL]\nMODEL.all = ALL\n"
    )
    first = digest_model(load("written", text).MODEL)
    model = load("written", text).MODEL
    assert digest_model(model) == first
    found = Identity()
    found.digest(model)
    assert found.digest(model) == first


def test_a_closure_keeps_no_model_alive() -> None:
    found = Identity()

    def digested() -> "weakref.ref[nn.Module]":
        model = nn.Linear(3, 2)
        model.forward = lambda inputs: nn.functional.linear(inputs, model.weight)  # type: ignore[method-assign]
        found.digest(model)
        return weakref.ref(model)

    gone = digested()
    gc.collect()
    assert gone() is None


def test_installed_code_is_not_followed() -> None:
    assert surroundings(nn.Sequential(nn.Linear(2, 2), nn.MultiheadAttention(2, 1))) == {}
