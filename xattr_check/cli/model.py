"""The command `xattr-check model`: what a subject's networks use of its inputs."""

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from xattr_check.battery.battery import run_of
from xattr_check.battery.subjects import only_subject
from xattr_check.cli.parser import Parser
from xattr_check.config.xattr_yaml import of_folder
from xattr_check.errors import UsageError
from xattr_check.history.document import write
from xattr_check.report.uses import MEANING, PAIRS, RATIOS, percent, render, told
from xattr_check.storage.files import check_writable, write_bytes
from xattr_check.uses import decided
from xattr_check.uses.decided import DecisionReport
from xattr_check.uses.model import GRIDS, INPUTS, SAMPLES, ModelReport, model_report
from xattr_check.wording import WIDTH, wrap

# Columns of a number, and of a name: with four numbers a row fits the terminal.
NUMBER = len("-0.10 ± 0.24")
MOST = WIDTH - 4 * (NUMBER + 2)
DECIDED = (
    "Regions are told by row and column of a grid, or by number, from 0. `sure`: how many of them have an "
    "interval (95 %) above the intervals of all else; of others, other samples may say otherwise, and more "
    "--samples tell."
)


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Say what networks use: the subject's model and its siblings, side by side, on the same inputs. Of "
        "grids of regions, or of columns or tokens, how much they make by themselves; of foreground and "
        "background, where the subject has a mask, and of luminance and chroma, how much of the output's "
        "variance each makes. Where the working directory has an xattr.yaml, its seed, memory and device "
        "count; the command line wins."
    )
    parser.add_argument("subject", metavar="SUBJECT", help="a name or MODULE:FACTORY")
    parser.add_argument(
        "--networks", metavar="NAME,…", type=_names, help="`model`, and names of siblings (default: all)"
    )
    parser.add_argument(
        "--grids",
        metavar="CELLS,…",
        type=_numbers,
        help=f"cells on a side of images, signals or volumes (default: {','.join(map(str, GRIDS))}; beside "
        f"--decide {','.join(map(str, decided.GRIDS))})",
    )
    parser.add_argument(
        "-n", dest="inputs", metavar="N", type=int, default=INPUTS, help=f"inputs (default: {INPUTS})"
    )
    parser.add_argument(
        "--samples",
        metavar="N",
        type=int,
        default=SAMPLES,
        help=f"a power of two; D regions take N (D + 2) forward passes for each input (default: {SAMPLES})",
    )
    parser.add_argument(
        "--decide",
        metavar="top:K|above:SHARE",
        help="in place of all that, the regions of each input with the largest shares, by groups that are "
        "halved where they may hold one, in fewer forward passes",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures, with intervals")
    parser.add_argument("--html", metavar="FILE", type=Path, help="a report with charts, as one HTML file")
    parser.add_argument("--seed", type=int, metavar="N", help="of the inputs and the gains (default: 0)")
    parser.add_argument("--device", metavar="auto|cpu|cuda[:N]|…", help="default: auto")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and say what was found; the exit code. Raises UsageError."""
    for option in ("json", "html"):
        if (path := getattr(arguments, option)) is not None:
            check_writable(path, f"--{option}")
    if arguments.decide is not None and arguments.html is not None:
        raise UsageError(option="--html", came="--decide beside it", expected="--json")
    # A model that a file names would stand in place of any subject.
    settings = replace(of_folder(Path()), model=None, data=None).override(
        subjects=[arguments.subject], seed=arguments.seed, device=arguments.device
    )
    shared = run_of(settings)
    subject = only_subject(settings).on(shared.device)
    with tqdm(file=sys.stderr, disable=not sys.stderr.isatty(), leave=False, unit="design") as bar:

        def watch(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        asked = {
            "networks": arguments.networks,
            "inputs": arguments.inputs,
            "samples": arguments.samples,
            "seed": settings.seed,
            "memory": shared.memory,
            "watch": watch,
        } | ({} if arguments.grids is None else {"grids": arguments.grids})
        found = (
            model_report(subject, **asked)
            if arguments.decide is None
            else decided.decision_report(subject, arguments.decide, **asked)
        )
    print("\n".join(lines(found) if isinstance(found, ModelReport) else decision_lines(found)))
    if arguments.json is not None:
        write(arguments.json, found.document())
    if arguments.html is not None and isinstance(found, ModelReport):
        write_bytes(arguments.html, render(found).encode())
        print(f"\nreport: {arguments.html.resolve().as_uri()}")
    return 0


def lines(found: ModelReport) -> Iterator[str]:
    """What is printed: a table for each partition into regions, a row for each network; sentences last."""
    one = "1 input" if found.inputs == 1 else f"{found.inputs} inputs"
    yield f"{found.subject}: what its networks use, {one}, {found.samples} samples of the gains"
    width = min(MOST, max(len("network"), *(len(use.name) for use in found.networks)))
    first = found.networks[0]
    for place, many in enumerate(first.ratios):
        yield ""
        yield f"{many.regions}, {many.count} regions, {many.forwards} forwards for each input"
        head = ("S₁/S_T", "above 1", "noise", "beyond")
        yield _row(width, head, "network", *head)
        for use in found.networks:
            own = use.ratios[place]
            shares = map(percent, (own.above, own.noise, own.beyond))
            yield _row(width, head, use.name, told(own.top), *shares)
    for place, two in enumerate(first.pairs):
        yield ""
        yield f"{two.regions}, S_T of {' and '.join(two.names)}, {two.forwards} forwards for each input"
        head = (*two.names, "S₁₂", "Δ")
        yield _row(width, head, "network", *head)
        for use in found.networks:
            pair = use.pairs[place]
            yield _row(width, head, use.name, *map(told, (*pair.total, pair.together, pair.gap)))
    sentences = [RATIOS] * bool(first.ratios) + [PAIRS] * bool(first.pairs)
    for text in (*sentences, MEANING, *found.notes):
        yield ""
        yield from wrap(text, indent=0)


def decision_lines(found: DecisionReport) -> Iterator[str]:
    """What is printed of a question: a table for each kind of regions, a row for each network and input."""
    one = "1 input" if len(found.index) == 1 else f"{len(found.index)} inputs"
    yield f"{found.subject}: regions {found.question} of S_T, {one}, {found.samples} samples of the gains"
    width = min(MOST, max(len("network"), *(len(each.network) for each in found.found), 0))
    for spec in dict.fromkeys(each.regions for each in found.found):
        same = [each for each in found.found if each.regions == spec]
        count, every = len(same[0].decisions[0].group), same[0].decisions[0].all_outputs
        yield ""
        yield f"{spec}, {count} regions, {every} forwards for each input where all are asked for"
        yield f"{'network':<{width}}  {'input':>6}  {'forwards':>8}  {'sure':>10}  regions"
        for each in same:
            for row, decision in zip(found.index, each.decisions, strict=True):
                head = f"{_short(each.network, width):<{width}}  {row:>6}  {decision.outputs:>8}  "
                sure = f"{int(decision.sure.sum())} of {int(decision.chosen.sum())}"
                head += f"{sure:>10}  "
                told = " ".join(",".join(map(str, where)) for where in each.places(decision.chosen)) or "none"
                first, *rest = textwrap.wrap(told, max(WIDTH - len(head), NUMBER))
                yield head + first
                yield from (" " * len(head) + more for more in rest)
    for text in (DECIDED, *found.notes):
        yield ""
        yield from wrap(text, indent=0)


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _row(width: int, head: Sequence[str], name: str, *cells: str) -> str:
    places = (f"{cell:>{max(NUMBER, len(title))}}" for cell, title in zip(cells, head, strict=True))
    return "  ".join((f"{_short(name, width):<{width}}", *places))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 4,8, came {text!r}") from None
