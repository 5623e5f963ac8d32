"""Samples at work side by side: steps, certificates, and another attempt for those that get nowhere."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor

from xattr_check.generation.certify import ASKED, DRAWS, LIKELY, SURE, Certificate, Levels
from xattr_check.generation.generator import Maker, own_places
from xattr_check.generation.objectives import OBJECTIVES, ratios
from xattr_check.generation.prior import PRIORS
from xattr_check.generation.samples import Samples, rounded
from xattr_check.generation.threads import Threads
from xattr_check.storage.digest import derive_seed
from xattr_check.storage.store import Tensors

# Samples that are optimised side by side, and kept as one entry of the store.
BLOCK = 16
# References and placements that a step shows each sample. More steps do more than more of them.
DRAWS_A_STEP = 1
# Steps of an attempt after which its sample is certified for the first time, and then again and again.
FIRST, EVERY = 40, 20
# What a sample passes before it is certified, on draws of its own: few, which send most away, and more, after
# which whoever certifies it again has to find the same.
LOOK, SCREEN = 16, 48
# The worst running ratio to what is aimed at with which it is worth a look, and that with which an attempt
# goes on, at half the rate, so many times.
PROMISING, NEAR, LONGER = 4.0, 2.5, 6
# How much wider bounds would have to be for what it ends with, at SURE, where it goes on: on as many draws as
# a certificate has, that is known to a tenth.
SOON = 1.4
# The share of their variance over inputs that two outputs may have in common where features are to tell them
# apart: with more, one hardly moves alone.
SHARED = 0.5
# Shares of an attempt from one to the next of which the worst ratio of one that is far has to fall to so much
# of what it was, or the attempt ends: with those that get a certificate it falls to less than 0.8.
MARKS, STALLED = (0.3, 0.5, 0.7), 0.85
# A block none of whose samples has a certificate after so many attempts, nor came this near, is given up.
ATTEMPTS, FAR = 3, 4.0
# References and placements among which one is looked for on which a composite itself keeps the certificate.
COMPOSITES = 64
# What a snapshot holds of each sample, besides its patches and classes.
KEPT = ("active", "certified", "composite", "draws", "taken", "attempt", "longer", "nearest", "mark")


class Block:
    """Samples at work side by side; none depends on another.

    Where an attempt at a sample ends without a certificate, and not near one, the next has other classes, and
    places and a start of its own.
    """

    def __init__(self, maker: Maker, number: int) -> None:
        self.maker, self.plan, self.number = maker, maker.plan, number
        scenario = self.plan.scenario
        self.objective = OBJECTIVES[self.plan.objective]
        self.step, self.seconds = 0, 0.0
        # Of each attempt: steps since it began or went on, which it is, and how often it went on.
        self.taken, self.attempt, self.longer = torch.zeros(3, BLOCK, dtype=torch.int64).unbind()
        self.places = self._places(torch.arange(BLOCK))
        generator = torch.Generator().manual_seed(derive_seed("features", self.plan.seed, number))
        self.classes = torch.stack([self._own_classes(row) for row in range(BLOCK)]).to(maker.device)
        pieces = maker.pieces(self.classes, self.places, generator)
        self.prior = PRIORS[self.plan.prior](pieces, generator).to(maker.device)
        self.mean = [parameter.detach().clone() for parameter in self.prior.parameters()]
        self.optimizer: torch.optim.Optimizer | None = None
        if self.mean:  # what has no numbers that steps could be taken in is searched for
            self.optimizer = self.objective.optimizer(self.prior.parameters(), self.prior.rate)
        self.averages: Tensor | None = None
        self.threads = Threads()
        self.active = torch.ones(BLOCK, dtype=torch.bool)
        shape = maker.geometry.patch_shape(self.plan.side)
        self.patches = maker.low.new_zeros(BLOCK, scenario.features, *shape)
        self.certified, self.composite, self.draws = torch.zeros(3, BLOCK, dtype=torch.int64).unbind()
        self.nearest = torch.full((BLOCK, scenario.requirements), torch.nan)
        self.mark = torch.full((BLOCK,), torch.nan)  # the worst ratio at the last of MARKS
        # Of those that are certified; changes are compared in no less than single precision.
        exact = torch.promote_types(maker.low.dtype, torch.float32)
        self.certificate = Certificate.blank(scenario, BLOCK, exact)

    def _own_classes(self, row: int) -> Tensor:
        """(scenario.classes,) of a sample in its present attempt.

        All classes in an order by chance are cut into groups, which are tried one after the other, and then
        those of another order: of some classes no feature can be made. Groups of classes whose outputs hardly
        differ but in sign are left out, but for the best, where an order has no others.
        """
        wanted, there = self.plan.scenario.classes, self.maker.outputs
        left, order = int(self.attempt[row]), 0
        while True:
            seed = derive_seed("classes", self.plan.seed, self.number, row, order)
            drawn = torch.randperm(there, generator=torch.Generator().manual_seed(seed))
            groups = drawn[: there // wanted * wanted].reshape(-1, wanted)
            shared = self.maker.shared(groups)
            groups = groups[shared <= max(SHARED, float(shared.min()))]
            if left < len(groups):
                return groups[left]
            left, order = left - len(groups), order + 1

    def _made(self) -> Tensor:
        """(BLOCK, F, …) patches by the prior as it is, in the model's input space."""
        made = self.maker.geometry.values(self.prior(), *self.maker.range_at(self.places))
        return made.reshape(BLOCK, -1, *made.shape[1:])

    @torch.no_grad()
    def _usual(self) -> Tensor:
        """The same by the running mean of what is learnt, as it would be stored."""
        parameters = list(self.prior.parameters())
        kept = [parameter.clone() for parameter in parameters]
        for parameter, mean in zip(parameters, self.mean, strict=True):
            parameter.copy_(mean)
        made = self._made()
        made = rounded(made).to(made)
        for parameter, before in zip(parameters, kept, strict=True):
            parameter.copy_(before)
        return made

    def _seeds(self, purpose: str, rows: Tensor) -> Tensor:
        """(m,) int64: one for each of the samples (m,) and every step, whatever becomes of the others."""
        parts = (self.plan.seed, self.number)
        seeds = [derive_seed(purpose, *parts, row, self.step) for row in rows.tolist()]
        if self.plan.fixed:
            attempts = self.attempt[rows].tolist()
            seeds = [
                own_places(seed, derive_seed("places", *parts, row, attempt))
                for seed, row, attempt in zip(seeds, rows.tolist(), attempts, strict=True)
            ]
        return torch.tensor(seeds)

    def _places(self, rows: Tensor) -> Tensor:
        """(m, F, A): the places of samples (m,) in their present attempts, where each has its own."""
        return self.maker.fixed_places(self._seeds("own", rows))

    @property
    def looks(self) -> tuple[int, int]:
        """Steps of an attempt until its sample is certified for the first time, and from then to the next."""
        return FIRST, EVERY

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do, or nothing comes of it."""
        return self.step >= self.plan.steps or not bool(self.active.any()) or self._hopeless()

    @property
    def marks(self) -> tuple[float, ...]:
        """Shares of an attempt at which it is seen whether it gets on."""
        return MARKS

    @torch.no_grad()
    def _stalled(self) -> Tensor:
        """(BLOCK,) bool: attempts that are far from what is aimed at, and hardly nearer than a while ago."""
        stalled = torch.zeros_like(self.active)
        marks = torch.tensor([round(share * self.prior.attempt) for share in self.marks])
        due = torch.isin(self.taken, marks) & (self.taken >= self.looks[0])
        rows = (self.active & due).nonzero().squeeze(1)
        if len(rows):
            now = self._worst(self._figures(rows))
            stalled[rows] = (now > FAR) & (now > STALLED * self.mark[rows])
            self.mark[rows] = now
        return stalled

    def _hopeless(self) -> bool:
        if self.step < ATTEMPTS * self.prior.attempt or bool(self.certified.any()):
            return False
        return bool((self._worst(self.nearest) > FAR).all())

    def advance(self) -> None:
        """One step, the certificates that are due, and what becomes of attempts that end."""
        with self.threads.step():
            self._learn()
        self.step += 1
        self.taken += 1
        ended = (self.taken >= self.prior.attempt) | self._stalled()
        first, every = self.looks
        due = ended | ((self.taken >= first) & ((self.taken - first) % every == 0))
        last = self.step == self.plan.steps
        # Calls that do not wait for each other are made on all cores, whoever else is at work.
        waiting = self.maker.stage.replicas.most == 1
        with self.threads.fastest() if waiting else nullcontext():
            self._certify((self.active & (due | last)).nonzero().squeeze(1))
        self._end((self.active & (ended | last)).nonzero().squeeze(1))

    def _learn(self) -> None:
        maker, rows = self.maker, self.active.nonzero().squeeze(1)
        made = self._made()
        shown = made.detach()[rows.to(made.device)]
        references, places = maker.draw(self._seeds("step", rows), DRAWS_A_STEP)
        variants = self.objective.variants(self.plan.scenario)
        taken = self.taken + self.longer * self.prior.attempt
        steps = taken[rows].to(made.device)
        gradient = torch.zeros_like(made)

        def work(part: slice) -> Tensor:
            chosen = rows[part].to(made.device)
            patches = shown[part].requires_grad_()
            before = None if self.averages is None else self.averages[chosen]
            with torch.enable_grad():
                outcome = maker.stage.outcome(
                    patches, self.classes[chosen], references[part], places[part], variants
                )
                loss, after = self.objective.loss(outcome, self.plan.scenario, before, steps[part])
                (found,) = torch.autograd.grad(loss.sum(), patches)
            gradient[chosen] = found
            return after.detach()

        after = torch.cat(maker.stage.in_chunks(work, len(rows), DRAWS_A_STEP, len(variants)))
        if self.averages is None:
            self.averages = after.new_full((BLOCK, after.shape[1]), torch.nan)
        self.averages[rows.to(after.device)] = after
        self._give_up(~torch.isfinite(gradient).flatten(1).all(1))
        gradient.nan_to_num_(0.0, 0.0, 0.0)
        optimizer = cast(torch.optim.Optimizer, self.optimizer)
        optimizer.zero_grad()
        made.backward(gradient)
        before = [parameter.detach().clone() for parameter in self.prior.parameters()]
        optimizer.step()
        # Each sample at the rate of its own attempt, by undoing a part of the step.
        rate = self.objective.rate(self.taken / self.prior.attempt, taken + 1, self.step + 1)
        rate = rate * 0.5**self.longer
        # The first steps are not what is wanted.
        share = (10 / (self.taken + 10.0)).clamp_min(self.prior.share)
        for mean, old, parameter in zip(self.mean, before, self.prior.parameters(), strict=True):
            parameter.data.lerp_(old, 1 - self._along(rate, parameter))
            mean.lerp_(parameter.detach(), self._along(share, parameter))

    def _along(self, values: Tensor, parameter: Tensor) -> Tensor:
        """Values (BLOCK,) for the patches that a parameter is of, which broadcast over the rest of it."""
        each = values.to(parameter).repeat_interleave(self.plan.scenario.features)
        return each.reshape(-1, *[1] * (parameter.dim() - 1))

    def _give_up(self, broken: Tensor) -> None:
        """Let go of samples whose optimisation left the finite numbers."""
        self.active &= ~broken.cpu()

    def _figures(self, rows: Tensor) -> Tensor:
        """(m, M + J) of samples (m,), see `Objective.figures`; not numbers before an attempt's first step."""
        if self.averages is None:
            return self.nearest[rows]
        averages = self.averages[rows.to(self.averages.device)]
        return self.objective.figures(averages, self.plan.scenario).cpu().float()

    def _worst(self, figures: Tensor) -> Tensor:
        """(m,) the largest of the ratios to what is aimed at; infinite where figures are not numbers."""
        return ratios(figures, self.plan.scenario).nan_to_num(torch.inf).amax(1)

    @torch.no_grad()
    def _end(self, rows: Tensor) -> None:
        """Let attempts (m,) that are near go on, and begin others in place of the rest."""
        if not len(rows):
            return
        self.nearest[rows] = self._nearest(rows)
        near = self._near(rows) & (self.longer[rows] < LONGER)
        self.taken[rows], self.mark[rows] = 0, torch.nan
        self.longer[rows] = torch.where(near, self.longer[rows] + 1, 0)
        self._restart(rows[~near])

    def _near(self, rows: Tensor) -> Tensor:
        """(m,) bool: samples (m,) so near to what is asked before a certificate that to go on is worth it.

        On draws of their own: a running average over the last steps does not tell what is nearly there from
        what stays where it is, since to cover a piece of noise does too much beside the effect.
        """
        near = self._worst(self._figures(rows)) <= NEAR
        chosen = rows[near]
        if not len(chosen):
            return near
        where = chosen.to(self.maker.device)
        patches, classes = self._usual()[where], self.classes[where]
        said = self.maker.certify(patches, classes, self._seeds("near", chosen), DRAWS, SURE)
        return near.masked_scatter(near, said.within(SOON))

    def _nearest(self, rows: Tensor) -> Tensor:
        """(m, M + J) figures of samples (m,) at whichever end of an attempt they were best, or now."""
        now, best = self._figures(rows), self.nearest[rows]
        return torch.where((self._worst(now) < self._worst(best))[:, None], now, best)

    def _restart(self, rows: Tensor) -> None:
        if not len(rows):
            return
        maker = self.maker
        self.attempt[rows] += 1
        self.places[rows.to(maker.device)] = self._places(rows)
        features = self.plan.scenario.features
        for row in rows.tolist():
            which = (row, int(self.attempt[row]))
            generator = torch.Generator().manual_seed(
                derive_seed("attempt", self.plan.seed, self.number, *which)
            )
            self.classes[row] = self._own_classes(row)
            own = slice(row, row + 1)
            pieces = maker.pieces(self.classes[own], self.places[own], generator)
            start = PRIORS[self.plan.prior](pieces, generator).to(maker.device).state_dict()
            patches = slice(row * features, (row + 1) * features)
            for name, tensor in self.prior.state_dict().items():
                tensor[patches] = start[name]
            for mean, parameter in zip(self.mean, self.prior.parameters(), strict=True):
                mean[patches] = parameter[patches]
                for kept in self._momenta(parameter):
                    kept[patches] = 0
        if self.averages is not None:
            self.averages[rows.to(self.averages.device)] = torch.nan

    def _momenta(self, parameter: Tensor) -> list[Tensor]:
        """What the optimizer keeps of each number of a parameter."""
        kept = {} if self.optimizer is None else self.optimizer.state[parameter]
        return [one for one in kept.values() if isinstance(one, Tensor) and one.shape == parameter.shape]

    def misses(self) -> Tensor:
        """(m, M + J) figures of the samples that have no certificate, of the attempt that came nearest."""
        return self._nearest((self.certified == 0).nonzero().squeeze(1))

    def _certify(self, rows: Tensor) -> None:
        maker = self.maker
        rows = rows[self._worst(self._figures(rows)) <= PROMISING]
        if not len(rows):
            return
        chosen = rows.to(maker.device)
        patches, classes = self._usual()[chosen], self.classes[chosen]

        def said(index: Tensor, draws: Tensor, count: int, levels: Levels = ASKED) -> Certificate:
            where = index.to(maker.device)
            return maker.certify(patches[where], classes[where], draws[index], count, levels)

        def holding(index: Tensor, draws: Tensor, count: int, levels: Levels = ASKED) -> Tensor:
            """Those of the samples (m,) whose certificate holds on so many draws from their seeds."""
            return index[said(index, draws, count, levels).holds]

        # The certificate is on draws that have chosen nothing.
        looking = holding(torch.arange(len(rows)), self._seeds("look", rows), LOOK, LIKELY)
        looking = self._steady(looking, rows, holding)
        draws = self._seeds("certificate", rows)
        certificate = said(looking, draws, DRAWS)
        certificate, looking = certificate[certificate.holds], looking[certificate.holds]
        self.certificate[rows[looking]] = certificate
        composite = torch.zeros_like(draws)
        for attempt in range(COMPOSITES):
            tried = self._seeds(f"composite {attempt}", rows)
            kept = holding(looking, tried, maker.shown)
            composite[kept] = tried[kept]
            looking = looking[composite[looking] == 0]
        found = rows[composite != 0]
        self.patches[found.to(maker.device)] = patches[(composite != 0).to(maker.device)]
        self.composite[found], self.draws[found] = composite[composite != 0], draws[composite != 0]
        self.certified[found] = self.step
        self.active[found] = False

    def _steady(self, looking: Tensor, rows: Tensor, holding: Callable[..., Tensor]) -> Tensor:
        """Those of the samples of rows (m,) whose certificate does not hang on a few draws."""
        return holding(looking, self._seeds("screen", rows), SCREEN, SURE)

    def samples(self) -> Samples:
        """Those that are certified so far."""
        rows = self.certified.nonzero().squeeze(1)
        return Samples(
            patches=self.patches.cpu()[rows],
            classes=self.classes.cpu()[rows],
            composite=self.composite[rows],
            draws=self.draws[rows],
            steps=self.certified[rows],
            certificate=self.certificate[rows],
        )

    def state(self) -> Tensors:
        """Everything that the next step depends on."""
        found = {f"prior.{name}": tensor for name, tensor in self.prior.state_dict().items()}
        found |= {f"mean.{number}": tensor for number, tensor in enumerate(self.mean)}
        if self.optimizer is not None:
            for number, kept in self.optimizer.state_dict()["state"].items():
                values = {name: torch.as_tensor(value) for name, value in kept.items()}
                found |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
        if self.averages is not None:
            found["averages"] = self.averages
        found |= {f"block.{name}": getattr(self, name) for name in ("patches", "classes", *KEPT)}
        clock = {"seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        return {**found, **self.certificate.tensors(), "step": torch.tensor(self.step), **clock}

    def load(self, saved: Tensors) -> None:
        """Go on from a state."""
        device = self.maker.device
        self.prior.load_state_dict(
            {name.removeprefix("prior."): t for name, t in saved.items() if name.startswith("prior.")}
        )
        self.mean = [saved[f"mean.{number}"].to(device) for number in range(len(self.mean))]
        kept: dict[int, dict[str, Tensor]] = {}
        for name, tensor in saved.items():
            if name.startswith("optimizer."):
                _, number, what = name.split(".")
                kept.setdefault(int(number), {})[what] = tensor
        if self.optimizer is not None:
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        self.averages = saved["averages"].to(device) if "averages" in saved else None
        for name in KEPT:
            setattr(self, name, saved[f"block.{name}"])
        self.certificate = Certificate.of(saved)
        self.places = self._places(torch.arange(BLOCK))
        self.patches, self.classes = saved["block.patches"].to(device), saved["block.classes"].to(device)
        self.step, self.seconds = int(saved["step"]), float(saved["seconds"])
