"""xattr-check kill-matrix and fingerprint: what they print and write, and their mistakes."""

import json
from pathlib import Path

import pytest

from xattr_check.cli import fingerprint as command
from xattr_check.cli.main import main
from xattr_check.config.loaders import load_methods


def test_it_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "matrix.json"
    arguments = ["--subject=analytic", "--operators=shifted,rotated", "--checks=dummy or symmetry", "-n", "1"]
    asked = ["kill-matrix", *arguments, "--methods", "xattr:input_x_gradient"]
    assert main([*asked, f"--storage={tmp_path}", f"--json={file}"]) == 0
    output = capsys.readouterr()
    assert "  mutants: 1 of 1 killed" in output.out
    assert "xattr:input_x_gradient: 1 killed, 1 not applicable (2 of 2 parts, " in output.err
    assert "\n1 method, about " in output.err
    record = json.loads(file.read_text())
    assert [(row["operator"], row["outcome"]) for row in record["rows"]] == [
        ("shifted", "killed"),
        ("rotated", "not_applicable"),
    ]
    assert record["rows"][0]["statuses"] == {"dummy": "fail", "symmetry": "fail"}


def test_it_lists_what_operators_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kill-matrix", "--list"]) == 0
    told = capsys.readouterr().out
    assert "transposed\n    The map with its rows written as columns.\n    As where height and width" in told
    assert "edges_by_product" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--operators=negatd"], "--operators='negatd': no operator 'negatd'; the nearest are negated"),
        (["--seeds=0;1"], "--seeds='0;1': expected whole numbers with commas between, for example 0,1,2"),
        (["-n", "0"], "-n='0': expected auto or a whole number above 0"),
        (["--minutes=soon"], "--minutes='soon': expected a number above 0, for example 20"),
        (["--minutes=-1"], "--minutes='-1': expected a number above 0, for example 20"),
        (["--methods", "xattr:gradcan"], "no reference method 'gradcan'; the nearest are gradcam"),
        (["--subject=analitic"], "expected MODULE:FACTORY, for example mymod:make_subject, or one of"),
        (["--budget=quik"], "--xattr-budget='quik': expected quick, standard, full"),
    ],
)
def test_mistakes(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_one = [] if "--methods" in arguments else ["--methods", "xattr:gradient"]
    assert main(["kill-matrix", f"--storage={tmp_path}", "-n", "1", *with_one, *arguments]) == 2
    assert told in capsys.readouterr().err


def test_what_is_named_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--operators=shifted,shifted", "--seeds=0,0", "--checks=dummy", "-n", "1"]
    asked = ["kill-matrix", "--subject=analytic", "--methods", "xattr:input_x_gradient", *arguments]
    assert main([*asked, f"--storage={tmp_path}"]) == 0
    assert "  mutants: 1 of 1 killed" in capsys.readouterr().out


def test_what_no_check_judges_does_not_survive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--operators=negated", "--checks=iou", "-n", "1", f"--storage={tmp_path}"]
    asked = ["kill-matrix", "--subject=analytic", "--methods", "xattr:input_x_gradient", *arguments]
    assert main(asked) == 2
    told = capsys.readouterr()
    assert "  mutants: 0 of 0 killed; 1 n/a" in told.out
    assert "survived\n" not in told.out
    assert told.err.endswith(
        "--methods: nothing to break; expected a method that passes a required check on this subject, "
        "came xattr:input_x_gradient: passes no required check\n"
    )


def test_a_method_that_raises_leaves_nothing_to_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def explain(model, inputs, targets):\n    raise RuntimeError('no such layer')\n")
    arguments = ["--operators=negated", "--checks=dummy", "-n", "1", f"--storage={tmp_path}"]
    assert main(["kill-matrix", "--subject=analytic", "--methods", f"{broken}:explain", *arguments]) == 2
    told = capsys.readouterr().err
    assert "--methods: nothing to break; expected a method that passes a required check" in told
    assert "no such layer" in told


def test_an_interrupted_matrix_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xattr_check.cli.kill_matrix.judge", interrupted)
    assert main(["kill-matrix", "--methods", "xattr:gradient", f"--storage={tmp_path}"]) == 130
    assert "interrupted; what was judged is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["xattr:gradient", "--count=0"], "--count=0: expected at least 1"),
        (["xattr:gradient", "--minutes=nan"], "--minutes=nan: expected a number above 0, for example 5"),
        (["mutant:rotated@xattr:gradient"], "needs image, which subject 'analytic' does not offer"),
    ],
)
def test_mistakes_about_fingerprints(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--subject=analytic", "--among", "xattr:gradient", f"--storage={tmp_path}"]
    assert main(["fingerprint", *arguments, *asked]) == 2
    assert told in capsys.readouterr().err


def test_a_fingerprint_names_what_maps_are_like(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["fingerprint", "mutant:input_magnitude_by_product@xattr:gradient", "--subject=analytic"]
    assert main([*asked, "--among", "xattr:gradient", "--count=2", f"--storage={tmp_path}"]) == 0
    first, _ = capsys.readouterr().out.splitlines()
    assert first == "1.00 input_magnitude × xattr:gradient"


def test_what_takes_too_long_is_left_out_of_a_fingerprint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gradient", "input_x_gradient"):
        (tmp_path / f"{name}.py").write_text(
            "import time\nfrom xattr_check import load_method\n\n\ndef explain(model, inputs, targets):\n"
            f"    time.sleep({0.5 if name == 'gradient' else 0})\n"
            f"    return load_method('xattr:{name}')(model, inputs, targets)\n"
        )
    monkeypatch.chdir(tmp_path)
    others = load_methods(["gradient:explain", "input_x_gradient:explain"])
    monkeypatch.setattr(command, "load_methods", lambda *given: others)
    asked = ["fingerprint", "xattr:occlusion", "--subject=analytic", "--count=1", "--storage=.xattr"]
    for _ in range(2):  # the second time from the store
        assert main([*asked, "--minutes=0.05"]) == 0
        told = capsys.readouterr()
        assert told.out == "1.00 input_x_gradient:explain\n"
        assert "left out, since they do not fit into --minutes 0.05: gradient:explain; --among" in told.err
