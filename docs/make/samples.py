"""Samples behind docs/published.md: what is measured of which methods, and how it is kept.

They are in docs/published.json by measure, subject, seed and method, so that rows of the page can be measured
one by one, and what is said of them follows from them alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pages import ROOT, Stamp

sys.path.append(str(ROOT / "experiments"))

import critical_pathways as selections
import torch
from torch import Tensor

import xattr_check
from xattr_check import Axiom, Draw, Measurement, Method, Subject, load_method, load_subject
from xattr_check.config.selection import select
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_check.statistics.intervals import ERROR_RATE, Interval, mean_interval
from xattr_methods.pathways import pathways

# By measure, subject, seed and method: stamp, seconds and `samples`; or their number `n`, `value` and `half`,
# the half-width of its interval at ERROR_RATE, where an earlier page is all that was kept.
Figures = dict[str, dict[str, Any]]
Read = Callable[[Measurement, Explainer, Draw], Tensor]

SUBJECTS = ROOT / "benchmarks" / "subjects.py"
IMAGES = 128  # test images of CIFAR-10 that each seed draws from
# Inputs of each draw, and of each seed by the sanity checks, of curves and maps, and by what retrains.
BATCH, RANDOMISED, RANKED, RETRAINED = 32, 32, 64, 100
# Seconds to a minute for each map: few inputs, and the first seed alone.
SLOW = ("input_iba",)
# Minutes for each map: measured only where it is named.
NAMED = ("extremal_perturbation",)
MCT, INTGRAD = (f"pathway_gradient?selection={name}" for name in ("neuron_mct", "neuron_intgrad"))
COARSE_INTGRAD = f"{INTGRAD}&steps=16"  # a map of each of 1500 images that networks are trained on


def rows_of(found: Measurement, method: Explainer, draw: Draw) -> Tensor:
    """(n,) what the check judges."""
    return found.samples


def lost_late(found: Measurement, method: Explainer, draw: Draw) -> Tensor:
    """(n,) area with the least relevant features first: the check judges one less it."""
    return 1 - found.samples


def heat_by_number(found: Measurement, method: Explainer, draw: Draw) -> Tensor:
    """(n,) area under the heat ratio as it is printed, of maps whose largest heat is 1."""
    curve = found.evidence["published_heat_ratio"]
    scores = method.scores(draw.subject.model, draw.inputs, draw.targets)
    # A map without heat counts as the same everywhere.
    most = torch.where((scores > 0).any(1), scores.amax(1), 1.0)
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1) / most


@dataclass(frozen=True)
class Measure:
    """What is measured of methods: rows of a check, or of pathways where there is none.

    check: as --xattr-checks has it. methods: by subject. inputs, few: of each seed, and of a slow method.
    """

    check: str
    methods: Mapping[str, Sequence[str]]
    inputs: int = RANKED
    few: int = 16
    read: Read = rows_of
    seeds: Sequence[int] = (0, 1)

    @property
    def axiom(self) -> Axiom:
        return select(self.check, xattr_check.checks(), "full")[0]


RESULTS = ("gradient", "gradcam", "guided_backprop", "guided_gradcam", "deconvnet", "deep_taylor")
SANE = ("gradient", "occlusion", *RESULTS[1:], "excitation_backprop", "iba", MCT)
RANKINGS = (
    "gradcam", "input_x_gradient", "integrated_gradients", "guided_backprop", "gradient", MCT, INTGRAD,
    "input_x_gradient, magnitude", "integrated_gradients, magnitude",
)  # fmt: skip
CURVES = (
    "gradcam", "extremal_perturbation", "guided_backprop", "deepshap", "integrated_gradients", "iba",
    "input_iba",
)  # fmt: skip
HEAT = tuple(name for name in CURVES if name != "extremal_perturbation")
BOTH = ("digits", "resnet20")
LAYERS = ("iba?layer=stage2", "iba?layer=stage1")
GENERATED = {"digits": ("gradcam", "gradient", "iba", *LAYERS, "iba?steps=30")}
MEASURES = {
    "parameter_randomization": Measure(
        "parameter_randomization",
        {"resnet20": SANE, "digits": (*SANE, INTGRAD, "input_iba")},
        RANDOMISED,
        few=8,
    ),
    "parameter_randomization_independent": Measure(
        "parameter_randomization_independent",
        {"resnet20": SANE, "digits": SANE},
        RANDOMISED,
    ),
    "data_randomization": Measure("data_randomization", {"digits": (*SANE, INTGRAD)}, RANDOMISED),
    "lerf": Measure("degradation?order=lerf", dict.fromkeys(BOTH, RANKINGS), read=lost_late),
    "insertion": Measure("insertion", dict.fromkeys(BOTH, CURVES)),
    "deletion": Measure("deletion", dict.fromkeys(BOTH, CURVES)),
    "heat ratio": Measure("effective_heat_ratio", {"digits": HEAT}),
    "heat ratio by number": Measure("effective_heat_ratio", {"digits": HEAT}, read=heat_by_number),
    "iou": Measure("iou", {"digits": (*HEAT, "gradient", "inverse_iba", "multilayer_iba")}),
    "foreground share": Measure("foreground_share", {"reviews": ("iba", "input_iba", "gradient", "random")}),
    "null": Measure("null_feature", GENERATED, RANDOMISED),
    "double": Measure("class_sensitivity_double", GENERATED, RANDOMISED),
    "single": Measure("class_sensitivity_single", GENERATED, RANDOMISED),
    "roar": Measure(
        "roar",
        {
            "digits": (
                "gradient", "guided_backprop", "gradcam", "input_x_gradient, magnitude",
                "integrated_gradients, magnitude", MCT, COARSE_INTGRAD, "random",
            ),
            "resnet20": (
                MCT, COARSE_INTGRAD, "input_x_gradient, magnitude", "integrated_gradients, magnitude",
                "gradcam", "gradient", "random",
            ),
        },
        RETRAINED,
        seeds=(0,),
    ),
}  # fmt: skip
# How neurons are selected, and what Fig. 1 of [khakzar2021] has as the share of dead ones among them.
WAYS, DEAD = selections.WAYS, selections.PAPER
# Measures of pathways, and their inputs by subject: a thousand steps for each of dgr's.
PATHWAYS = {"digits": 16, "resnet20": 8}


def key(measure: str, subject: str, seed: int, method: str) -> str:
    return f"{measure} | {subject} | {seed} | {method}"


@cache
def subject_of(name: str, data: str | None) -> Subject:
    """A subject of the page; data: the folder of benchmarks/subjects.py."""
    given = f"?n={IMAGES}" + (f"&data={data}" if data else "")
    return load_subject(f"{SUBJECTS}:resnet20{given}" if name == "resnet20" else name)


@cache
def loaded(name: str) -> Method:
    """The reference method of that name, the same object each time: a run computes its maps once.

    What ends in `, magnitude` is ranked by its magnitude.
    """
    spec, _, ending = name.partition(", ")
    found = load_method(f"xattr:{spec}")
    return Method(name, loaded(spec).function, sensitivity=True) if ending else found


def measured(measure: Measure, method: Method, subject: Subject, run: Run, inputs: int) -> Tensor:
    """(inputs,) samples, whatever the verdict would be after fewer; (networks,) by the sanity checks."""
    check = measure.axiom
    if check.on is not None:
        derive = check.on
        subject = run.once(f"{check.name} {subject.fingerprint}", lambda: derive(subject, run))
    batch = min(RETRAINED if measure.inputs == RETRAINED else BATCH, inputs)
    explainer = Explainer.of(method, subject, run)
    draws = islice(run.draws(check.name, subject, batch), -(-inputs // batch))
    return torch.cat([measure.read(check(explainer, subject, draw), explainer, draw) for draw in draws])


def of_pathways(subject: Subject, run: Run, inputs: int) -> Iterator[tuple[str, str, Tensor]]:
    """Measure, selection and samples (inputs,): dead neurons, and overlaps with neuron_intgrad."""
    (draw,) = islice(run.draws("pathways", subject, inputs), 1)
    found = {
        name: pathways(subject.model, draw.inputs, draw.targets, sparsity=0.9, **way)
        for name, way in WAYS.items()
    }
    for name, one in found.items():
        yield "dead", name, one.dead_share
        if name != "neuron_intgrad":
            yield "overlap", name, one.overlap(found["neuron_intgrad"])
    by_call = found["neuron_mct"].overlap_by_call(found["neuron_intgrad"])
    half = len(by_call) // 2
    yield "overlap by depth", "first half", by_call[:half].nanmean(0)
    yield "overlap by depth", "last half", by_call[-half:].nanmean(0)


@dataclass
class Measuring:
    """What is to be measured, and where it is kept.

    measures, subjects, methods, seeds: these alone, all where they are empty. anew: also what has figures.
    until: no method is begun after this time of the clock.
    """

    figures: Figures
    save: Callable[[], None]
    data: str | None = None
    measures: Sequence[str] = ()
    subjects: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()
    anew: bool = False
    until: float = float("inf")
    stamp: Stamp = field(default_factory=lambda: Stamp.now("published"))

    def wanted(self, measure: str, subject: str, seed: int, method: str) -> bool:
        """Whether it is asked for, and not there yet."""
        asked = (
            (self.measures, measure),
            (self.subjects, subject),
            (self.methods, method),
            (self.seeds, seed),
        )
        return (
            all(not some or one in some for some, one in asked)
            and (self.anew or key(measure, subject, seed, method) not in self.figures)
            and (method not in NAMED or method in self.methods)
        )

    def plan(self) -> Iterator[tuple[str, int, str, str]]:
        """Subject, seed, method and measure, those that share maps one after another."""
        for subject in ("digits", "resnet20", "reviews"):
            for seed in (0, 1):
                every = {method: None for one in MEASURES.values() for method in one.methods.get(subject, ())}
                for method in sorted(every, key=lambda one: one in SLOW):
                    for name, measure in MEASURES.items():
                        asked = method in measure.methods.get(subject, ()) and seed in measure.seeds
                        if asked and not (method in SLOW and seed):
                            yield subject, seed, method, name

    def measure(self, storage: Path) -> None:
        """Measure what is wanted, and keep each figure as soon as it is there."""
        runs: dict[tuple[str, int], Run] = {}

        def run_of(subject: str, seed: int) -> Run:
            store = xattr_check.Store(storage)
            return runs.setdefault((subject, seed), Run(store=store, seed=seed, timeout=3600.0))

        for subject, seed, method, name in self.plan():
            if self.wanted(name, subject, seed, method) and time.time() < self.until:
                one = MEASURES[name]
                inputs = one.few if method in SLOW else one.inputs
                started = time.process_time()
                found = measured(
                    one, loaded(method), subject_of(subject, self.data), run_of(subject, seed), inputs
                )
                self.keep(name, subject, seed, method, found, started)
        for subject, inputs in PATHWAYS.items():
            wanted = any(self.wanted("dead", subject, 0, way) for way in WAYS)
            if wanted and time.time() < self.until:
                started = time.process_time()
                for name, way, found in of_pathways(
                    subject_of(subject, self.data), run_of(subject, 0), inputs
                ):
                    self.keep(name, subject, 0, way, found, started)

    def keep(self, measure: str, subject: str, seed: int, method: str, found: Tensor, started: float) -> None:
        name, seconds = key(measure, subject, seed, method), round(time.process_time() - started, 1)
        samples = [float(f"{one:.4g}") for one in found.tolist()]
        self.figures[name] = {**asdict(self.stamp), "seconds": seconds, "samples": samples}
        self.save()
        print(f"{seconds:6.1f} s  {name}: {mean_interval(found.double())}", file=sys.stderr, flush=True)


def samples_of(entry: Mapping[str, Any]) -> Tensor:
    """(n,) float64. Raises KeyError where none were kept."""
    return torch.tensor(entry["samples"], dtype=torch.float64)


def count_of(entry: Mapping[str, Any]) -> int:
    """How many samples it rests on."""
    return len(entry["samples"]) if "samples" in entry else int(entry["n"])


def interval_of(entry: Mapping[str, Any], error_rate: float = ERROR_RATE) -> Interval:
    """The mean with its interval; that of ERROR_RATE, whatever is asked for, where no samples were kept."""
    if "samples" in entry:
        return mean_interval(samples_of(entry), error_rate)
    return Interval(entry["value"], entry["value"] - entry["half"], entry["value"] + entry["half"])


def gap(one: Mapping[str, Any], other: Mapping[str, Any], error_rate: float) -> Interval:
    """The mean of the first less that of the second, on the inputs that both were measured on.

    Where the samples of one were not kept: as far apart as the intervals leave open.
    """
    if "samples" in one and "samples" in other:
        first, second = samples_of(one), samples_of(other)
        common = min(len(first), len(second))
        return mean_interval(first[:common] - second[:common], error_rate)
    whole, less = interval_of(one, error_rate), interval_of(other, error_rate)
    return Interval(whole.value - less.value, whole.low - less.high, whole.high - less.low)


def dump(figures: Figures) -> str:
    """JSON with one line for each figure."""
    lines = (f" {json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(figures.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"
