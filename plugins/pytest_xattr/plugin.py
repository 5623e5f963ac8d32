"""Entry point of the plugin: its options, and the switch that turns it on.

Without an --xattr option and without a node id `xattr::…` on the command line, nothing else is imported.
"""

import os

import pytest

# Of the user's own tests; they import the library when one asks for them.
pytest_plugins = ["pytest_xattr.fixtures"]
# Options that say on what and how is judged, and of themselves ask for nothing.
SURROUNDINGS = (
    "model",
    "data",
    "budget",
    "gates",
    "seed",
    "device",
    "storage",
    "timeout",
    "memory",
)
# Option without its prefix, metavar, help. Their values stay texts until a battery is asked for.
OPTIONS = (
    ("model", "SPEC", "a model in place of a subject, for example torchvision:resnet50; needs --xattr-data"),
    ("data", "SPEC", "the data of --xattr-model, for example imagefolder:PATH"),
    ("checks", "EXPR", "names and families of checks, as 'contract and not deterministic'; repeatable"),
    (
        "budget",
        "quick|standard|full",
        "how many inputs a check may draw: 128, 512 or 4096, and half more if that decides (default: quick)",
    ),
    (
        "gates",
        "FILE",
        "settings: methods, gates, claims, expected failures (default: xattr.yaml in the root directory)",
    ),
    ("seed", "N", "seed of everything that is drawn (default: 0)"),
    ("device", "auto|cpu|cuda[:N]|…", "where models run (default: auto)"),
    ("storage", "DIR", "folder of the results that runs share (default: .xattr in the root directory)"),
    ("timeout", "SECONDS", "how long one call of a method may take (default: 300)"),
    (
        "memory",
        "MIB",
        "what a chunk of images and its activations may take, in MiB (default: 256); less is slower",
    ),
    ("json", "FILE", "write all verdicts to a file"),
    ("html", "FILE", "write a report to look at, a single file"),
    ("markdown", "FILE", "write a summary for a comment on a pull request"),
    (
        "compare-fail",
        "RULES",
        "what fails a run with --xattr-compare: p<0.01, deletion:worse>5%%, any:pass->fail, …",
    ),
)
# Their value may be left out.
OPTIONAL = (
    ("save", "NAME", "save the run in the storage, under a name or the git commit"),
    ("compare", "NAME|PATH|git:REF", "compare with a saved run (default: the last one)"),
)
# They have no value.
FLAGS = ("accept", "autosave", "strict")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options; each is a key of xattr.yaml too, and the command line wins."""
    group = parser.getgroup(
        "xattr", "xattr-check: judge feature-attribution methods (any of these options runs the battery)"
    )
    group.addoption(
        "--xattr-method",
        action="append",
        metavar="SPEC",
        help="the method to judge: MODULE:CALLABLE, path/to/file.py:CALLABLE, xattr:NAME, or all; repeatable",
    )
    group.addoption(
        "--xattr-subject",
        action="append",
        metavar="NAME|MODULE:FACTORY",
        help="what to judge on: the name of a subject (default: digits), or your own function that returns "
        "one; repeatable",
    )
    for name, metavar, text in OPTIONS:
        action = "append" if name == "checks" else "store"
        group.addoption(f"--xattr-{name}", action=action, metavar=metavar, help=text)
    for name, metavar, text in OPTIONAL:
        group.addoption(f"--xattr-{name}", nargs="?", const="", metavar=metavar, help=text)
    group.addoption(
        "--xattr-autosave", action="store_true", default=None, help="save every run, as --xattr-save does"
    )
    group.addoption(
        "--xattr-accept",
        action="store_true",
        default=None,
        help="write what fails into expected_failures of the file of --xattr-gates, or of xattr.yaml",
    )
    group.addoption(
        "--xattr-strict",
        action="store_true",
        default=None,
        help="undecided and invalid checks fail instead of being skipped",
    )


def _serves_tests_alone(config: pytest.Config) -> bool:
    """Whether no method is named anywhere, and the options are those of the fixtures of the tests given."""
    from pytest_xattr import arguments

    asked = [name for name, _, _ in (*OPTIONS, *OPTIONAL) if name not in SURROUNDINGS]
    values = [config.getoption(f"xattr_{name.replace('-', '_')}") for name in (*FLAGS, *asked)]
    if config.args_source != pytest.Config.ArgsSource.ARGS or any(value is not None for value in values):
        return False
    if any(arguments.is_node_id(argument) for argument in config.args):
        return False
    from pytest_xattr.session import usage_errors

    with usage_errors():
        return not arguments.settings(config, []).methods


def _is_asked_for(config: pytest.Config) -> bool:
    from pytest_xattr.arguments import is_node_id

    names = (
        "method",
        "subject",
        *FLAGS,
        *(name.replace("-", "_") for name, _, _ in (*OPTIONS, *OPTIONAL)),
    )
    return any(config.getoption(f"xattr_{name}") is not None for name in names) or any(
        is_node_id(argument) for argument in config.args
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Resolve what the battery consists of, where one is asked for. Raises pytest.UsageError."""
    if config.option.help or config.option.version or not _is_asked_for(config):
        return
    if _serves_tests_alone(config):
        return
    # Read when torch is loaded. Threads that spin while they wait make a shared machine ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pytest_xattr.session import BatterySession

    config.pluginmanager.register(BatterySession(config), "xattr-session")
