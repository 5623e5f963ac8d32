"""What papers claim of bottlenecks, pathways and their companions, and whether samples bear it out.

Whether a claim holds follows from intervals alone: it does where what it says is above nothing with all of
the interval, it does not where it is below, and is open otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from samples import INTGRAD, MCT, MEASURES, Figures, gap, interval_of, key

from xattr_check.statistics.gate import Within
from xattr_check.statistics.intervals import Interval, exact

Outcome = Literal["agree", "open", "does not"]
Entries = Mapping[str, Mapping[str, Any]]  # of one measure, subject and seed, by method
RATE = 0.05  # at which intervals of claims err
SEEDS = (0, 1)


@dataclass(frozen=True)
class Margins:
    """By how much what a claim says is so, by what it says it of, and whether all of it has to be so."""

    by: Mapping[str, Interval]
    every: bool = True
    closed: bool = False  # whether nothing is enough

    @property
    def outcome(self) -> Outcome:
        holds = [one.low > 0 or (self.closed and one.low == 0) for one in self.by.values()]
        against = [one.high < 0 for one in self.by.values()]
        gather = all if self.every else any
        oppose = any if self.every else all
        return "agree" if gather(holds) else "does not" if oppose(against) else "open"

    def __str__(self) -> str:
        """The margin that decides, or would: `0.12 [0.05, 0.19], gradcam over integrated_gradients`."""
        choose, end = (min, "low") if self.every else (max, "high")
        if self.outcome == ("does not" if self.every else "agree"):
            end = "high" if self.every else "low"
        label = choose(self.by, key=lambda one: float(getattr(self.by[one], end)))
        return f"{self.by[label]}, {label}"


class Rule(Protocol):
    """What a claim says of methods."""

    @property
    def methods(self) -> Sequence[str]: ...

    def margins(self, entries: Entries) -> Margins: ...


@dataclass(frozen=True)
class Ahead:
    """Each of some methods is better than each of others, on the same inputs.

    The error rate is shared among the pairs. lower: whether lower is better.
    """

    ahead: Sequence[str]
    behind: Sequence[str]
    lower: bool = False

    @property
    def methods(self) -> Sequence[str]:
        return (*self.ahead, *self.behind)

    def margins(self, entries: Entries) -> Margins:
        rate = RATE / (len(self.ahead) * len(self.behind))
        found = {}
        for better in self.ahead:
            for worse in self.behind:
                pair = (entries[worse], entries[better])
                found[f"{short(better)} over {short(worse)}"] = gap(
                    *(pair if self.lower else pair[::-1]), rate
                )
        return Margins(found)


@dataclass(frozen=True)
class Nearer:
    """A method is nearer to one than to another, which is the worse: better than their mean."""

    method: str
    near: str
    far: str
    lower: bool = True

    @property
    def methods(self) -> Sequence[str]:
        return self.method, self.near, self.far

    def margins(self, entries: Entries) -> Margins:
        values, near, far = (torch.tensor(entries[name]["samples"]).double() for name in self.methods)
        between = {"samples": ((near + far) / 2).tolist()}
        pair = (between, {"samples": values.tolist()})
        label = f"beside half of the way to {short(self.far)}"
        return Margins({label: gap(*(pair if self.lower else pair[::-1]), RATE)})


@dataclass(frozen=True)
class About:
    """A method comes to a figure within a factor of two either way, or to exactly 0."""

    method: str
    figure: float

    @property
    def methods(self) -> Sequence[str]:
        return (self.method,)

    def margins(self, entries: Entries) -> Margins:
        entry = entries[self.method]
        if not self.figure:
            return Margins({"the largest": exact(0.0 - max(entry["samples"]))}, closed=True)
        one = interval_of(entry, RATE)
        low, high = self.figure / 2, 2 * self.figure
        below = Interval(high - one.value, high - one.high, high - one.low)
        above = Interval(one.value - low, one.low - low, one.high - low)
        return Margins({f"below {high:g}": below, f"above {low:g}": above})


@dataclass(frozen=True)
class Passes:
    """A method is within the margin of a check's gate of one of its references, on the same networks."""

    method: str
    measure: str = "parameter_randomization"

    @property
    def methods(self) -> Sequence[str]:
        return self.method, *MEASURES[self.measure].axiom.gate.references

    def margins(self, entries: Entries) -> Margins:
        own, *others = self.methods
        gate = MEASURES[self.measure].axiom.gate
        assert isinstance(gate, Within)
        found = {}
        for name in others:
            one = gap(entries[name], entries[own], RATE / len(others))
            found[f"beside {name}"] = Interval(one.value + gate.by, one.low + gate.by, one.high + gate.by)
        return Margins(found, every=False)


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    there: the network and the data that it was seen on. theirs: figures. on: subjects that it is asked on.
    """

    words: str
    there: str
    theirs: str
    measure: str
    rule: Rule
    on: Sequence[str] = ("digits",)

    def entries(self, figures: Figures, subject: str, seed: int) -> Entries | None:
        """What was measured of all its methods, None where some was not."""
        names = {name: key(self.measure, subject, seed, name) for name in self.rule.methods}
        there = all(name in figures for name in names.values())
        return {method: figures[name] for method, name in names.items()} if there else None


def short(method: str) -> str:
    """Without what names the parameter."""
    return method.replace("pathway_gradient?selection=", "pathway of ").replace("&", ", ")


CONTROLLED, PERTURBED = "[khakzar2022], ResNet, ImageNet", "[zhang2021], VGG-16, ImageNet"
PRUNED, REMOVED = "[khakzar2021], VGG-16, ImageNet", "[khakzar2021], ResNet-8, CIFAR-10"
LUNGS, REVIEWS = "[khakzar2021b], DenseNet-121, chest X-rays", "[zhang2021], LSTM, IMDb"
COMPANIONS = ("guided_backprop", "deepshap", "integrated_gradients")
IMAGES = ("digits", "resnet20")
MAGNITUDES = ("input_x_gradient, magnitude", "integrated_gradients, magnitude")


def _bottlenecks() -> Sequence[Claim]:
    generated = (
        ("null", "the null feature", ".211, between .135 and .835"),
        ("double", "the double feature", ".191, between .176 and .469"),
        ("single", "the single feature", ".295, between .050 and .684"),
    )
    near = [
        Claim(
            f"IBA{more} is nearer to GradCAM than to the gradient on {feature}",
            CONTROLLED,
            theirs,
            measure,
            Nearer(f"iba{steps}", "gradcam", "gradient", lower=measure != "single"),
        )
        for steps, more in (("", ""), ("?steps=30", " with 30 steps"))
        for measure, feature, theirs in generated
    ]
    layers = [
        Claim(
            f"IBA is worse two stages towards the input, on {feature}",
            CONTROLLED,
            theirs,
            measure,
            Ahead(("iba",), ("iba?layer=stage1",), lower=True),
        )
        for measure, feature, theirs in (
            ("null", "the null feature", ".211 and .311"),
            ("double", "the double feature", ".191 and .337"),
        )
    ]
    return *near, *layers


def _pathways() -> Sequence[Claim]:
    def pair(
        measure: str, there: str, theirs: Sequence[str], mine: Sequence[str], on: Sequence[str]
    ) -> list[Claim]:
        title = {"lerf": "with the least relevant pixels first", "roar": "when networks are retrained"}[
            measure
        ]
        inputs = ("input × gradient", "integrated gradients")
        return [
            Claim(
                f"The gradient of the pathway beats {name} {title}",
                there,
                figures,
                measure,
                Ahead((own,), (other,), lower=True),
                on,
            )
            for name, figures, own, other in zip(inputs, theirs, mine, MAGNITUDES, strict=True)
        ]

    return (
        *pair("lerf", REMOVED, (".009 and .019", ".009 and .019"), (MCT, INTGRAD), IMAGES),
        *pair("roar", REMOVED, (".580 and .723", ".574 and .741"), (MCT, f"{INTGRAD}&steps=16"), IMAGES),
        *(
            Claim(
                f"None of the neurons that {name} selects is dead",
                PRUNED,
                "0",
                "dead",
                About(name, 0.0),
                IMAGES,
            )
            for name in ("neuron_mct", "neuron_intgrad")
        ),
        Claim(
            "Few that DGR from ones selects are dead", PRUNED, "≈ .08", "dead", About("dgr(1)", 0.08), IMAGES
        ),
        Claim(
            "Most that greedy pruning selects are dead",
            PRUNED,
            "≈ .69",
            "dead",
            About("greedy_pruning", 0.69),
            IMAGES,
        ),
        Claim(
            "Greedy pruning selects more dead neurons than DGR from ones",
            PRUNED,
            "≈ .69 and .08",
            "dead",
            Ahead(("greedy_pruning",), ("dgr(1)",)),
            IMAGES,
        ),
        Claim(
            "DGR from ones is nearer to NeuronIntGrad than DGR from random gates and greedy pruning are",
            PRUNED,
            "a figure",
            "overlap",
            Ahead(("dgr(1)",), ("dgr(r)", "greedy_pruning")),
            IMAGES,
        ),
        Claim(
            "NeuronMCT and NeuronIntGrad overlap more in the last half of the layers",
            PRUNED,
            "a figure",
            "overlap by depth",
            Ahead(("last half",), ("first half",)),
            IMAGES,
        ),
    )


def _companions() -> Sequence[Claim]:
    heat = [
        claim
        for measure, reading in (
            ("heat ratio by number", "as printed, the largest heat being 1"),
            ("heat ratio", "as a share of the heat"),
        )
        for claim in (
            Claim(
                f"InputIBA has the largest heat ratio, {reading}",
                PERTURBED,
                ".476; .421, .356, .283, .183, .155",
                measure,
                Ahead(("input_iba",), ("iba", "gradcam", *COMPANIONS)),
            ),
            Claim(
                f"Integrated gradients and DeepSHAP have the smallest heat ratios, {reading}",
                PERTURBED,
                ".155 and .183; .283 and more",
                measure,
                Ahead(("input_iba", "iba", "gradcam", "guided_backprop"), COMPANIONS[1:]),
            ),
        )
    ]
    beside = "guided backpropagation, DeepSHAP and integrated gradients"
    return (
        *heat,
        Claim(
            f"Insertion: IBA and GradCAM ahead of {beside}",
            PERTURBED,
            ".713 and .703; .529, .430, .358",
            "insertion",
            Ahead(("iba", "gradcam"), COMPANIONS),
            IMAGES,
        ),
        Claim(
            f"Insertion: InputIBA ahead of {beside}",
            PERTURBED,
            ".710; .529, .430, .358",
            "insertion",
            Ahead(("input_iba",), COMPANIONS),
            IMAGES,
        ),
        Claim(
            f"Deletion: IBA ahead of GradCAM, {beside}",
            PERTURBED,
            ".090; .133, .132, .196, .210",
            "deletion",
            Ahead(("iba",), ("gradcam", *COMPANIONS), lower=True),
            IMAGES,
        ),
        Claim(
            f"Deletion: InputIBA ahead of IBA, GradCAM, {beside}",
            PERTURBED,
            ".045; .090, .133, .132, .196, .210",
            "deletion",
            Ahead(("input_iba",), ("iba", "gradcam", *COMPANIONS), lower=True),
            IMAGES,
        ),
        Claim(
            "Deletion: GradCAM ahead of DeepSHAP and integrated gradients",
            PERTURBED,
            ".133; .196, .210",
            "deletion",
            Ahead(("gradcam",), COMPANIONS[1:], lower=True),
            IMAGES,
        ),
        Claim(
            "Multi-layer IBA localises better than IBA",
            LUNGS,
            ".189 and .114, IoU",
            "iou",
            Ahead(("multilayer_iba",), ("iba",)),
        ),
        Claim(
            "Multi-layer IBA localises better than GradCAM, integrated gradients, gradient, inverse IBA",
            LUNGS,
            ".189; .077, .076, .114, .088, IoU",
            "iou",
            Ahead(("multilayer_iba",), ("gradcam", "integrated_gradients", "gradient", "inverse_iba")),
        ),
        Claim(
            "InputIBA finds more of the words that decide than IBA at the LSTM, and than chance",
            REVIEWS,
            "examples",
            "foreground share",
            Ahead(("input_iba",), ("iba", "random")),
            ("reviews",),
        ),
        Claim(
            "IBA at the LSTM finds no more of the words that decide than chance",
            REVIEWS,
            "examples",
            "foreground share",
            Ahead(("random",), ("iba",)),
            ("reviews",),
        ),
    )


def _sanity() -> Sequence[Claim]:
    def passes(words: str, there: str, method: str, on: Sequence[str]) -> Claim:
        return Claim(
            f"{words} passes parameter randomisation",
            there,
            "pass",
            "parameter_randomization",
            Passes(method),
            on,
        )

    return (
        passes("IBA", PERTURBED, "iba", IMAGES),
        passes("InputIBA", PERTURBED, "input_iba", ("digits",)),
        passes("The gradient of the pathway of NeuronMCT", PRUNED, MCT, IMAGES),
        passes("The gradient of the pathway of NeuronIntGrad", PRUNED, INTGRAD, ("digits",)),
    )


CLAIMS = (*_bottlenecks(), *_pathways(), *_companions(), *_sanity())


@dataclass(frozen=True)
class Row:
    """A claim on one subject: what was measured with each seed, and what follows."""

    claim: Claim
    subject: str
    entries: Sequence[Entries]

    @property
    def margins(self) -> Sequence[Margins]:
        return [self.claim.rule.margins(one) for one in self.entries]

    @property
    def outcome(self) -> Outcome | Literal["not measured"]:
        """What every seed says; open where one leaves it open, or says otherwise than another."""
        found = {one.outcome for one in self.margins}
        if not found:
            return "not measured"
        return found.pop() if len(found) == 1 else "open"

    @property
    def ours(self) -> str:
        """The means with the first seed: `iba 0.19, gradcam 0.04`, and of how many rows where that varies."""
        if not self.entries:
            return ""
        counts = sorted({len(one["samples"]) for one in self.entries[0].values()})
        told = ", ".join(
            f"{short(name)} {interval_of(one, RATE).value:.3f}" for name, one in self.entries[0].items()
        )
        return f"{told} (n = {', '.join(map(str, counts))})"


def rows(figures: Figures) -> Sequence[Row]:
    """Each claim on each of its subjects."""
    return [
        Row(claim, subject, [one for seed in SEEDS if (one := claim.entries(figures, subject, seed))])
        for claim in CLAIMS
        for subject in claim.on
    ]
