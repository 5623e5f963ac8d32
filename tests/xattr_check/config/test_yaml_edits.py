"""Changes in a YAML file: what is asked for changes, and nothing else does."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from xattr_check.config.yaml_edits import merged, patch_file, patched
from xattr_check.errors import UsageError

HERE = Path("xattr.yaml")
# Before, the patch, after.
EDITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "an empty file": ("", {"seed": 1}, "seed: 1\n"),
    "comments alone": ("# none yet", {"seed": 1}, "# none yet\nseed: 1\n"),
    "a new key": (
        "seed: 1  # the first\n# the end\n",
        {"failures": {"m:f": {"a": "why"}}},
        "seed: 1  # the first\n\nfailures:\n  m:f:\n    a: why\n# the end\n",
    ),
    "in a mapping": (
        "failures:  # known\n  m:f:\n    a: 'why'  # since then\n    # b: later\n\nseed: 1\n",
        {"failures": {"m:f": {"c": {"interval": [0.5, 1e-05]}}, "m:g": {"a": "so"}}},
        "failures:  # known\n  m:f:\n    a: 'why'  # since then\n    # b: later\n    c:\n"
        "      interval: [0.5, 1.0e-05]\n  m:g:\n    a: so\n\nseed: 1\n",
    ),
    "one goes": (
        "failures:\n  m:f:\n    a: why  # since then\n    # of b\n    b: >-\n      l\n\n      m\n    c: d\n",
        {"failures": {"m:f": {"a": None, "b": None, "e": "f"}}},
        "failures:\n  m:f:\n    # of b\n    c: d\n    e: f\n",
    ),
    "the first line goes": ("a: 1\nb: 2\n", {"a": None}, "b: 2\n"),
    "all goes": ("failures:\n  m:f: {a: why}\n", {"failures": None}, ""),
    "another value": (
        "a:\n  reason: mine  # keep\n  sentence: >-\n    old\n    text\n\n  interval:\n  - 1\n  - 2\n# end\n",
        {"a": {"sentence": "new", "interval": [3, 4]}},
        "a:\n  reason: mine  # keep\n  sentence: new\n\n  interval: [3, 4]\n# end\n",
    ),
    "nothing there": ("a:  # none\nb: ~\nc: {}  # none\n", {x: {"d": 1} for x in "abc"},
        "a:  # none\n  d: 1\nb:\n  d: 1\nc:  # none\n  d: 1\n"),
    "from a list to a mapping": ("where:\n  - m:f\n  - g\nseed: 1\n", {"where": {"m:f": {}, "g": {"a": 1}}},
        "where:\n  m:f: {}\n  g:\n    a: 1\nseed: 1\n"),
    "one line": (
        "failures: {m:f: {a: 'why', b: so}, \"c # d\": {e: f}}  # all\n",
        {"failures": {"m:f": {"a": None, "g": {"h": "i: j"}}}},
        "failures: {m:f: {b: so, g: {h: 'i: j'}}, \"c # d\": {e: f}}  # all\n",
    ),
    "a mapping that becomes empty": ("a:\n  b: 1\n", {"a": {"b": None}}, "a: {}\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_edits(name: str) -> None:
    before, patch, after = EDITS[name]
    assert patched(HERE, before, patch) == after


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "a: {b: 1,  # one\n  c: 2}\n",
            "xattr.yaml:1: a comment inside {…} would be lost; write it as lines",
        ),
        ("a:\n- b  # one\n- c\n", "xattr.yaml:2: a comment would be lost; write it as a mapping"),
        ("x: &x {b: 1}\na: *x\n", "xattr.yaml: written so that nothing can be put in; write it as lines"),
        ("a: [\n", "xattr.yaml:2: not YAML: "),
        ("[a]\n", "xattr.yaml:1: expected the file to be a mapping, name: value, came a list"),
    ],
)
def test_what_cannot_be_changed_is_told(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        patched(HERE, text, {"a": {"d": 2}})
    assert str(caught.value).startswith(told)


def test_long_texts_are_folded_and_read_back() -> None:
    text = "it's 0.41 [0.37, 0.45] of the way: # no comment, " + "and so on, " * 20 + "end"
    found = patched(HERE, "", {"a": {"b": text}})
    assert max(map(len, found.splitlines())) <= 100
    assert found.startswith("a:\n  b: >-\n    it's 0.41")
    assert yaml.safe_load(found) == {"a": {"b": text}}


NAMES = st.sampled_from(["a", "b:c", "d?e=1", "null", "1:20", "it's # odd", "é"])
DATA = st.recursive(
    st.one_of(st.text("ab:# '\"é{", max_size=8), st.floats(-1e9, 1e9), st.lists(st.integers(), max_size=2)),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
MAPPINGS = st.dictionaries(NAMES, DATA, max_size=3)
PATCHES = st.dictionaries(NAMES, st.one_of(st.none(), DATA), max_size=3)


@given(MAPPINGS, PATCHES, st.booleans())
@example({"a": {}}, {"a": ":a"}, True)
def test_any_file_that_is_written_as_lines_can_be_patched(
    data: dict[str, Any], patch: dict[str, Any], flow: bool
) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    found = patched(HERE, f"# the head\n{text}# the end\n", patch)
    assert (yaml.safe_load(found) or {}) == merged(data, patch)
    assert found.startswith("# the head\n")
    assert "# the end\n" in found


def test_line_ends_permissions_and_links_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "own.yaml", tmp_path / "xattr.yaml"
    file.write_bytes(b"\xef\xbb\xbfseed: 1\r\nstrict: true\r\n")
    file.chmod(0o640)
    link.symlink_to(file)
    patch_file(link, {"seed": 2, "claims": ["a"]})
    assert file.read_bytes() == b"\xef\xbb\xbfseed: 2\r\nstrict: true\r\n\r\nclaims: [a]\r\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [file, link]


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    patch_file(tmp_path / "new.yaml", {"a": {"b": None, "c": [1]}})
    assert (tmp_path / "new.yaml").read_text() == textwrap.dedent("""\
        a:
          c: [1]
        """)
