"""The page of all reference methods says which of them it does not have."""

from types import ModuleType

import xattr_check


def test_methods_without_a_row_are_told(script: ModuleType) -> None:
    every = {
        f"{name}?{script.FEWER[name]}" if name in script.FEWER else name for name in xattr_check.methods()
    }
    assert script.unjudged(dict.fromkeys(every)) == []
    few = {name for name in every if not name.startswith(("sobol_sbsa", "extremal_perturbation"))}
    assert sorted(script.unjudged(dict.fromkeys(few))) == ["extremal_perturbation", "sobol_sbsa"]


def test_the_page_tells_them(script: ModuleType) -> None:
    page = script.DOCS / "methods.md"
    missing = script.unjudged(script.known(page))
    text = page.read_text(encoding="utf-8")
    assert bool(missing) == ("Not judged here yet" in text)
    assert all(name in text for name in missing)
