"""The command `xattr-check init`: a commented xattr.yaml to start from."""

import argparse
import json
from pathlib import Path

from xattr_check.cli.accept import accept
from xattr_check.cli.catalogue import catalogue
from xattr_check.cli.parser import Parser
from xattr_check.config.yaml_nodes import NAME
from xattr_check.errors import UsageError
from xattr_check.storage.files import tell_unwritable

TEMPLATE = """\
# What xattr-check judges in this repository, and what it holds against it. Run it with
#
#     pytest --xattr-gates={file}
#
# Nearly every key is an option of pytest as well, --xattr-KEY, which wins over this file. Plain `pytest` does
# not look at it: any --xattr option starts the battery, and reads {name} of the root directory by itself.
# All keys are in docs/gates.md of xattr-check.

# Your functions explain(model, inputs, targets), as MODULE:FUNCTION or path/to/file.py:FUNCTION; or methods
# that come with xattr-check, as xattr:integrated_gradients?steps=32 (`xattr-check list methods`).
methods:
  - {method}

# What they are judged on: digits, the default, or MODULE:FACTORY, a function of yours that returns a Subject.
# Several are a list, or a mapping of each to gates, claims and expected failures that hold on it alone.
subjects: {subject}

# Checks and families, joined by and, or, not (`xattr-check list checks`, `xattr-check show CHECK`).
# checks: contract or sanity or faithfulness

# How many inputs a check may draw until its verdict is clear: quick (128), standard (512) or full (4096).
budget: quick

# Undecided and invalid checks are skipped; with true they fail.
strict: false

# Gates that take the place of a check's own: at_most, at_least, beats (the controls, by that share of the way
# to the best), within (that margin of the references) or reaches (that share of what they come to).
# gates:
#   null_feature: {{at_most: 0.3}}
#   insertion: {{beats: 0.05}}

# Exact axioms that every method here promises; without a claim they are reported and fail nothing.
# claims: [completeness]

# Known failures, each with its reason. They count as expected, and the run fails once one passes. Those of
# today are written here by `xattr-check accept`, each with its figure; the run fails once it gets worse, too.
# expected_failures:
#   {method}:
#     null_feature: the baseline is black, and black digits are evidence

# Every run is saved under .xattr/history, so that a later one can be compared with it.
autosave: true

# What fails a run that is compared, by --xattr-compare (with the last run) or --xattr-compare=git:main (with
# the last one of that commit): a figure that is clearly worse, and by more than another seed makes it where a
# method shares its random numbers among inputs, as kernel_shap does; or a check that passed and fails now.
compare_fail: [p<0.01 and worse>5%, "any:pass->fail"]
"""


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = f"Write a commented {NAME}. What is there already is left as it is."
    parser.epilog = "Exit codes: 0; 2 for a mistake; with --accept those of `accept`."
    parser.add_argument("file", nargs="?", type=Path, default=Path(NAME), help=f"the file (default: {NAME})")
    parser.add_argument(
        "--method",
        default="xattr:gradcam",
        metavar="SPEC",
        help="the method to judge, for example mymod:explain (default: xattr:gradcam, which runs as it is)",
    )
    parser.add_argument(
        "--subject", default="digits", metavar="SPEC", help="what to judge on (default: digits)"
    )
    parser.add_argument(
        "--accept", action="store_true", help="judge at once, and write what fails into it, as `accept` does"
    )
    parser.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    path: Path = arguments.file
    _check(arguments.method)
    text = TEMPLATE.format(
        file=path, name=NAME, method=_scalar(arguments.method), subject=_scalar(arguments.subject)
    )
    with tell_unwritable("init", path):
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            problem = f"{path} is there already, and is left as it is"
            raise UsageError(problem, option="init", hint="name another file") from None
    print(f"written: {path}, which judges {arguments.method} on {arguments.subject}")
    if arguments.accept:
        return accept([f"--xattr-gates={path}"])
    print(f"next: pytest --xattr-gates={path}")
    print(f"or xattr-check accept --gates={path}, after which only what gets worse fails")
    return 0


def _check(method: str) -> None:
    """Raise UsageError for a method that is not there; those by name need no import."""
    names = {"all", *(f"xattr:{name}" for name in catalogue()["methods"])}
    if method not in names:
        from xattr_check.config.loaders import load_method

        load_method(method, "--method")


def _scalar(text: str) -> str:
    """A text as YAML, quoted as JSON does."""
    return json.dumps(text, ensure_ascii=False)
