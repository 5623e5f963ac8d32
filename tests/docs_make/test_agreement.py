"""What docs/agreement.md says of our methods and other libraries' still holds, where those are installed."""

from types import ModuleType

import pytest

for library in ("captum", "zennit", "pytorch_grad_cam", "saliency", "shap"):
    pytest.importorskip(library)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("network", ["plain", "MLP"])
def test_every_difference_is_explained(script: ModuleType, network: str) -> None:
    make, shape = {"plain": (script.plain, (3, 16, 16)), "MLP": (script.columns, (10,))}[network]
    given = script.case(make, shape)
    count = 0
    for pair in script.PAIRS:
        if pair.sampled:
            continue
        difference, _ = script.compared(pair, network, given)
        before, arrow, after = difference.partition(" → ")
        count += bool(difference)
        if not difference or difference == "refused" or script.alike(before):
            continue
        assert pair.why, f"{pair.ours} and {pair.theirs}: {difference}"
        assert not arrow or float(after) < float(before) / 50, f"{pair.ours} and {pair.theirs}: {difference}"
    assert count > 15
