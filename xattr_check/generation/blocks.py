"""Blocks of samples that are optimised side by side, kept in the store, and resumed where interrupted."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xattr_check.generation.certify import DRAWS
from xattr_check.generation.generator import Maker, own_places
from xattr_check.generation.objectives import OBJECTIVES
from xattr_check.generation.prior import Decoders
from xattr_check.generation.samples import Samples
from xattr_check.storage.digest import derive_seed
from xattr_check.storage.store import Tensors

# Part of every key: samples of another version are never read.
VERSION = 3
# Samples that are optimised side by side, and kept as one entry of the store.
BLOCK = 32
# References and placements that a step shows each sample.
DRAWS_A_STEP = 3
# Steps after which a block's samples are certified for the first time, and then again and again.
FIRST, EVERY = 100, 50
# Steps after which the time that a block takes is foreseen, and those it takes until it is worth something.
PATIENCE, LIKELY = 5, 300
# Seconds between two snapshots of a block at work: what an interruption loses.
SNAPSHOT = 20.0
# What a sample passes before it is certified, on draws of its own: how many of them, and the share of every
# bound of the certificate that it may use. Few draws are noisy already; the margin is asked on many.
SCREENS, LAST_SCREEN = ((16, 1.0), (64, 0.85)), ((64, 1.0),)
# References and placements among which one is looked for on which a composite itself keeps the certificate.
COMPOSITES = 64
# The share of the last patch that enters the running mean of a sample's decoder in a step.
MEAN_SHARE = 0.02
# Told before every step: the number of the block, the step, how many of its samples are certified.
Watch = Callable[[int, int, int], None]


class OutOfTime(Exception):
    """The time for generation is over; carries what the block at work came to."""

    def __init__(self, samples: Samples, steps: int, pace: float) -> None:
        super().__init__()
        self.samples, self.steps, self.pace = samples, steps, pace


@dataclass(frozen=True)
class Yield:
    """What a generation came to: samples, of how many started, in how many seconds.

    steps: that the last block took. finished: whether it came to its end; not where the time was over, and
    then pace is what a step took, in seconds.
    """

    samples: Samples
    started: int
    seconds: float
    steps: int
    finished: bool = True
    pace: float = math.nan


def block(maker: Maker, number: int, watch: Watch | None = None, deadline: float = math.inf) -> Samples:
    """The certified samples of a block of BLOCK started ones, from the store where they are.

    deadline: time.monotonic() after which OutOfTime is raised; the next call goes on from a snapshot.
    """
    key = {**maker.key, "version": VERSION, "block": BLOCK, "number": number}
    store = maker.run.store
    # What a process stays at while another one makes the same.
    maker.run.progress(f"{maker.plan.scenario.name} features, block {number + 1}: waiting for the store")
    found = store.fetch(
        "generated", key, lambda: _optimised(Block(maker, number), key, watch, deadline).tensors()
    )
    store.remove("snapshot", key)  # not before the samples are stored
    return Samples.of(found)


def take(maker: Maker, blocks: int, seconds: float = math.inf) -> Yield:
    """The samples of so many blocks.

    seconds: after which what is certified so far is returned; the next call goes on from there.
    """
    started, parts, finished = time.monotonic(), [], True
    steps, pace = 0, math.nan
    for number in range(blocks):
        try:
            parts.append(block(maker, number, deadline=started + seconds))
            steps = int(parts[-1].steps.max()) if len(parts[-1]) else maker.plan.steps
        except OutOfTime as over:
            parts.append(over.samples)
            steps, pace, finished = over.steps, over.pace, False
            break
    spent = time.monotonic() - started
    return Yield(Samples.joined(parts), len(parts) * BLOCK, spent, steps, finished, pace)


def _optimised(work: "Block", key: dict[str, object], watch: Watch | None, deadline: float) -> Samples:
    plan, run = work.plan, work.maker.run
    saved = run.store.read("snapshot", key)
    if saved is not None:
        work.load(saved)
    began = latest = time.monotonic()
    first = work.step
    while not work.finished:
        done = int((work.certified > 0).sum())
        run.progress(
            f"{plan.scenario.name} features, block {work.number + 1}: step {work.step} of at most "
            f"{plan.steps}, {done} of {BLOCK} samples certified"
        )
        if watch is not None:
            watch(work.number, work.step, done)
        work.advance()
        now = time.monotonic()
        # Not even a few certificates would be reached in time: better said now than at the end.
        pace = (now - began) / (work.step - first)
        ahead = pace * max(0, LIKELY - work.step)
        over = now > deadline or (work.step - first >= PATIENCE and now + ahead > deadline)
        over &= not work.finished
        if now - latest > SNAPSHOT or over:
            run.store.write("snapshot", key, work.state())
            latest = now
        if over:
            raise OutOfTime(work.samples(), work.step, pace)
    return work.samples()


class Block:
    """Samples at work side by side; none depends on another."""

    def __init__(self, maker: Maker, number: int) -> None:
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
        seeds = [derive_seed(purpose, *parts, row, self.step) for row in rows.tolist()]
        if self.plan.fixed:
            seeds = [
                own_places(seed, derive_seed("places", *parts, row))
                for seed, row in zip(seeds, rows.tolist(), strict=True)
            ]
        return torch.tensor(seeds)

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
        gradient = torch.zeros_like(made)

        def work(part: slice) -> Tensor:
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
            return after.detach()

        after = torch.cat(maker.stage.in_chunks(work, len(rows), DRAWS_A_STEP, len(variants)))
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
        looking = torch.arange(len(rows))
        for count, margin in LAST_SCREEN if self.step == self.plan.steps else SCREENS:
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
