"""Where the processor time of a quick run goes, as the shell sees it.

    python benchmarks/quick_run.py [--method xattr:gradient] [--subject digits] [--threads 1] [--cold]

pytest runs in a process of its own, in an empty folder, twice: the first run fills the store (with --cold it
is the one that is told). Every part is timed by the processor time that it takes itself: what is inside
another part counts once, for the innermost. The last line is user and system time of the whole process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

PLUGIN = '''
import atexit, json, os, time
from functools import wraps

import pytest

SPENT, STACK = {}, []


def switch(name):
    """Book the time since the last switch to what was at work."""
    now = time.process_time()
    if STACK:
        SPENT[STACK[-1][0]] = SPENT.get(STACK[-1][0], 0.0) + now - STACK[-1][1]
    if name is None:
        STACK.pop()
        if STACK:
            STACK[-1] = (STACK[-1][0], now)
    else:
        STACK.append((name, now))


def timed(owner, function, name, outermost=False):
    plain = getattr(owner, function)

    @wraps(plain)
    def timing(*arguments, **options):
        if outermost and STACK and STACK[-1][0] == name:
            return plain(*arguments, **options)
        switch(name)
        try:
            return plain(*arguments, **options)
        finally:
            switch(None)

    setattr(owner, function, timing)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems():
    """The start is over: all is imported and the subject is loaded."""
    import torch

    from xattr_check.battery import controls, item
    from xattr_check.core import explainer, state
    from xattr_check.report import pictures
    from xattr_check.statistics import gate

    SPENT["start: imports, subject"] = time.process_time()
    timed(torch.nn.Module, "__call__", "forwards", outermost=True)
    timed(torch.autograd, "grad", "backwards")
    timed(explainer.Explainer, "raw", "maps, but for passes")
    timed(controls.Controls, "measure", "controls, but for passes")
    for place in (item, controls):
        timed(place, "source_digest", "source digests")
    for kind in (gate.AtMost, gate.AtLeast, gate.Beats):
        timed(kind, "judge", "statistics")
    timed(pictures, "save", "pictures")
    timed(item.Item, "judge", "checks, but for passes")
    STACK.append(("pytest and the rest", time.process_time()))


@atexit.register
def tell():
    while STACK:
        switch(None)
    with open(os.environ["XATTR_SPENT"], "w") as file:
        json.dump(SPENT, file)
'''


def measure(folder: Path, method: str, subject: str, threads: int) -> tuple[dict[str, float], float]:
    """Processor time by part, and that of the whole process, in seconds."""
    spent = folder / "spent.json"
    environment = {
        **os.environ,
        "XATTR_SPENT": str(spent),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "where_time_goes", f"--xattr-method={method}"]
    command.append(f"--xattr-subject={subject}")
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, float] = json.loads(spent.read_text())
    return found, whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="xattr:gradient")
    parser.add_argument("--subject", default="digits")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cold", action="store_true", help="tell of the first run, whose store is empty")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "where_time_goes.py").write_text(PLUGIN)
        for _ in range(1 if arguments.cold else 2):
            found, whole = measure(folder, arguments.method, arguments.subject, arguments.threads)
    for part, seconds in sorted(found.items(), key=lambda one: -one[1]):
        print(f"  {part:<28}{seconds:6.1f} s {seconds / whole:6.0%}")
    store = "cold" if arguments.cold else "warm"
    told = f"{arguments.method} on {arguments.subject}, {store} store, {arguments.threads} thread(s)"
    print(f"{told}: {whole:.1f} s of processor time")


if __name__ == "__main__":
    main()
