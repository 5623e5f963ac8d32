"""The report: what it says, that it needs nothing else, and that no name is read as markup."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from xattr_check.core.figure import Figure, Line
from xattr_check.core.verdict import Drawn, Verdict, of_gate
from xattr_check.history import document
from xattr_check.history import saved as history
from xattr_check.history.compare import compare
from xattr_check.history.rules import broken, parse
from xattr_check.report import charts
from xattr_check.report import page as report
from xattr_check.report import rows as report_rows
from xattr_check.statistics.gate import AtMost, Beats, Reaches, Within
from xattr_check.statistics.intervals import Interval

NASTY = "my mod's/<script>alert(1)</script>&\"$x_1$`|.py:explain?a={{ 7 * 7 }}"
RUN = {
    "name": "main",
    "started": "2026-01-02T03:04:05+00:00",
    "seed": 0,
    "budget": "quick",
    "device": "cpu",
    "versions": {"torch": "2.9"},
    "git": {"commit": "abcdef0123456789", "dirty": True},
    "missing": 0,
    "options": {"subject": "digits"},
}
LINE = Line([1.0, 0.5, 0.1], [0.9, 0.4, 0.0], [1.0, 0.6, 0.2])


def verdict(**given: Any) -> Verdict:
    rows = torch.tensor([0.3, 0.5, 0.7, 0.5], dtype=torch.float64)
    usual: dict[str, Any] = {
        "method": "mymod:explain",
        "subject": "digits",
        "check": "deletion",
        "family": "faithfulness",
        "status": "fail",
        "sentence": "deletion: 0.500 [0.400, 0.600] too much is left",
        **of_gate(Beats(0.02, lower=True)),
        "interval": Interval(0.5, 0.4, 0.6),
        "controls": {"random": 0.45, "edges": 0.4, "oracle": 0.1},
        "n": 4,
        "best": 0.0,
        "fingerprint": "f",
        "code": "c",
        "draws": {"7": Drawn(rows, {"random": 0.45})},
        "figure": Figure("share", "probability", [0, 0.5, 1], {"": LINE}, {"random": {"": [1, 0.7, 0.1]}}),
    }
    return Verdict(**{**usual, **given})


def contract(**given: Any) -> Verdict:
    usual = {"check": "finite", "family": "contract", "status": "pass", "sentence": "finite: 0 violations"}
    return verdict(**{**usual, **of_gate(AtMost(0)), "interval": Interval(0, 0, 0), "figure": None, **given})


def source(*verdicts: Verdict, name: str = "this run", **run: Any) -> report.ReportedRun:
    return report.ReportedRun(name, {**RUN, **run}, verdicts)


class Page(HTMLParser):
    """The tags, ids, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [value for key in ("id",) if (value := found.get(key))]
        self.links += [value for key in ("href", "xlink:href") if (value := found.get(key))]
        self.sources += [value for key in ("src",) if (value := found.get(key))]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_the_verdict_comes_first_and_what_failed_is_told() -> None:
    page = Page(report.render([source(verdict(), contract())]))
    assert page.text.index("fails 1 of 2 required checks") < page.text.index("What to look at")
    assert "0.500 [0.400, 0.600] too much is left" in page.text
    assert "pytest xattr::mymod:explain::deletion --xattr-subject=digits" in page.text
    assert "abcdef0123456789 with uncommitted changes" in page.text


def test_a_pass_says_of_how_many_checks() -> None:
    assert "passes all 1 required checks" in Page(report.render([source(contract())])).text


def test_the_page_needs_nothing_else_and_its_links_lead_somewhere() -> None:
    page = Page(report.render([source(verdict(), contract(), verdict(method="mymod:other"))]))
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "link" not in page.tags or page.links.count("data:,") == 1


@pytest.mark.parametrize("name", [NASTY, "a b/c", "ünï:çødé", "x" * 300])
def test_names_and_sentences_are_text_whatever_is_in_them(name: str) -> None:
    made = verdict(method=name, subject=name, sentence=f"deletion: {name}", check=f"deletion?{name}")
    page = Page(report.render([source(made, contract(method=name), name=name)]))
    plain = Page(report.render([source(verdict(), contract())]))
    assert page.tags.count("script") == plain.tags.count("script") == 1
    assert " ".join(name.split()) in page.text


def test_several_methods_are_ranked_side_by_side() -> None:
    methods = [verdict(method="bad:one"), verdict(method="good:one", status="pass")]
    text = Page(report.render([source(*methods)])).text
    assert "1 of 2 methods fail a required check" in text
    assert text.index("good:one passes all 1") < text.index("bad:one fails 1 of 1")


def test_the_same_method_in_two_runs_is_told_apart() -> None:
    pair = [source(verdict(), name="old"), source(verdict(status="pass"), name="new")]
    text = Page(report.render(pair)).text
    assert "mymod:explain (old)" in text
    assert "mymod:explain (new)" in text


def test_an_interrupted_run_says_so() -> None:
    text = Page(report.render([source(contract(), missing=3)])).text
    assert "passes all 1 required checks, interrupted" in text
    assert "The run ended before 3 of its checks came to a result" in text


def test_the_unit_of_maps_is_told() -> None:
    of = [verdict(method="xattr:iba?steps=3"), verdict(method="xattr:gradcam"), verdict(method="mymod:iba")]
    units = [line for line in report.render([source(*of)]).splitlines() if "are in" in line]
    assert units == ['<p class="note">Maps of <span class="method">xattr:iba?steps=3</span> are in bits.</p>']


def test_a_failure_that_does_not_gate_says_why() -> None:
    text = Page(report.render([source(verdict(required=False))])).text
    assert "It does not gate: the method does not claim it." in text
    assert "passes all" not in text


def test_nothing_that_was_measured_is_no_crash() -> None:
    made = verdict(status="not_applicable", interval=None, controls={}, figure=None, draws={}, n=0)
    odd = verdict(
        check="road", interval=Interval(math.nan, -math.inf, math.inf), controls={"random": math.nan}
    )
    assert "nothing was judged" in Page(report.render([source(made)])).text
    assert "road" in Page(report.render([source(made, odd)])).text


def test_the_gate_stands_beside_the_best_control() -> None:
    found = report_rows.Check("deletion", "faithfulness", [report_rows.Row("m", verdict(), source())], [], {})
    assert found.bound == pytest.approx(0.98 * 0.4)  # edges; the oracle is no rival
    higher = verdict(check="insertion", best=1.0, **of_gate(Beats(0.02)))
    found = report_rows.Check("insertion", "faithfulness", [report_rows.Row("m", higher, source())], [], {})
    assert found.bound == pytest.approx(0.45 + 0.02 * 0.55)
    near = verdict(**of_gate(Within(0.15, of=("edges", "absent"), lower=True)))
    found = report_rows.Check("deletion", "faithfulness", [report_rows.Row("m", near, source())], [], {})
    assert found.bound == pytest.approx(near.controls["edges"] + 0.15)
    half = verdict(**of_gate(Reaches(0.5, of=("edges", "absent"))))
    found = report_rows.Check("retrained", "sanity", [report_rows.Row("m", half, source())], [], {})
    assert found.bound == pytest.approx(half.controls["edges"] / 2)
    plain = report_rows.Check(
        "x", "generated", [report_rows.Row("m", verdict(**of_gate(AtMost(0.25))), source())], [], {}
    )
    assert plain.bound == 0.25


def saved(tmp_path: Path, *verdicts: Verdict, pictures: dict[Any, Path] | None = None, **run: Any) -> None:
    content = {
        "version": document.VERSION,
        "run": {**RUN, **run},
        "results": [one.record() for one in verdicts],
    }
    history.save(tmp_path, content, pictures)


def test_saved_runs_give_trends_and_reference_methods(tmp_path: Path) -> None:
    saved(
        tmp_path,
        verdict(interval=Interval(0.2, 0.1, 0.3), status="pass"),
        started="2026-01-01T00:00:00+00:00",
    )
    saved(tmp_path, verdict(method="xattr:gradcam"), verdict(method="xattr:other", fingerprint="else"))
    page = report.render([source(verdict())], history.saved_runs(tmp_path))
    assert "Saved runs on the same subject" in page
    assert "xattr:gradcam 0.5" in page
    assert "xattr:other 0.5" not in page
    assert "deletion over 2 runs" in page


def test_trends_are_of_what_was_measured_more_than_once(tmp_path: Path) -> None:
    for day in (1, 2):
        saved(tmp_path, verdict(), started=f"2026-01-0{day}T00:00:00+00:00")
    saved(tmp_path, verdict(check="road"))
    page = Page(report.trends(history.saved_runs(tmp_path)))
    assert "3 saved runs" in page.text
    assert page.tags.count("svg") == 1


def test_pictures_are_kept_once_and_shown_in_the_page(tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    pictures = {verdict().key: picture}
    for name in ("a", "b"):
        saved(tmp_path, verdict(), contract(), pictures=pictures, name=name)
    assert len(list((tmp_path / "history" / "pictures").iterdir())) == 1
    picture.unlink()
    for run in history.saved_runs(tmp_path):
        page = Page(report.render([report.ReportedRun.of(run)]))
        assert [link[:23] for link in page.sources] == ["data:image/webp;base64,"]


def test_a_run_from_elsewhere_shows_no_file_of_this_machine(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    record = {**verdict().record(), "picture": "../../secret.png"}
    history.save(tmp_path, {"version": document.VERSION, "run": RUN, "results": [record]})
    (file,) = (tmp_path / "history").glob("*.json")
    file.write_text(file.read_text().replace('"picture": null', '"picture": "../../secret.png"'))
    assert history.load(file).pictures == {}


def test_what_has_no_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "one.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    monkeypatch.setattr(report, "PICTURES", 1)
    pictures = {verdict().key: picture, contract().key: picture}
    made = replace(source(contract(), verdict()), pictures=pictures)
    page = Page(report.render([made]))
    assert len(page.sources) == 1
    assert "1 pictures are left out" in page.text


def test_a_comparison_shows_what_changed_and_the_rule() -> None:
    rows = torch.linspace(0.1, 0.9, 32, dtype=torch.float64)
    before = verdict(interval=Interval(0.5, 0.4, 0.6), draws={"7": Drawn(rows, {})}, status="pass")
    after = replace(before, interval=Interval(0.6, 0.5, 0.7), draws={"7": Drawn(rows + 0.1, {})})
    changes = compare({before.key: before}, {after.key: after})
    rules = parse("p<0.01")
    page = report.render(
        [source(after)], compared="main of yesterday", changes=changes, broken=list(broken(rules, changes))
    )
    text = Page(page).text
    assert "worse than main of yesterday: deletion" in text
    assert "Compared with main of yesterday" in text
    assert re.search(r"deletion pass 0\.5 0\.6 0\.1\S* .*worse \(lower is better\) 0\.0001 p<0\.01", text)


def test_charts_are_svg_in_the_colours_of_the_page() -> None:
    dot = charts.dots(verdict(), NASTY)
    assert dot is not None
    assert dot.rows == [0.3, 0.5, 0.7, 0.5]
    figure = verdict().figure
    assert figure is not None
    for chart in (
        charts.strip([dot], [charts.Dot("control <b>", 0.4, 0.4, 0.4)], 0.38, "area < 1", "a"),
        charts.curves({NASTY: figure, "other": figure}, "b"),
        charts.trend(
            {NASTY: [charts.Point("1", "one", dot), charts.Point("2", "<two>", dot)]}, None, "deletion", "c"
        ),
    ):
        root = ElementTree.fromstring(chart)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "currentColor" in chart
        assert not set(charts.COLOURS) & set(re.findall(r"#[0-9a-f]{6}", chart))
        assert not re.search(r"https?://(?!www\.w3\.org)", chart)


def test_rows_are_no_strip_where_the_figure_is_not_their_mean() -> None:
    dot = charts.dots(verdict(interval=Interval(0.9, 0.8, 1.0)), "m")
    assert dot is not None
    assert dot.rows == ()


def test_a_report_of_all_methods_stays_small(tmp_path: Path) -> None:
    every = [
        verdict(method=f"xattr:m{m}", check=f"c{c}", family="faithfulness" if c % 10 == 0 else "contract")
        for m in range(30)
        for c in range(20)
    ]
    assert len(report.render([source(*every)])) < 3e6
