"""The command `xattr-check generate`: certified features for a subject, as files and pictures."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from xattr_check.battery.battery import run_of
from xattr_check.battery.subjects import only_subject
from xattr_check.cli import sheets
from xattr_check.cli.meter import Meter
from xattr_check.cli.parser import INTERRUPTED, Parser
from xattr_check.config.settings import Settings
from xattr_check.config.xattr_yaml import of_folder
from xattr_check.core.state import full_precision
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.generation import export
from xattr_check.generation.blocks import SNAPSHOT, Made, block
from xattr_check.generation.certify import MEDIAN, NINETIETH, REACH, SOFTMAX
from xattr_check.generation.explain import bounds, median_figures, reasons, render_misses, requirements
from xattr_check.generation.generator import Maker
from xattr_check.generation.noise import calmed, unrest
from xattr_check.generation.objectives import OBJECTIVES
from xattr_check.generation.optimisation import BLOCK
from xattr_check.generation.plan import REFERENCES, Plan
from xattr_check.generation.prior import PRIORS
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import LARGEST, SCENARIOS, Scenario, scenario
from xattr_check.generation.subjects import pack
from xattr_check.storage.files import check_writable, make_folder, tell_unwritable

# Samples that are started at most, for each that is wanted.
TRIES = 4
PLACEMENTS = ("anywhere", "fixed")


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, came {text!r}")
    return int(text)


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Make patches of inputs of which is certified what they do to the outputs of the model: squares of "
        "images, segments of signals, boxes of volumes, spans of tokens, embedded or as ids, values of some "
        "columns. "
        f"They are made {BLOCK} at a time and kept in the storage, so that an interrupted command goes on "
        "where it was, and runs of pytest use what is there if the subject ships none. Where the working "
        "directory has an xattr.yaml, its subject, model, data, seed, device and storage count; "
        "the command line wins."
    )
    parser.epilog = (
        "Exit codes: 0; 1 where fewer samples were certified than wanted; 2 for a mistake; "
        f"{INTERRUPTED} where it was interrupted."
    )
    parser.set_defaults(run=run)
    what = parser.add_argument_group("what is made")
    what.add_argument(
        "--scenario", required=True, choices=tuple(SCENARIOS), help="what the features must and must not do"
    )
    what.add_argument(
        "--features",
        type=_at_least_one,
        metavar="COUNT",
        help=f"patches of a sample, up to {LARGEST} (default: 2; single: always 1)",
    )
    what.add_argument(
        "-n",
        dest="count",
        type=_at_least_one,
        metavar="COUNT",
        default=64,
        help=f"certified samples (default: 64); at most {TRIES} times as many are started",
    )
    what.add_argument(
        "--patch",
        type=_at_least_one,
        metavar="SIDE",
        help="of a patch, in pixels or voxels; how many times, vectors or columns it has (default: 7/16 of "
        "the smaller side, or of all; less for 3 or 4 features)",
    )
    what.add_argument(
        "--reference",
        choices=REFERENCES,
        help="what patches are pasted on: the subject's own reference, noise, or its inputs "
        "(default: its own where it has one, else noise)",
    )
    what.add_argument(
        "--placement",
        choices=PLACEMENTS,
        default="fixed",
        help="where patches go: each sample's at places of its own, at which it is shown, or anywhere, where "
        "they have to do the same and far fewer are certified; columns stay where they are (default: fixed)",
    )
    what.add_argument(
        "--prior",
        choices=tuple(PRIORS),
        help="what patches are made of: pixels, or other numbers, that start as a piece of an input, for "
        "images an untrained decoder, or words where inputs are ids of tokens (default: pixels or words, or "
        "decoder for the released procedure's loss)",
    )
    what.add_argument(
        "--objective",
        choices=tuple(OBJECTIVES),
        default="constrained",
        help="what is optimised: every bound of the certificate, or the released procedure's loss "
        "(default: constrained)",
    )
    what.add_argument(
        "--steps",
        type=_at_least_one,
        metavar="COUNT",
        help="after which a sample that is not certified is given up (default: 1500; 300 for ids of tokens, "
        "of which a step tries many)",
    )
    what.add_argument(
        "--explain",
        action="store_true",
        help="say of every requirement how near samples without a certificate came, and of how many it is in "
        "the way",
    )
    where = parser.add_argument_group("where it is written, whole or not at all")
    where.add_argument("--out", type=Path, metavar="FILE", help="inputs with their certificate, safetensors")
    where.add_argument(
        "--packed", type=Path, metavar="FILE", help="what a Subject ships as generated, safetensors"
    )
    where.add_argument("--pictures", type=Path, metavar="DIR", help="sheets of the samples, PNG; of images")
    model = parser.add_argument_group("on which model")
    model.add_argument("--subject", metavar="NAME|MODULE:FACTORY", help="default: digits")
    model.add_argument("--model", metavar="SPEC", help="in place of a subject; needs --xattr-data")
    model.add_argument("--data", metavar="SPEC", help="for example imagefolder:PATH")
    model.add_argument("--seed", type=int, metavar="N", help="default: 0")
    model.add_argument("--device", metavar="auto|cpu|cuda[:N]|…", help="default: auto")
    model.add_argument("--storage", metavar="DIR", help="default: .xattr")
    model.add_argument(
        "--memory",
        type=int,
        metavar="MIB",
        help="that inputs shown at once may take, activations included (default: 256)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the samples, write them, and say what they are; the exit code. Raises UsageError."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print(
            f"xattr-check: interrupted; all but the last {SNAPSHOT:.0f} s, or the last step, is kept, "
            "and the same command goes on from there",
            file=sys.stderr,
        )
        return INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    kind = scenario(arguments.scenario, arguments.features)
    settings = _settings(arguments)
    shared = run_of(settings)
    subject = only_subject(settings).on(shared.device)
    _check_files(arguments, kind, subject)
    plan = Plan.of(
        subject,
        kind,
        side=arguments.patch,
        reference=arguments.reference,
        objective=arguments.objective,
        prior=arguments.prior,
        fixed=arguments.placement == "fixed",
        steps=arguments.steps,
        seed=settings.seed,
    )
    usual = Plan.of(subject, kind, side=arguments.patch).reference
    if arguments.packed is not None and plan.reference != usual:
        problem = f"a subject ships samples on its {usual} reference"
        raise UsageError(problem, option="--packed", came=plan.reference)
    blocks = math.ceil(TRIES * arguments.count / BLOCK)
    meter = Meter(arguments.count, blocks, plan.steps, sys.stderr)
    maker = calmed(Maker(subject, plan, shared))
    plan = maker.plan
    meter.say(
        f"xattr-check: {kind.name} features for {subject.name} with patches of "
        f"{plan.side} {maker.geometry.unit}"
        f"{', each sample at places of its own' if plan.fixed else ''}; "
        f"at most {blocks * BLOCK} samples are started, {BLOCK} at a time"
    )
    with full_precision(shared.device):
        samples, misses = _make_samples(maker, meter, blocks, arguments.count)
        if arguments.explain:
            print("\n".join(_explanation(maker, misses)))
    written = _write(arguments, maker, samples[: arguments.count]) if len(samples) else []
    return _tell(arguments, maker, meter, samples, misses, written)


def _settings(arguments: argparse.Namespace) -> Settings:
    found = of_folder(Path())
    names = ("model", "data", "seed", "device", "storage", "memory")
    subjects = None if arguments.subject is None else [arguments.subject]
    return found.override(subjects=subjects, **{name: getattr(arguments, name) for name in names})


def _check_files(arguments: argparse.Namespace, kind: Scenario, subject: Subject) -> None:
    """Whether everything can be written, before anything is made. Raises UsageError."""
    usual = scenario(kind.name)
    if arguments.packed is not None and kind != usual:
        problem = f"a subject ships samples of {usual.features} features"
        raise UsageError(problem, option="--packed", came=str(kind.features))
    if arguments.out is not None and arguments.out == arguments.packed:
        raise UsageError(option="--packed", value=str(arguments.packed), expected="another file than --out")
    if arguments.pictures is not None and not subject.is_image:
        raise UsageError(
            "sheets are drawn of images",
            option="--pictures",
            came=f"{subject.layout.name} of {subject.name!r}",
            hint="leave it out, and --out has the samples as tensors",
        )
    for option in ("out", "packed", "pictures"):
        path: Path | None = getattr(arguments, option)
        if path is None:
            continue
        if option == "pictures":
            with tell_unwritable("--pictures", path, "folder"):
                make_folder(path)
        else:
            check_writable(path, f"--{option}")


def _make_samples(maker: Maker, meter: Meter, blocks: int, count: int) -> tuple[Samples, Tensor]:
    """The samples of as few blocks as it takes, of one where that came to none, and what came near."""
    parts: list[Made] = []
    try:
        for number in range(blocks):
            parts.append(block(maker, number, meter))
            meter.finish_block(len(parts[-1].samples), parts[-1].steps)
            if meter.certified >= count or not meter.certified:
                break
    finally:
        meter.close()
    return Samples.joined([part.samples for part in parts]), torch.cat([part.misses for part in parts])


def _explanation(maker: Maker, misses: Tensor) -> list[str]:
    """Every requirement, of how many samples it is what they fail by most, and what it came to."""
    kind = maker.plan.scenario
    lines = [f"{'explain':<11}{len(misses)} samples have no certificate; medians of their nearest attempts"]
    found = {reason.name: reason for reason in reasons(misses, kind)}
    for name, figure, bound in zip(requirements(kind), median_figures(misses), bounds(kind), strict=True):
        samples = found[name].samples if name in found else 0
        lines.append(f"{'':<11}{figure:>6.2f} ({bound}), in the way of {samples}: {name}")
    if maker.plan.reference == "noise":
        lines.append(
            f"{'':<11}{unrest(maker):>6.2f} logits is what other noise in place of a patch does to outputs"
        )
    return lines


def _write(arguments: argparse.Namespace, maker: Maker, samples: Samples) -> list[str]:
    """Write what is asked for, and say where it is. Raises UsageError."""
    about = export.description(maker)
    writers: dict[str, Callable[[Path], list[Path]]] = {
        "out": lambda path: export.write(export.tensors(maker, samples), path, about),
        "packed": lambda path: export.write(pack(maker, samples), path, about),
        "pictures": lambda path: sheets.draw(maker, samples, path),
    }
    lines = []
    for option, write in writers.items():
        path: Path | None = getattr(arguments, option)
        if path is None:
            continue
        with tell_unwritable(f"--{option}", path, "folder" if option == "pictures" else "file"):
            written = write(path)
        more = f" … {written[-1].name}" if len(written) > 1 else ""
        lines.append(f"{option:<11}{written[0]}{more}")
    return lines


def _tell(
    arguments: argparse.Namespace,
    maker: Maker,
    meter: Meter,
    samples: Samples,
    misses: Tensor,
    written: list[str],
) -> int:
    """Print the figures of the samples that were wanted; 0 or 1."""
    kind, started = maker.plan.scenario, meter.blocks_done * BLOCK
    kept = samples[: arguments.count]
    print(
        f"{kind.name:<11}{len(kept)} samples; {len(samples)} of the {started} that were started are certified"
    )
    spent = f"{meter.seconds:.1f}"
    if not meter.whole:
        spent += " in this run, the rest came from the storage"
    elif len(samples):
        spent += f", {meter.seconds / len(samples):.2f} for each certified sample"
    print(f"{'seconds':<11}{spent}")
    if len(kept):
        found = kept.certificate
        print(f"{'effect':<11}{found.effect.quantile(0.5):.1f} logits, the median")
        print(
            f"{'changes':<11}worst median {found.median.max():.3f} of it (at most {MEDIAN}), "
            f"90th percentile {found.ninetieth.max():.3f} ({NINETIETH})"
        )
        print(f"{'softmax':<11}{found.softmax.min():.3f} at the least (at least {SOFTMAX})")
        if kind.saturating:
            print(f"{'reach':<11}{found.reach.min():.3f} of the whole effect (at least {REACH})")
    print("\n".join(written or [f"{'kept in':<11}{maker.run.store.folder}"]))
    if len(kept) == arguments.count:
        return 0
    tries = ["more --steps"] if len(samples) else []
    tries += [remedy] if (remedy := maker.geometry.remedy) else []
    print(
        f"xattr-check: {len(kept)} of the {arguments.count} samples that were wanted keep the certificate "
        f"within {maker.plan.steps} steps, of {started} that were started; {render_misses(misses, kind)}; "
        f"try {', '.join([*tries, 'another --patch or another --reference'])}",
        file=sys.stderr,
    )
    return 1
