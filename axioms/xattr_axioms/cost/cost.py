"""Cost."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from xattr_check.core import AtMost, Draw, Explainer, Measurement, Subject, axiom
from xattr_check.core.devices import synchronize
from xattr_check.core.timeout import excused_time
from xattr_check.networks.usage import Passes, peak_memory

MEBIBYTE = 2**20


@axiom(
    statement="What a map costs: passes through the model, seconds and memory.",
    family="cost",
    # How much is too much is for the user to say: gates: {cost: {at_most: 200 forwards}} in xattr.yaml.
    gate=AtMost(math.inf),
    reads="forward passes for each explained input",
    unit="forwards",
    statistic="max",
    bounds=(0, math.inf),
    inputs=8,
)
def cost(method: Explainer, subject: Subject, draw: Draw) -> Measurement:
    """Inputs that go forward through the model, over inputs explained; one row for the batch.

    The finding tells backward passes, seconds and peak memory as well, which are of a batch of 8 and over its
    size. Memory is that of the tensors which the call makes. The seconds are those of a second call, after
    a first one in which memory is measured.
    """
    passes, memory, taken = Passes(), list[list[int]](), list[float]()

    def first(*arguments: Any) -> Any:
        with peak_memory(draw.inputs.device) as found:
            memory.append(found)
            return method.method(*arguments)

    def second(*arguments: Any) -> Any:
        with passes.through(subject.model):
            started = time.perf_counter()
            maps = method.method(*arguments)
            synchronize(draw.inputs.device)
            taken.append(time.perf_counter() - started)
            return maps

    def call(function: Callable[..., Any]) -> None:
        method.calling(function).raw(subject.model, draw.inputs, draw.targets)

    before = excused_time()
    call(first)
    if excused_time() > before:
        call(first)  # what was learned for all who ask is no part of a map, nor is the memory that it took
    call(second)
    count = len(draw.inputs)
    forwards, backwards = passes.forwards / count, passes.backwards / count
    finding = (
        f"for each explained input {forwards:.4g} forward and {backwards:.4g} backward passes, "
        f"{taken[0] / count:.2g} s and {memory[-1][0] / count / MEBIBYTE:.3g} MiB"
    )
    return Measurement(torch.tensor([forwards], dtype=torch.float64), finding)
