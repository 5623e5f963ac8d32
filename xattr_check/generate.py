"""Features made by optimisation with the model in the loop: many at once, resumed where interrupted."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xattr_check.certify import DRAWS, Certificate, Stage
from xattr_check.digest import derive_seed, digest
from xattr_check.errors import UsageError
from xattr_check.objectives import OBJECTIVES
from xattr_check.patches import paste, patch_mask, place
from xattr_check.prior import Decoders
from xattr_check.run import Run
from xattr_check.scenarios import Scenario
from xattr_check.store import Tensors
from xattr_check.subject import Subject

# Part of every key: samples of another version are never read.
VERSION = 2
# Samples that are optimised side by side, and kept as one entry of the store.
BLOCK = 32
# References and placements that a step shows each sample.
DRAWS_A_STEP = 2
# Steps after which a block's samples are certified for the first time, and then again and again.
FIRST, EVERY = 100, 50
# Steps after which the time that a block takes is foreseen.
PATIENCE = 5
# Seconds between two snapshots of a block at work: what an interruption loses.
SNAPSHOT = 20.0
# The share of every bound of the certificate that a sample may use, on few draws and then on many, before it
# is certified on others.
MARGIN, SCREENS = 0.8, (16, 64)
# References and placements among which one is looked for on which a composite itself keeps the certificate.
COMPOSITES = 16
# The share of the last patch that enters the running mean of a sample's decoder in a step.
MEAN_SHARE = 0.02
REFERENCES = ("subject", "noise", "inputs")
# Told before every step: the number of the block, the step, how many of its samples are certified.
Watch = Callable[[int, int, int], None]


def default_side(size: tuple[int, int]) -> int:
    """Pixels on a side of a patch: 7/16 of the smaller side of the image, 14 at 32 and 98 at 224."""
    return max(4, min(size) * 7 // 16)


def default_gap(size: tuple[int, int]) -> int:
    """Pixels between patches at the least, so that one hardly acts on the other: 3 at 32, 21 at 224."""
    return min(size) * 3 // 32


@dataclass(frozen=True)
class Plan:
    """How samples are made; two plans never share samples.

    side: pixels on a side of each patch. gap: pixels between two of them at the least; 0 in `saturation`,
        where they lie side by side, since features that are far apart hardly act on each other.
    reference: `subject` (its own), `noise` (normal, around the middle of the inputs' range, a tenth of it
        wide, clipped to it) or `inputs` (one of the subject's inputs).
    objective: `constrained` or `dynamic`. steps: after so many a sample that is not certified is given up.
    """

    scenario: Scenario
    side: int
    gap: int
    reference: str = "noise"
    objective: str = "constrained"
    steps: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.reference not in REFERENCES:
            raise UsageError(f"reference {self.reference!r}: expected one of {', '.join(REFERENCES)}")
        if self.objective not in OBJECTIVES:
            raise UsageError(f"objective {self.objective!r}: expected one of {', '.join(OBJECTIVES)}")
        if self.side < 4:
            raise UsageError(f"patch={self.side}: expected at least 4 pixels")

    @classmethod
    def of(
        cls,
        subject: Subject,
        scenario: Scenario,
        *,
        side: int | None = None,
        reference: str | None = None,
        objective: str = "constrained",
        steps: int = 1500,
        seed: int = 0,
    ) -> "Plan":
        """The plan for a subject, with what is not said chosen to suit it. Raises UsageError."""
        if not subject.is_image:
            raise UsageError(
                f"subject {subject.name!r}: features are generated for images (N, C, H, W), "
                f"came {tuple(subject.inputs.shape)}"
            )
        size = (subject.spatial[0], subject.spatial[1])
        chosen = default_side(size) if side is None else side
        if side is None and not scenario.saturating and scenario.features > 2:
            chosen = min(chosen, (min(size) - default_gap(size)) // 2)
        gap = 0 if scenario.saturating else default_gap(size)
        if reference is None:
            reference = "noise" if subject.reference is None else "subject"
        if reference == "subject" and subject.reference is None:
            raise UsageError(f"subject {subject.name!r}: has no reference of its own; choose noise or inputs")
        made = cls(scenario, chosen, gap, reference, objective, steps, seed)
        made.place(1, size, torch.Generator().manual_seed(0))  # raises where they do not fit
        return made

    def place(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """(count, F, 2) places of the features."""
        return place(
            count,
            self.scenario.features,
            self.side,
            size,
            generator,
            gap=self.gap,
            together=self.scenario.saturating,
        )


@dataclass(frozen=True)
class Samples:
    """Certified samples.

    patches: (n, F, C, side, side) in the model's input space, rounded to half precision.
    classes: (n, scenario.classes) int64.
    composite, draws: (n,) int64 seeds of the reference and places shown, and of those behind the certificate.
    steps: (n,) int64, when they were certified.
    """

    patches: Tensor
    classes: Tensor
    composite: Tensor
    draws: Tensor
    steps: Tensor
    certificate: Certificate

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, rows: Tensor | slice) -> "Samples":
        """Some of the samples."""
        index = torch.arange(len(self))[rows]
        return Samples(*(getattr(self, one.name)[index] for one in fields(self)))

    @classmethod
    def joined(cls, parts: list["Samples"]) -> "Samples":
        """Several lots of samples as one."""
        tables = [part.tensors() for part in parts]
        return cls.of({name: torch.cat([table[name] for table in tables]) for name in tables[0]})

    def tensors(self) -> Tensors:
        """Everything as tensors by name, patches in half precision."""
        certificate = {
            f"certificate.{one.name}": getattr(self.certificate, one.name) for one in fields(Certificate)
        }
        own = {name: getattr(self, name).cpu() for name in ("classes", "composite", "draws", "steps")}
        return {"patches": self.patches.half().cpu(), **own, **certificate}

    @classmethod
    def of(cls, tensors: Tensors) -> "Samples":
        """What `tensors` gave."""
        return cls(
            patches=tensors["patches"].float(),
            certificate=Certificate(*(tensors[f"certificate.{one.name}"] for one in fields(Certificate))),
            **{name: tensors[name] for name in ("classes", "composite", "draws", "steps")},
        )


class OutOfTime(Exception):
    """The time for generation is over; carries what was certified in the block at work, and its steps."""

    def __init__(self, samples: Samples, steps: int) -> None:
        super().__init__()
        self.samples, self.steps = samples, steps


@dataclass(frozen=True)
class Yield:
    """What a generation came to: samples, of how many started, in how many seconds.

    steps: that the last block took. finished: whether it came to its end; not where the time was over.
    """

    samples: Samples
    started: int
    seconds: float
    steps: int
    finished: bool = True


class Generator:
    """Makes samples for one subject and plan on the run's device, block by block.

    Raises UsageError for a model whose outputs do not depend on its inputs by gradients, or that has fewer
    outputs than the scenario watches.
    """

    def __init__(self, subject: Subject, plan: Plan, run: Run, watch: Watch | None = None) -> None:
        self.subject, self.plan, self.run, self.watch = subject, plan, run, watch
        self.device = subject.inputs.device
        self.size = (subject.spatial[0], subject.spatial[1])
        self.channels = subject.inputs.shape[1]
        self.low = subject.inputs.amin((0, 2, 3))[:, None, None]
        self.high = subject.inputs.amax((0, 2, 3))[:, None, None]
        self.stage = Stage(subject.model, subject.inputs[:2], plan.scenario, run.memory)
        outputs = self._outputs()
        self.outputs = int(outputs.shape[1])
        if self.outputs < max(2, plan.scenario.classes):
            raise UsageError(
                f"subject {subject.name!r}: expected a model with at least {max(2, plan.scenario.classes)} "
                f"outputs for {plan.scenario.name!r}, came {self.outputs}"
            )
        if not outputs.requires_grad:
            raise UsageError(
                f"subject {subject.name!r}: no gradient reaches the inputs; it stops at {self._stopper()}"
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
        return (middle + 0.1 * span * noise).clamp(self.low, self.high)

    def draw(self, seeds: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """References (n, count, C, H, W) and places (n, count, F, 2), from the seed (n,) of each sample."""
        references, places = [], []
        for seed in seeds.tolist():
            generator = torch.Generator().manual_seed(seed)
            references.append(self.references(count, generator))
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
            "version": VERSION,
            "model": self.run.model_digest(self.subject.model),
            "range": digest(self.low, self.high),
            "size": list(self.size),
            "reference": digest(self.references(2, two), shown),
            "plan": asdict(self.plan),
            "block": BLOCK,
            "device": self.device.type,
        }

    def block(self, number: int, deadline: float = math.inf) -> Samples:
        """The certified samples of a block of BLOCK started ones, from the store where they are.

        deadline: time.monotonic() after which OutOfTime is raised; the next call goes on from a snapshot.
        """
        key = {**self.key, "number": number}
        found = self.run.store.fetch(
            "generated", key, lambda: self._optimised(number, key, deadline).tensors()
        )
        self.run.store.remove("snapshot", key)  # not before the samples are stored
        return Samples.of(found)

    def take(self, blocks: int, count: int | None = None, seconds: float = math.inf) -> Yield:
        """The samples of so many blocks, or of as few of them as it takes for count samples.

        seconds: after which what is certified so far is returned; the next call goes on from there.
        """
        started, parts, finished = time.monotonic(), [], True
        steps = 0
        for number in range(blocks):
            try:
                parts.append(self.block(number, started + seconds))
                steps = int(parts[-1].steps.max()) if len(parts[-1]) else self.plan.steps
            except OutOfTime as over:
                parts.append(over.samples)
                steps, finished = over.steps, False
            if not finished or (count is not None and sum(map(len, parts)) >= count):
                break
        samples = Samples.joined(parts)
        spent = time.monotonic() - started
        return Yield(
            samples if count is None else samples[:count], len(parts) * BLOCK, spent, steps, finished
        )

    def _optimised(self, number: int, key: dict[str, object], deadline: float) -> Samples:
        block = _Block(self, number)
        saved = self.run.store.read("snapshot", key)
        if saved is not None:
            block.load(saved)
        began = latest = time.monotonic()
        first = block.step
        while not block.finished:
            done = int((block.certified > 0).sum())
            self.run.progress(
                f"{self.plan.scenario.name} features, block {number + 1}: step {block.step} of at most "
                f"{self.plan.steps}, {done} of {BLOCK} samples certified"
            )
            if self.watch is not None:
                self.watch(number, block.step, done)
            block.advance()
            now = time.monotonic()
            # Not even the first certificates would be reached in time: better said now than at the end.
            ahead = (now - began) / (block.step - first) * max(0, FIRST - block.step)
            over = now > deadline or (block.step - first >= PATIENCE and now + ahead > deadline)
            over &= not block.finished
            if now - latest > SNAPSHOT or over:
                self.run.store.write("snapshot", key, block.state())
                latest = now
            if over:
                raise OutOfTime(block.samples(), block.step)
        return block.samples()


class _Block:
    """Samples at work side by side; none depends on another."""

    def __init__(self, maker: Generator, number: int) -> None:
        self.maker, self.plan, self.number = maker, maker.plan, number
        scenario = self.plan.scenario
        self.objective = OBJECTIVES[self.plan.objective]
        generator = torch.Generator().manual_seed(derive_seed("features", self.plan.seed, number))
        order = [torch.randperm(maker.outputs, generator=generator) for _ in range(BLOCK)]
        self.classes = torch.stack(order)[:, : scenario.classes].to(maker.device)
        count = BLOCK * scenario.features
        self.decoders = Decoders(count, maker.channels, self.plan.side, generator).to(maker.device)
        self.mean = [parameter.detach().clone() for parameter in self.decoders.parameters()]
        self.optimizer = self.objective.optimizer(self.decoders.parameters())
        self.rate = self.optimizer.param_groups[0]["lr"]
        self.averages: Tensor | None = None
        self.step = 0
        self.active = torch.ones(BLOCK, dtype=torch.bool)
        shape = (BLOCK, scenario.features, maker.channels, self.plan.side, self.plan.side)
        self.patches = maker.low.new_zeros(shape)
        self.certified, self.composite, self.draws = torch.zeros(3, BLOCK, dtype=torch.int64).unbind()

    def _made(self) -> Tensor:
        """(BLOCK, F, C, side, side) by the decoders as they are, in the model's input space."""
        low, high = self.maker.low, self.maker.high
        made: Tensor = (low + (high - low) * self.decoders()).to(low)
        return made.reshape(BLOCK, -1, *made.shape[1:])

    @torch.no_grad()
    def _usual(self) -> Tensor:
        """The same by the running mean of the decoders, as it would be stored."""
        parameters = list(self.decoders.parameters())
        kept = [parameter.clone() for parameter in parameters]
        for parameter, mean in zip(parameters, self.mean, strict=True):
            parameter.copy_(mean)
        made = self._made()
        made = made.half().to(made)
        for parameter, before in zip(parameters, kept, strict=True):
            parameter.copy_(before)
        return made

    def _seeds(self, purpose: str, rows: Tensor) -> Tensor:
        """(m,) int64: one for each of the samples (m,) and every step, whatever becomes of the others."""
        parts = (self.plan.seed, self.number)
        return torch.tensor([derive_seed(purpose, *parts, row, self.step) for row in rows.tolist()])

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.plan.steps or not bool(self.active.any())

    def advance(self) -> None:
        """One step, and the certificates when they are due."""
        self._learn()
        self.step += 1
        last = self.step == self.plan.steps
        if last or (self.step >= FIRST and (self.step - FIRST) % EVERY == 0):
            self._certify()

    def _learn(self) -> None:
        maker, rows = self.maker, self.active.nonzero().squeeze(1)
        made = self._made()
        shown = made.detach()[rows.to(made.device)]
        references, places = maker.draw(self._seeds("step", rows), DRAWS_A_STEP)
        variants = self.objective.variants(self.plan.scenario)
        gradient, averages = torch.zeros_like(made), []

        def work(part: slice) -> None:
            chosen = rows[part].to(made.device)
            patches = shown[part].requires_grad_()
            before = None if self.averages is None else self.averages[chosen]
            with torch.enable_grad():
                outcome = maker.stage.outcome(
                    patches, self.classes[chosen], references[part], places[part], variants
                )
                loss, after = self.objective.loss(outcome, self.plan.scenario, before, self.step)
                (found,) = torch.autograd.grad(loss.sum(), patches)
            gradient[chosen] = found
            averages.append(after.detach())

        maker.stage.in_chunks(len(rows), DRAWS_A_STEP, len(variants), work)
        after = torch.cat(averages)
        if self.averages is None:
            self.averages = after
        else:
            self.averages[rows.to(after.device)] = after
        self._give_up(~torch.isfinite(gradient).flatten(1).all(1))
        gradient.nan_to_num_(0.0, 0.0, 0.0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * self.objective.rate(self.step / self.plan.steps)
        self.optimizer.zero_grad()
        made.backward(gradient)
        self.optimizer.step()
        share = max(MEAN_SHARE, 10 / (self.step + 10))  # the first steps are not what is wanted
        for mean, parameter in zip(self.mean, self.decoders.parameters(), strict=True):
            mean.lerp_(parameter.detach(), share)

    def _give_up(self, broken: Tensor) -> None:
        """Let go of samples whose optimisation left the finite numbers."""
        self.active &= ~broken.cpu()

    def _certify(self) -> None:
        maker, rows = self.maker, self.active.nonzero().squeeze(1)
        if not len(rows):
            return
        chosen = rows.to(maker.device)
        patches, classes = self._usual()[chosen], self.classes[chosen]

        def holding(index: Tensor, draws: Tensor, count: int, margin: float = 1.0) -> Tensor:
            """Those of the samples (m,) whose certificate holds on so many draws from their seeds."""
            if not len(index):
                return index
            where = index.to(maker.device)
            return index[maker.certify(patches[where], classes[where], draws[index], count).within(margin)]

        # First with a margin, so that whoever certifies them again finds the same; what has not got that far
        # at the end has to hold as it is. Then the certificate, on draws that have chosen nothing.
        margin = 1.0 if self.step == self.plan.steps else MARGIN
        looking = torch.arange(len(rows))
        for count in SCREENS:
            looking = holding(looking, self._seeds(f"screen {count}", rows), count, margin)
        draws = self._seeds("certificate", rows)
        looking = holding(looking, draws, DRAWS)
        composite = torch.zeros_like(draws)
        for attempt in range(COMPOSITES):
            tried = self._seeds(f"composite {attempt}", rows)
            kept = holding(looking, tried, 1)
            composite[kept] = tried[kept]
            looking = looking[composite[looking] == 0]
        found = rows[composite != 0]
        self.patches[found.to(maker.device)] = patches[(composite != 0).to(maker.device)]
        self.composite[found], self.draws[found] = composite[composite != 0], draws[composite != 0]
        self.certified[found] = self.step
        self.active[found] = False

    def samples(self) -> Samples:
        """Those that are certified so far."""
        rows = self.certified.nonzero().squeeze(1)
        patches, classes = self.patches.cpu()[rows], self.classes.cpu()[rows]
        draws = self.draws[rows]
        return Samples(
            patches=patches,
            classes=classes,
            composite=self.composite[rows],
            draws=draws,
            steps=self.certified[rows],
            certificate=self.maker.certify(patches, classes, draws),
        )

    def state(self) -> Tensors:
        """Everything that the next step depends on."""
        found = {f"decoders.{name}": tensor for name, tensor in self.decoders.state_dict().items()}
        found |= {f"mean.{number}": tensor for number, tensor in enumerate(self.mean)}
        for number, kept in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in kept.items()}
        if self.averages is not None:
            found["averages"] = self.averages
        names = ("active", "patches", "certified", "composite", "draws")
        found |= {f"block.{name}": getattr(self, name) for name in names}
        return {**found, "step": torch.tensor(self.step)}

    def load(self, saved: Tensors) -> None:
        """Go on from a state."""
        device = self.maker.device
        self.decoders.load_state_dict(
            {name.removeprefix("decoders."): t for name, t in saved.items() if name.startswith("decoders.")}
        )
        self.mean = [saved[f"mean.{number}"].to(device) for number in range(len(self.mean))]
        kept: dict[int, dict[str, Tensor]] = {}
        for name, tensor in saved.items():
            if name.startswith("optimizer."):
                _, number, what = name.split(".")
                kept.setdefault(int(number), {})[what] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        self.averages = saved["averages"].to(device) if "averages" in saved else None
        for name in ("active", "certified", "composite", "draws"):
            setattr(self, name, saved[f"block.{name}"])
        self.patches = saved["block.patches"].to(device)
        self.step = int(saved["step"])


def _nothing(scenario: Scenario) -> Certificate:
    widths = {"median": len(scenario.changes), "ninetieth": len(scenario.changes)}
    widths |= {"softmax": scenario.features, "reach": scenario.features}
    return Certificate(torch.zeros(0), *(torch.zeros(0, widths[one.name]) for one in fields(Certificate)[1:]))


def shown(maker: Generator, samples: Samples) -> Tensors:
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
