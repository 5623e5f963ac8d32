"""The kill matrix: a small one from end to end, and that it goes on where it stopped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xattr_check.battery.battery import Battery
from xattr_check.config.settings import Settings
from xattr_check.diagnosis.kill_matrix import DOSES, KillMatrix, smallest_doses
from xattr_check.diagnosis.rows import Base, Row
from xattr_check.diagnosis.work import Judged, Plan, judge, names_by_hand
from xattr_check.errors import UsageError
from xattr_check.mutation.mutants import operators

CHECKS = "finite or batch_independent or dummy or linearity or symmetry"
BROKEN = """
CAUGHT_BY = {"nothing": "finite", "right": "none"}

def nothing(model, inputs, targets):
    return inputs * float("nan")

def right(model, inputs, targets):
    return inputs * 0
"""


def plan(folder: Path, **more: Any) -> Plan:
    settings = Settings(storage=str(folder), checks=CHECKS, device="cpu")
    known: dict[str, Any] = {
        "methods": ("xattr:input_x_gradient",),
        "operators": ("negated", "shifted", "batch_mate", "rotated", "constant_by_product"),
    }
    return Plan(settings, "analytic", **known | more)


def test_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "broken.py"
    file.write_text(BROKEN)
    asked = plan(tmp_path, by_hand=tuple(names_by_hand(str(file))))
    judged = judge(asked)
    (base,) = judged.bases
    assert {"finite", "batch_independent", "symmetry"} <= set(base.passed)
    assert base.failed == ()
    assert {row.operator: row.outcome for row in judged.usual} == {
        "negated": "survived",  # of the exact axioms none asks which way is up
        "shifted": "killed",
        "batch_mate": "killed",
        "rotated": "not_applicable",
        "constant_by_product": "equivalent",
    }
    by_name = {row.operator: row for row in judged.usual}
    assert len(by_name["shifted"].killers) == 2  # and no more is asked
    assert by_name["shifted"].mutant == "mutant:shifted@xattr:input_x_gradient"
    assert by_name["rotated"].reason == "needs image"
    assert by_name["negated"].likeness == pytest.approx(-1)
    assert by_name["negated"].closest
    assert [(row.mutant.rpartition(":")[2], row.outcome) for row in judged.by_hand] == [
        ("nothing", "killed"),
        ("right", "survived"),
    ]
    monkeypatch.setattr(KillMatrix, "_judge", None)  # nothing is judged again
    assert judge(asked) == judged
    assert Judged.from_record(judged.record()).rows == judged.rows


def test_all_checks_judge_a_mutant_where_that_is_asked_for(tmp_path: Path) -> None:
    thorough = judge(plan(tmp_path, operators=("shifted",), thorough=True))
    (row,) = thorough.rows
    assert list(row.statuses) == list(thorough.bases[0].passed)


def test_mutants_of_what_fails_by_itself_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    settings = replace(plan(tmp_path).settings, checks="batch_independent or null_feature")
    asked = replace(plan(tmp_path, methods=("xattr:gradient",), passing=True), settings=settings)
    judged = judge(asked)
    assert judged.bases[0].failed == ("null_feature",)
    assert judged.rows == ()


def test_a_method_that_the_subject_cannot_have_is_told(tmp_path: Path) -> None:
    judged = judge(plan(tmp_path, methods=("xattr:edges",)))
    assert judged.bases == (Base("xattr:edges", 0, error="needs neighbours"),)
    assert judged.rows == ()


@pytest.mark.parametrize(("least", "asked"), [(0.1, 3), (0.3, 2), (1.0, 3), (2.0, 3)])
def test_the_smallest_dose_is_found_by_halves(
    least: float, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(_: Any, base: Base, operator: Any, amount: float) -> Row:
        outcome = "killed" if amount >= least else "survived"
        return Row(operator.named(amount), base.method, operator.name, amount, 0, outcome)

    monkeypatch.setattr(KillMatrix, "row", row)
    matrix = KillMatrix(Battery(Settings(), ["xattr:gradient"], ["analytic"]), Path("unused"))
    found = matrix.doses(Base("xattr:gradient", 0), operators()["random_by_sum"])
    assert len(found) <= asked
    wanted = least if least in DOSES else None
    assert smallest_doses(found) == {("xattr:gradient", "random_by_sum"): wanted}


def test_a_file_without_a_table_is_told(tmp_path: Path) -> None:
    file = tmp_path / "none.py"
    file.write_text("CAUGHT_BY = ['one']\n")
    with pytest.raises(
        UsageError, match=r"--also='.*none.py': expected CAUGHT_BY to be a table by name, came list"
    ):
        names_by_hand(str(file))


@pytest.mark.slow
def test_what_two_processes_do_is_what_one_does(tmp_path: Path) -> None:
    asked = plan(tmp_path / "two", operators=("shifted", "rotated"))
    two = judge(asked, processes=2)
    one = judge(plan(tmp_path / "one", operators=("shifted", "rotated")))
    assert [(row.mutant, row.outcome) for row in two.rows] == [(row.mutant, row.outcome) for row in one.rows]
