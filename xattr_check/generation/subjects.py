"""Subjects made of generated features: what the checks of the family `generated` measure on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from xattr_check.core.context import IDS
from xattr_check.core.run import BUDGETS, Budget, Run
from xattr_check.core.subject import Subject
from xattr_check.errors import Invalid, Undefined, UsageError
from xattr_check.generation.blocks import LIKELY, Yield, stored, take
from xattr_check.generation.certify import Certificate
from xattr_check.generation.explain import render_misses
from xattr_check.generation.generator import Maker, compose_images
from xattr_check.generation.geometry import geometry_of
from xattr_check.generation.noise import calmed
from xattr_check.generation.optimisation import BLOCK
from xattr_check.generation.plan import Plan, usual_reference
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import Scenario, scenario
from xattr_check.storage.digest import digest
from xattr_check.storage.store import Tensors
from xattr_check.wording import duration

# Blocks of samples that are started for a subject that ships none, the seconds that may take at once, and
# those in which another block has to be done to be begun.
BLOCKS: dict[Budget, int] = {"quick": 4, "standard": 8, "full": 32}
SECONDS: dict[Budget, float] = {"quick": 150.0, "standard": float("inf"), "full": float("inf")}
BEGIN: dict[Budget, float] = {**SECONDS, "quick": 60.0}
# So many samples decide what most methods come to.
ENOUGH = 32
# Fewer certified samples say nothing about a method.
LEAST = 12
# So many shipped samples are drawn again, to see whether their certificate is of the model at hand; figures
# of the same model differ by rounding, 1e-4 at most between devices.
SPOT, SAME = 4, 1e-3
# How wide the noise was of samples that do not say it.
NOISE = 0.1


@dataclass(frozen=True)
class Features:
    """Features generated with the subject's model: those it ships, or made when first asked for.

    name: of the scenario.
    anew: the smallest budget at which they are made for a subject that ships none and has none in the store.
    blocks: of samples, of which so many are made for a subject that ships none; as many as the budget allows
        where it says nothing.
    """

    name: str
    anew: Budget = "quick"
    blocks: int | None = None

    # Features of ids are ids.
    brings: ClassVar[frozenset[str]] = frozenset({IDS})

    def __call__(self, subject: Subject, run: Run) -> Subject:
        """A subject whose inputs they are."""
        try:
            if self.name in subject.generated:
                maker, samples = _verify_shipped(subject, self.name, run)
            else:
                maker, samples = _make(subject, scenario(self.name), run, self.anew, self.blocks)
        except UsageError as error:
            raise Undefined(str(error)) from None
        return make_subject(subject, maker, samples)

    def stages(self, subject: Subject, run: Run) -> Sequence["Features"]:
        """The same with few samples first, and with a third or a half more where a method is not clear."""
        if self.name in subject.generated:
            return [self]
        most = BLOCKS[run.budget]
        powers = [2**power for power in range(most.bit_length())]
        counts = sorted({*powers, *(3 * power for power in powers), most})
        return [generated(self.name, self.anew, count) for count in counts if count <= most]


@cache  # what is made of a subject is kept by what made it
def generated(name: str, anew: Budget = "quick", blocks: int | None = None) -> Features:
    """What turns a subject into one whose inputs are generated features of that scenario, see `Features`."""
    return Features(name, anew, blocks)


def make_subject(subject: Subject, maker: Maker, samples: Samples) -> Subject:
    """The subject with composites (n, *F) for inputs and class a for target.

    Its truth says which patch is where, and makes what: `mask_a`, `mask_b`, … (n, *map_shape) bool each
    patch; `mask` those that speak for the target; `worth` (n, *map_shape) how much, where some speak for it
    more than others or against it; `only_a`, … (n, *F) inputs with one patch, where some make a class
    together; `exchanged` (n, *F) inputs with the patches in each other's places; `other_target` (n,) int64
    and `other_mask` (n, *map_shape) bool class b and what makes that, nothing in `single`; neither is there
    where nothing is asked of class b.
    """
    images = compose_images(maker, samples)
    masks = {key: value for key, value in images.items() if key.startswith("mask_")}
    every = list(masks.values())
    kind = maker.plan.scenario
    truth: dict[str, Tensor] = dict(masks)
    pairs = list(zip(every, kind.worth, strict=True))
    truth["mask"] = torch.stack([mask for mask, worth in pairs if worth > 0]).any(0)
    if not {0.0, 1.0}.issuperset(kind.worth):
        truth["worth"] = torch.stack([worth * mask for mask, worth in pairs]).sum(0)
    if any(coalition.bit_count() > 1 for coalition, _ in kind.made):
        truth |= {name: image for name, image in images.items() if name.startswith("only_")}
    if kind.exchanged:
        truth["exchanged"] = images["exchanged"]
    if kind.watched > 1:
        truth["other_target"] = images["target_b"]
        truth["other_mask"] = masks.get("mask_b", torch.zeros_like(every[0]))
    # What the mask shows is certified to make the target, and nothing else does.
    return subject.with_inputs(images["composite"], images["target_a"], truth, causal=True)


def pack(maker: Maker, samples: Samples) -> Tensors:
    """Samples as a subject ships them: small, and checked against its model when they are loaded."""
    plan = maker.plan
    about = {name: torch.tensor(getattr(plan, name)) for name in ("gap", "fixed")}
    about["noise"] = torch.tensor(plan.noise, dtype=torch.float64)
    return {**samples.tensors(), **about, "weights": _weights(maker.subject.model)}


def _verify_shipped(subject: Subject, name: str, run: Run) -> tuple[Maker, Samples]:
    """The shipped samples that hold here, by forward passes on their draws and on every composite."""
    tensors: Mapping[str, Tensor] = subject.generated[name]
    samples = Samples.of(dict(tensors))
    kind = scenario(name, samples.patches.shape[1])
    geometry = geometry_of(subject)
    plan = Plan(
        kind,
        geometry.side_of(samples.patches),
        int(tensors["gap"]),
        usual_reference(subject, geometry),
        prior=geometry.priors[0],
        fixed=bool(tensors["fixed"]),
        noise=float(tensors.get("noise", NOISE)),
    )
    maker = Maker(subject, plan, run)
    run.progress(f"{kind.name} features: verifying {len(samples)} shipped samples")

    def verify() -> Tensors:
        drawn = _certificate(maker, samples, tensors.get("weights"))
        composed = maker.certify(samples.patches, samples.classes, samples.composite, maker.shown)
        return {"holds": drawn.holds & composed.holds}

    key = {**maker.key, "samples": digest(dict(tensors))}
    holds = run.store.fetch("verified samples", key, verify)["holds"]
    if int(holds.sum()) < LEAST:
        raise Invalid(
            f"{int(holds.sum())} of the {len(samples)} samples that ship with {subject.name!r} keep their "
            f"certificate with this model, at least {LEAST} have to"
        )
    return maker, samples[holds.nonzero().squeeze(1)]


def _certificate(maker: Maker, samples: Samples, weights: Tensor | None) -> Certificate:
    """The certificate of samples on the draws behind it: the one they ship with, where it is of this model.

    weights: digest of those of the model that they were made with. Where the model has the same, some samples
    are drawn again, and get the figures that stand there if it computes the same. Else all are drawn again.
    """
    if weights is not None and torch.equal(weights, _weights(maker.subject.model)):
        some = torch.arange(len(samples))[:: max(1, len(samples) // SPOT)]
        again = maker.certify(samples.patches[some], samples.classes[some], samples.draws[some])
        shipped = samples.certificate[some]
        if all(
            torch.allclose(getattr(again, one.name), getattr(shipped, one.name), SAME, SAME)
            for one in fields(Certificate)
        ):
            return samples.certificate
    return maker.certify(samples.patches, samples.classes, samples.draws)


def _weights(model: nn.Module) -> Tensor:
    """(16,) uint8 digest of the parameters and buffers of a model."""
    return torch.tensor(list(bytes.fromhex(digest(dict(model.state_dict())))), dtype=torch.uint8)


@dataclass
class _Clock:
    """The seconds that a run has spent on the features of a scenario.

    over: what they had come to when the time was over, since when no more are made.
    """

    seconds: float = 0.0
    over: Yield | None = None


def _make(
    subject: Subject, kind: Scenario, run: Run, anew: Budget, blocks: int | None
) -> tuple[Maker, Samples]:
    maker = calmed(Maker(subject, Plan.of(subject, kind, seed=run.seed), run))
    count = BLOCKS[run.budget]
    if list(BUDGETS).index(run.budget) < list(BUDGETS).index(anew):
        count = stored(maker, count)
        if not count:
            made_by = _who(kind, "makes them")
            raise Undefined(f"--xattr-budget={run.budget} makes no {kind.name} features; {made_by}")
    clock: _Clock = run.once(f"features {kind.name} {subject.fingerprint}", _Clock)
    if (made := clock.over) is None:
        left = SECONDS[run.budget] - clock.seconds
        made = take(maker, count, seconds=left, begin=BEGIN[run.budget], enough=(blocks or count, LEAST))
        clock.seconds += made.seconds
        clock.over = None if made.finished else made
    if len(made.samples) >= LEAST:
        return maker, made.samples
    figures = f"{len(made.samples)} of {made.started} started samples were certified"
    every = BLOCKS[run.budget] * BLOCK
    if made.finished and (made.started == every or not len(made.samples)):
        raise Invalid(
            f"{figures}, at least {LEAST} have to be: this model does not let features be made for "
            f"{kind.name!r} with patches of {maker.plan.side} {maker.geometry.unit}; "
            f"{render_misses(made.misses, kind)}"
            + (f"; try {remedy}" if (remedy := maker.geometry.remedy) else "")
        )
    onwards = _who(kind, "goes on from there")
    if made.finished:
        raise Invalid(
            f"{figures} in {made.seconds:.0f} s, at least {LEAST} have to be; --xattr-budget={run.budget} "
            f"begins no others that would not be done within {BEGIN[run.budget]:.0f} s; {onwards}"
        )
    ahead = duration(made.pace * LIKELY[maker.plan.prior] * math.ceil(ENOUGH / BLOCK))
    raise Invalid(
        f"{figures} after {made.steps} steps and {made.seconds:.0f} s; --xattr-budget={run.budget} allows "
        f"{SECONDS[run.budget]:.0f} s, and {ENOUGH} samples, which decide most methods, would take {ahead} "
        f"here if they are as easy as most; {onwards}"
    )


def _who(kind: Scenario, does: str) -> str:
    return (
        f"a run with --xattr-budget=standard {does}, and so does "
        f"`xattr-check generate --scenario={kind.name} -n {ENOUGH}` with the options of this run that name "
        "the subject, the seed, the device and the storage"
    )
