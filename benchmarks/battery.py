"""Time of a battery over the time of the forward and backward passes that it needs.

    python benchmarks/battery.py [--method xattr:gradient] [--checks EXPR] [--warm]

Every call of a model during the battery is recorded (batch size, memory format, with or without gradient);
afterwards the same calls are made again with nothing around them. Both run in one process.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn

from xattr_check import load_subject, run_battery


@dataclass(frozen=True)
class Call:
    shape: torch.Size
    layout: torch.memory_format
    gradient: bool
    training: bool


class Recorder(nn.Module):
    """Records the calls of the module it stands around; copies of it record into the same list."""

    def __init__(self, model: nn.Module, calls: list[Call]) -> None:
        super().__init__()
        self.model = model
        self.record = [calls]

    def __deepcopy__(self, memo: Any) -> "Recorder":
        import copy

        return Recorder(copy.deepcopy(self.model, memo), self.record[0])

    def forward(self, inputs: Tensor) -> Tensor:
        last = inputs.is_contiguous(memory_format=torch.channels_last) and not inputs.is_contiguous()
        self.record[0].append(
            Call(
                inputs.shape,
                torch.channels_last if last else torch.contiguous_format,
                torch.is_grad_enabled() and inputs.requires_grad,
                any(module.training for module in self.model.modules()),
            )
        )
        return self.model(inputs)


def replay(model: nn.Module, calls: list[Call]) -> float:
    """Seconds of the calls alone."""
    started = time.perf_counter()
    for call in calls:
        inputs = torch.zeros(call.shape).contiguous(memory_format=call.layout)
        if call.gradient:
            inputs.requires_grad_()
            torch.autograd.grad(model(inputs).sum(), inputs)
        else:
            with torch.inference_mode():
                model(inputs)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="xattr:gradient")
    parser.add_argument("--checks")
    parser.add_argument("--warm", action="store_true", help="run once before, so that the store is warm")
    arguments = parser.parse_args()
    from dataclasses import replace

    calls: list[Call] = []
    plain = load_subject("digits")
    siblings = {name: Recorder(model, calls) for name, model in plain.siblings.items()}
    subject = replace(plain, model=Recorder(plain.model, calls), siblings=siblings)
    with tempfile.TemporaryDirectory() as storage:
        for _ in range(2 if arguments.warm else 1):
            calls.clear()
            started = time.perf_counter()
            results = run_battery(arguments.method, subject, checks=arguments.checks, storage=storage)
            seconds = time.perf_counter() - started
    alone = min(replay(plain.model, calls) for _ in range(2))
    images = sum(call.shape[0] for call in calls)
    backwards = sum(call.shape[0] for call in calls if call.gradient)
    for verdict in sorted(results, key=lambda verdict: -verdict.seconds)[:6]:
        print(f"  {verdict.check:<26}{verdict.seconds:6.2f} s  n={verdict.n}")
    store = "warm" if arguments.warm else "cold"
    print(
        f"{arguments.method}, {store} store: {seconds:.1f} s; its {len(calls)} calls, {images} forwards "
        f"({backwards} with backward), alone: {alone:.1f} s; ratio {seconds / alone:.2f}"
    )


if __name__ == "__main__":
    main()
