"""What generated features are drawn on, certified by and shown as, for one model."""

from dataclasses import asdict, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xattr_check.core.run import Run
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.generation.certify import DRAWS, Certificate, Stage
from xattr_check.generation.patches import paste, patch_mask
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import Scenario
from xattr_check.storage.digest import digest
from xattr_check.storage.store import Tensors

# Bits of a seed that torch's CPU generator reads; where places are fixed, those above say which they are.
LOWER = 32


def own_places(seed: int, sample: int) -> int:
    """The seed of a draw whose places are those of a sample, told by a seed that all its draws share."""
    return (sample >> LOWER << LOWER) | (seed & ((1 << LOWER) - 1))


class Maker:
    """What samples for one subject and plan are made with, on the run's device.

    Raises UsageError for a model whose outputs do not depend on its inputs by gradients, or that has fewer
    outputs than the scenario watches.
    """

    def __init__(self, subject: Subject, plan: Plan, run: Run) -> None:
        self.subject, self.plan, self.run = subject, plan, run
        self.device = subject.inputs.device
        self.size = (subject.spatial[0], subject.spatial[1])
        self.channels = subject.inputs.shape[1]
        self.low = subject.inputs.amin((0, 2, 3))[:, None, None]
        self.high = subject.inputs.amax((0, 2, 3))[:, None, None]
        self.stage = Stage(subject.model, subject.inputs[:2], plan.scenario, run.memory, subject.output)
        outputs = self._outputs()
        self.outputs = int(outputs.shape[1])
        if self.outputs < max(2, plan.scenario.classes):
            raise UsageError(
                option="subject",
                value=subject.name,
                expected=f"a model with at least {max(2, plan.scenario.classes)} outputs for "
                f"{plan.scenario.name!r}",
                came=str(self.outputs),
            )
        if not outputs.requires_grad:
            raise UsageError(
                "no gradient reaches the inputs",
                option="subject",
                value=subject.name,
                hint=f"it stops at {self._stopper()}",
            )

    @torch.enable_grad()
    def _outputs(self) -> Tensor:
        """(1, K) for one input, with the way that gradients take from it; of a copy, for models in place."""
        found: Tensor = self.stage.model(self.subject.inputs[:1].clone().requires_grad_().clone())
        return found

    def _stopper(self) -> str:
        """The first module that is given what carries a gradient and returns what does not."""
        found: list[str] = []

        def carries(value: object) -> bool:
            return isinstance(value, Tensor) and value.requires_grad

        def hook(name: str) -> Any:
            def look(module: object, args: Any, output: Any) -> None:
                if any(map(carries, args)) and not carries(output):
                    found.append(f"module {name!r} ({type(module).__name__})")

            return look

        named = [(name, module) for name, module in self.stage.model.named_modules() if name]
        handles = [module.register_forward_hook(hook(name)) for name, module in named]
        try:
            self._outputs()
        finally:
            for handle in handles:
                handle.remove()
        return found[0] if found else "the model's own forward"

    def references(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, C, H, W) of the plan's kind, on the device."""
        own = self.subject.reference
        if self.plan.reference == "subject" and own is not None:
            return own(count, generator).to(self.subject.inputs)
        if self.plan.reference == "inputs":
            chosen = torch.randint(len(self.subject.inputs), (count,), generator=generator)
            return self.subject.inputs[chosen.to(self.device)]
        noise = torch.randn(count, self.channels, *self.size, generator=generator).to(self.subject.inputs)
        middle, span = (self.high + self.low) / 2, self.high - self.low
        return (middle + self.plan.noise * span * noise).clamp(self.low, self.high)

    def pieces(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """(n · F, C, side, side) shares of the range: a piece of an input of the class that each patch makes.

        classes: (n, scenario.classes) int64. Of any input, where none is of that class.
        """
        inputs, targets, side = self.subject.inputs, self.subject.targets, self.plan.side
        found = []
        for number in classes[:, list(self.plan.scenario.makes)].flatten().tolist():
            own = (targets == number).nonzero().squeeze(1)
            own = own if len(own) else torch.arange(len(inputs), device=self.device)
            chosen = own[int(torch.randint(len(own), (), generator=generator))]
            top, left = (
                int(torch.randint(length - side + 1, (), generator=generator)) for length in self.size
            )
            found.append(inputs[chosen, :, top : top + side, left : left + side])
        span = torch.where(self.high > self.low, self.high - self.low, 1)
        # Whatever the model computes in: half precision is too coarse to take small steps in.
        return ((torch.stack(found) - self.low) / span).float()

    def draw(self, seeds: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """References (n, count, C, H, W) and places (n, count, F, 2), from the seed (n,) of each sample.

        Where places are fixed, they come from the seed's upper bits, see `own_places`.
        """
        references, places = [], []
        for seed in seeds.tolist():
            generator = torch.Generator().manual_seed(seed)
            references.append(self.references(count, generator))
            if self.plan.fixed:
                own = torch.Generator().manual_seed(seed >> LOWER)
                places.append(self.plan.place(1, self.size, own).expand(count, -1, -1))
            else:
                places.append(self.plan.place(count, self.size, generator))
        return torch.stack(references), torch.stack(places).to(self.device)

    def certify(self, patches: Tensor, classes: Tensor, seeds: Tensor, count: int = DRAWS) -> Certificate:
        """The certificate of n samples over so many draws from their seeds (n,), on the CPU."""
        if not len(patches):
            return _nothing(self.plan.scenario)
        parts = []
        at_once = max(1, self.run.memory // (count * self.subject.inputs[0].nbytes))
        for rows in torch.arange(len(patches)).split(at_once):
            found = self.stage.certify(
                patches[rows].to(self.subject.inputs),
                classes[rows].to(self.device),
                *self.draw(seeds[rows], count),
            )
            parts.append([getattr(found, one.name).cpu() for one in fields(Certificate)])
        return Certificate(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    def compose(self, samples: Samples) -> tuple[Tensor, Tensor]:
        """The reference (n, C, H, W) and the places (n, F, 2) that samples are shown on."""
        references, places = self.draw(samples.composite, 1)
        return references[:, 0], places[:, 0]

    @cached_property
    def key(self) -> dict[str, object]:
        """What samples depend on, as the store names them."""
        two = torch.Generator().manual_seed(0)
        shown = digest(self.subject.inputs) if self.plan.reference == "inputs" else ""
        return {
            "model": self.run.model_digest(self.subject.model),
            "output": self.subject.output.name,
            "range": digest(self.low, self.high),
            "size": list(self.size),
            "reference": digest(self.references(2, two), shown),
            "plan": asdict(self.plan),
            "device": self.device.type,
        }


def _nothing(scenario: Scenario) -> Certificate:
    widths = {"median": len(scenario.changes), "ninetieth": len(scenario.changes)}
    widths |= {"softmax": scenario.features, "reach": scenario.features}
    return Certificate(torch.zeros(0), *(torch.zeros(0, widths[one.name]) for one in fields(Certificate)[1:]))


def compose_images(maker: Maker, samples: Samples) -> Tensors:
    """Samples as images, so that anybody can check them with the model alone.

    `composite`, `reference` and `only_a`, `only_b`, … (n, C, H, W): all features, none, one of them;
    `mask_a`, … (n, 1, H, W) bool; `target_a`, … (n,) int64.
    """
    references, places = maker.compose(samples)
    patches = samples.patches.to(references)
    found = {"reference": references}
    composite = references
    for feature in range(maker.plan.scenario.features):
        letter = "abcd"[feature]
        composite = paste(composite, patches[:, feature], places[:, feature])
        found[f"only_{letter}"] = paste(references, patches[:, feature], places[:, feature])
        found[f"mask_{letter}"] = patch_mask(places[:, feature], maker.plan.side, maker.size)
    found["composite"] = composite
    for number in range(maker.plan.scenario.classes):
        found[f"target_{'abcd'[number]}"] = samples.classes[:, number].to(maker.device)
    return found
