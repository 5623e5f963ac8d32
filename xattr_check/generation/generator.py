"""What generated features are drawn on, certified by and shown as, for one model."""

from dataclasses import asdict, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xattr_check.core.run import Run
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.generation.certify import ASKED, DRAWS, Certificate, Levels, Stage
from xattr_check.generation.geometry import geometry_of
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples
from xattr_check.storage.digest import derive_seed, digest
from xattr_check.storage.store import Tensors

# Bits of a seed that torch's CPU generator reads; where places are fixed, those above say which they are.
LOWER = 32
# Inputs over which it is seen what outputs have in common.
SEEN = 128


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
        self.layout, self.geometry = subject.layout, geometry_of(subject)
        self.inputs = self.geometry.inputs_of(subject)
        self.low = self.inputs.amin(self.layout.alike, keepdim=True)[0]
        self.high = self.inputs.amax(self.layout.alike, keepdim=True)[0]
        self.stage = Stage(
            self.geometry.reading(subject.model),
            self.inputs[:2],
            plan.scenario,
            run.memory,
            subject.output,
            self.geometry.paste,
        )
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
        first = self.inputs[:1].clone()
        if first.is_floating_point():  # of ids, it is what they are embedded as that carries gradients
            first = first.requires_grad_().clone()
        found: Tensor = self.stage.model(first)
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
        """(count, *F) of the plan's kind, on the device."""
        own = self.subject.reference
        if self.plan.reference == "subject" and own is not None:
            return own(count, generator).to(self.inputs)
        if self.plan.reference == "inputs":
            rows = self.geometry.rows_of(self.inputs)
            chosen = torch.randint(len(rows), (count,), generator=generator)
            return self.inputs[rows[chosen.to(self.device)]]
        return self.geometry.noise(self.inputs, self.low, self.high, self.plan.noise, count, generator)

    def range_at(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest of patches (n · F, …) at places (n, F, A), as they broadcast."""
        return self.geometry.at(self.low, places), self.geometry.at(self.high, places)

    def pieces(self, classes: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
        """(n · F, …) what a prior starts from: a piece of an input of the class that each patch makes.

        classes: (n, scenario.classes) int64. places: (n, F, A), where they are taken from if they belong
        there. Of any input, where none is of that class.
        """
        geometry, side = self.geometry, self.plan.side
        rows = geometry.rows_of(self.inputs)
        inputs, targets = self.inputs[rows], self.subject.targets[rows]
        makes = classes[:, list(self.plan.scenario.makes)].flatten().tolist()
        found = []
        for number, place in zip(makes, places.flatten(0, 1), strict=True):
            own = (targets == number).nonzero().squeeze(1)
            own = own if len(own) else torch.arange(len(inputs), device=self.device)
            chosen = own[int(torch.randint(len(own), (), generator=generator))]
            if geometry.movable:
                along = [torch.randint(n - side + 1, (), generator=generator) for n in geometry.size]
                place = (torch.stack(along) + torch.tensor(geometry.starts)).to(self.device)
            found.append(geometry.cut(inputs[chosen][None], place[None], side))
        return geometry.shares(torch.cat(found), *self.range_at(places))

    @cached_property
    def _shared(self) -> Tensor:
        """(K, K) the squared correlation of outputs over inputs; zero where one does not vary."""
        with torch.no_grad():
            # By chance: inputs may be sorted by class.
            generator = torch.Generator().manual_seed(derive_seed("seen", self.plan.seed))
            chosen = torch.randperm(len(self.inputs), generator=generator)[:SEEN]
            shown = self.inputs[chosen.to(self.inputs.device)]
            found = self.stage.outputs_of(shown)
        return found.cpu().double().T.corrcoef().square().nan_to_num(0.0, 0.0, 0.0)

    def shared(self, classes: Tensor) -> Tensor:
        """(n,) the most that two outputs have in common of their variance, of groups of classes (n, m)."""
        pairs = torch.combinations(torch.arange(classes.shape[1]))
        if not len(pairs):
            return torch.zeros(len(classes), dtype=torch.float64)
        first, second = classes[:, pairs].unbind(2)
        return self._shared[first, second].amax(1)

    def fixed_places(self, seeds: Tensor) -> Tensor:
        """(n, F, A): those that the upper bits of the seed (n,) of each sample say, see `own_places`."""
        generators = [torch.Generator().manual_seed(seed >> LOWER) for seed in seeds.tolist()]
        places = [self.plan.place(1, self.geometry, generator) for generator in generators]
        return torch.cat(places).to(self.device)

    def draw(self, seeds: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """References (n, count, *F) and places (n, count, F, A), from the seed (n,) of each sample.

        Where places are fixed, they come from the seed's upper bits, see `own_places`. Where features are
        exchanged, they are in every other draw, beginning with the first where the seed is odd.
        """
        references, places = [], []
        for seed in seeds.tolist():
            generator = torch.Generator().manual_seed(seed)
            references.append(self.references(count, generator))
            if not self.plan.fixed:
                places.append(self.plan.place(count, self.geometry, generator))
        if not self.plan.fixed:
            return torch.stack(references), torch.stack(places).to(self.device)
        own = self.fixed_places(seeds)[:, None].expand(-1, count, -1, -1)
        if self.plan.scenario.exchanged:
            turned = ((seeds[:, None] + torch.arange(count)) % 2 == 1).to(self.device)
            own = torch.where(turned[:, :, None, None], own.flip(2), own)
        return torch.stack(references), own

    def certify(
        self,
        patches: Tensor,
        classes: Tensor,
        seeds: Tensor,
        count: int = DRAWS,
        levels: Levels = ASKED,
    ) -> Certificate:
        """The certificate of n samples over so many draws from their seeds (n,), on the CPU."""
        if not len(patches):
            return Certificate.blank(self.plan.scenario, 0)
        parts = []
        at_once = max(1, self.run.memory // (count * self.inputs[0].nbytes))
        for rows in torch.arange(len(patches)).split(at_once):
            found = self.stage.certify(
                patches[rows].to(self.inputs),
                classes[rows].to(self.device),
                *self.draw(seeds[rows], count),
                levels,
            )
            parts.append([getattr(found, one.name).cpu() for one in fields(Certificate)])
        return Certificate(*(torch.cat(columns) for columns in zip(*parts, strict=True)))

    @property
    def shown(self) -> int:
        """How many draws a sample is shown on: two, where its features are exchanged in the second."""
        return 2 if self.plan.scenario.exchanged else 1

    def compose(self, samples: Samples, number: int = 0) -> tuple[Tensor, Tensor]:
        """The reference (n, *F) and the places (n, F, A) of one of the draws that samples are shown on."""
        references, places = self.draw(samples.composite, self.shown)
        return references[:, number], places[:, number]

    @cached_property
    def key(self) -> dict[str, object]:
        """What samples depend on, as the store names them."""
        two = torch.Generator().manual_seed(0)
        shown = digest(self.inputs) if self.plan.reference == "inputs" else ""
        return {
            "model": self.run.model_digest(self.subject.model),
            "output": self.subject.output.name,
            "range": digest(self.low, self.high),
            "places": self.geometry.key,
            "reference": digest(self.references(2, two), shown),
            "plan": asdict(self.plan),
            "device": self.device.type,
        }


def compose_images(maker: Maker, samples: Samples) -> Tensors:
    """Samples as inputs, so that anybody can check them with the model alone.

    `composite`, `reference` and `only_a`, `only_b`, … (n, *F): all features, none, one of them; `exchanged`
    (n, *F) all of them in each other's places, where the scenario has that; `mask_a`, … (n, *map_shape)
    bool; `target_a`, … (n,) int64.
    """
    references, places = maker.compose(samples)
    patches, geometry = samples.patches.to(references), maker.geometry
    found = {"reference": references}
    composite = references
    for feature in range(maker.plan.scenario.features):
        letter = "abcd"[feature]
        composite = geometry.paste(composite, patches[:, feature], places[:, feature])
        found[f"only_{letter}"] = geometry.paste(references, patches[:, feature], places[:, feature])
        found[f"mask_{letter}"] = geometry.mask(places[:, feature], maker.plan.side)
    found["composite"] = composite
    for number in range(1, maker.shown):
        image, places = maker.compose(samples, number)
        for feature in range(maker.plan.scenario.features):
            image = geometry.paste(image, patches[:, feature], places[:, feature])
        found["exchanged"] = image
    for number in range(maker.plan.scenario.classes):
        found[f"target_{'abcd'[number]}"] = samples.classes[:, number].to(maker.device)
    return found
