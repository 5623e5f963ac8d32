"""What networks of the digits use, and whether it goes as [sbsa2022] has it of networks of photographs.

    python experiments/uses.py [--inputs 48] [--samples 128] [--grids 4]
    python experiments/uses.py --networks narrow,robust --inputs 400 --grids=  # of two regions alone

Claims: with depth, S₁/S_T of the regions that matter falls and background is used more; a network that was
trained under attack has more of the first and less of the second. Each is a difference of two networks on the
same inputs, at the same gains, with its interval at 95 % over inputs.
"""

import argparse
from collections.abc import Iterator

from xattr_check import ModelReport, load_subject, model_report
from xattr_check.statistics.intervals import Interval
from xattr_check.statistics.paired import Figure

NETWORKS = ("model", "shallow", "narrow", "deep", "robust")
TITLES = {
    "ratio": "S₁/S_T",
    "background": "S_T background",
    "foreground": "S_T foreground",
    "together": "S₁₂",
    "chroma": "S_T chroma",
}
# Of the first network less the second: whether it is said to be above zero or below.
CLAIMS = (
    ("S₁/S_T falls with depth", "deep", "shallow", "ratio", -1),
    ("S₁/S_T falls with depth", "narrow", "shallow", "ratio", -1),
    ("S₁/S_T falls with depth", "deep", "narrow", "ratio", -1),
    ("background is used more with depth", "deep", "shallow", "background", 1),
    ("background is used more with depth", "narrow", "shallow", "background", 1),
    ("background is used more with depth", "deep", "narrow", "background", 1),
    ("under attack, S₁/S_T rises", "robust", "narrow", "ratio", 1),
    ("under attack, less background is used", "robust", "narrow", "background", -1),
    ("under attack, foreground is further ahead", "robust", "narrow", "gap", 1),
)


def figures(found: ModelReport, network: str) -> dict[str, Figure]:
    """What is compared of a network, by what a claim calls it; of the first grid, where there is one."""
    use = found[network]
    mask, colour = use.pairs
    ratio = {"ratio": use.ratios[0].top} if use.ratios else {}
    return ratio | {
        "background": mask.total[0],
        "foreground": mask.total[1],
        "together": mask.together,
        "gap": mask.gap,
        "chroma": colour.total[1],
    }


def outcome(found: Interval, sign: int) -> str:
    """Whether a claim holds, by the interval alone."""
    low, high = sorted((sign * found.low, sign * found.high))
    return "holds" if low > 0 else "does not" if high < 0 else "open"


def cell(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def rows(found: ModelReport) -> Iterator[str]:
    """Two tables as Markdown: networks, then claims."""
    known = figures(found, found.networks[0].name)
    titles = [title for name, title in TITLES.items() if name in known]
    yield f"| network | {' | '.join(titles)} |"
    yield "|---" * (1 + len(titles)) + "|"
    for use in found.networks:
        own = figures(found, use.name)
        yield f"| {use.name} | {' | '.join(cell(own[name].interval) for name in TITLES if name in own)} |"
    yield ""
    yield "| claim | networks | difference | |"
    yield "|---|---|---|---|"
    names = {use.name for use in found.networks}
    for claim, one, other, name, sign in CLAIMS:
        if {one, other} <= names and name in known:
            gap = figures(found, one)[name].minus(figures(found, other)[name])
            yield f"| {claim} | {one} − {other} | {cell(gap)} | {outcome(gap, sign)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=48)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--grids", default="4", help="none where it is empty")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    arguments = parser.parse_args()
    for grids in [[int(cells)] for cells in filter(None, arguments.grids.split(","))] or [[]]:
        found = model_report(
            load_subject("digits"),
            networks=arguments.networks.split(","),
            grids=grids,
            inputs=arguments.inputs,
            samples=arguments.samples,
        )
        head = (f"grid:{cells}" for cells in grids)
        print(*head, *rows(found), sep="\n", flush=True)


if __name__ == "__main__":
    main()
