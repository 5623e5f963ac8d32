"""What docs/agreement.md says of our methods and other libraries' still holds, where those are installed."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

for library in ("captum", "zennit", "pytorch_grad_cam", "saliency", "shap"):
    pytest.importorskip(library)
pytestmark = pytest.mark.filterwarnings("ignore")
FILE = Path(__file__).parents[2] / "benchmarks" / "agreement.py"


@pytest.fixture(scope="module")
def agreement() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("agreement", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("network", ["plain", "MLP"])
def test_every_difference_is_explained(agreement: ModuleType, network: str) -> None:
    make, shape = {"plain": (agreement.plain, (3, 16, 16)), "MLP": (agreement.columns, (10,))}[network]
    given = agreement.case(make, shape)
    count = 0
    for pair in agreement.PAIRS:
        if pair.sampled:
            continue
        difference, _ = agreement.compared(pair, network, given)
        before, arrow, after = difference.partition(" → ")
        count += bool(difference)
        if not difference or difference == "refused" or agreement.alike(before):
            continue
        assert pair.why, f"{pair.ours} and {pair.theirs}: {difference}"
        assert not arrow or float(after) < float(before) / 50, f"{pair.ours} and {pair.theirs}: {difference}"
    assert count > 15
