"""Scripts of benchmarks/, experiments/ and docs/make/, which are no packages, as modules."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


@contextmanager
def imported(folder: str, test: Path) -> Iterator[ModuleType]:
    """The script of a folder that a file test_NAME.py is about, with the scripts beside it in reach."""
    name = test.stem.removeprefix("test_")
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    before = set(sys.modules)
    sys.path.insert(0, str(ROOT / folder))
    try:
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / folder))
        for added in set(sys.modules) - before:
            if str(getattr(sys.modules[added], "__file__", "")).startswith(str(ROOT / folder)):
                del sys.modules[added]
