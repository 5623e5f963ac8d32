"""Accelerators of every kind, on a machine that has none of them."""

from types import SimpleNamespace

import pytest
import torch
from accelerators import accelerators
from torch import Tensor

from xattr_check.battery.battery import resolve_device
from xattr_check.core import devices
from xattr_check.core.state import full_precision, preserved_generators
from xattr_check.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "taken", "auto", "refused"),
    [
        ("cuda", ["cuda", "cuda:1", "cpu"], "cuda", ["cuda:2", "mps", "xpu:0", "meta"]),
        ("xpu", ["xpu", "xpu:1", "cpu"], "xpu", ["xpu:2", "cuda"]),
        # It has no float64: only who asks for it gets it.
        ("mps", ["mps", "mps:0", "cpu"], "cpu", ["mps:2", "cuda"]),
    ],
)
def test_what_torch_sees_is_taken_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, kind: str, taken: list[str], auto: str, refused: list[str]
) -> None:
    accelerators(monkeypatch, kind, 2)
    assert [resolve_device(name) for name in (*taken, "auto")] == [
        torch.device(one) for one in (*taken, auto)
    ]
    for name in refused:
        with pytest.raises(UsageError) as caught:
            resolve_device(name)
        assert f"expected one of the devices that torch sees here, cpu, {kind}:0, {kind}:1" in str(
            caught.value
        )


def test_without_an_accelerator_there_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerators(monkeypatch, "cuda", 0)
    assert resolve_device("auto") == torch.device("cpu")
    assert devices.device_names() == ["cpu"]
    devices.release_memory()


class Generators:
    """The generators of an accelerator of two devices, as `torch.xpu` has them."""

    def __init__(self) -> None:
        self.states = [torch.zeros(1), torch.zeros(1)]

    def get_rng_state_all(self) -> list[Tensor]:
        return list(self.states)

    def set_rng_state_all(self, states: list[Tensor]) -> None:
        self.states = list(states)

    def manual_seed_all(self, seed: int) -> None:
        self.states = [torch.full((1,), float(seed))] * 2

    manual_seed = manual_seed_all


def test_generators_of_every_accelerator_are_seeded_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Generators()
    one = SimpleNamespace(
        get_rng_state=lambda: many.states[0],
        set_rng_state=lambda state: many.set_rng_state_all([state] * 2),
        manual_seed=many.manual_seed_all,
    )
    for kind, module in (("xpu", many), ("mps", one)):
        accelerators(monkeypatch, kind, 1)
        monkeypatch.setattr(torch, "get_device_module", lambda _, module=module: module)
        with preserved_generators(7):
            assert many.states[0] == 7
        assert many.states[0] == 0


def test_without_float64_figures_are_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "WITHOUT_FLOAT64", ("meta",))
    there, here = torch.zeros(2, device="meta"), torch.zeros(2)
    with full_precision(there.device):
        made = torch.zeros(2, dtype=torch.float64, device="meta")
        brought = here.double().to("meta"), here.double().to(there.device), here.double().to(there)
        found = [
            there.double(),
            there.to(torch.float64),
            torch.full_like(there, 1, dtype=torch.float64),
            made,
        ]
        assert {one.dtype for one in (*found, *brought)} == {torch.float32}
        assert here.double().dtype == torch.float64
    assert there.double().dtype == torch.float64
