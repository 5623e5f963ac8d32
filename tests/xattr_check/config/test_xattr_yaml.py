"""xattr.yaml, and what the command line puts in its place."""

from pathlib import Path

import pytest
import torch

from xattr_check import AtLeast, AtMost, Axiom, Beats, Reaches, Subject, UsageError, Within
from xattr_check.battery.battery import Beside, item, validate
from xattr_check.config.settings import Settings
from xattr_check.config.xattr_yaml import read
from xattr_check.core import registry
from xattr_check.core.checks import Measurement
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.method import Method, as_method

BESIDE = Beside({}, {})


def explain(model: object, inputs: object, targets: object) -> None:
    raise NotImplementedError


def measure(*_: object) -> Measurement:
    raise NotImplementedError


METHOD, OTHER = as_method(explain, "mymod:explain"), as_method(explain, "mymod:other")
DELETION = Axiom("deletion", "It falls.", "faithfulness", Beats(0.1, lower=True), measure, bounds=(0, 1))
SUM = Axiom("completeness", "It sums.", "exact", AtMost(0.1), measure, claimed=True)
CHECKS = {"deletion": DELETION, "completeness": SUM}
BESIDE = Beside(CHECKS, {})
SUBJECT = Subject("zeros", torch.nn.Linear(2, 2), torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))


def settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "xattr.yaml"
    path.write_text(text)
    return read(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        "methods: [mymod:explain]\nsubject: digits\nchecks: [contract, sanity]\nbudget: standard\nseed: 3\n"
        "device: cpu\nstrict: true\nstorage: here\ntimeout: 10\nmemory: 64\njson: out.json\n"
        "gates: {deletion: {beats: 0.2}, completeness: {at_least: 3}}\nclaims: [completeness]\n"
        "expected_failures: {deletion: it is coarse}\n",
    )
    assert found == Settings(
        methods=["mymod:explain"],
        subjects=["digits"],
        checks="(contract) or (sanity)",
        budget="standard",
        seed=3,
        device="cpu",
        strict=True,
        storage="here",
        timeout=10,
        memory=64,
        json="out.json",
        gates={"deletion": Beats(0.2), "completeness": AtLeast(3)},
        claims={"completeness": True},
        expected_failures={"deletion": "it is coarse"},
    )


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert settings(tmp_path, "# nothing yet\n") == Settings()


def test_one_method_needs_no_list(tmp_path: Path) -> None:
    assert settings(tmp_path, "methods: mymod:explain\n").methods == ["mymod:explain"]


def test_options_win_where_they_are_given() -> None:
    found = Settings(seed=1, budget="full").override(seed=0, budget=None)
    assert (found.seed, found.budget) == (0, "full")


def test_subject_and_model_take_each_others_place() -> None:
    model = Settings(subjects=["digits"]).override(model="torchvision:resnet50", data="imagefolder:here")
    assert model.subjects == ()
    assert model.override(subjects=["digits"]).model is None
    with pytest.raises(UsageError, match="came both"):
        Settings(subjects=["digits"], model="torchvision:resnet50", data="imagefolder:here")


def judged(found: Settings, method: Method, check: Axiom) -> tuple[bool, str | None]:
    made = item(found, method, check, SUBJECT, BESIDE)
    expected = made.expected_failure
    return made.required, None if expected is None else expected.reason


def test_what_is_said_of_all_and_of_one_method_adds_up() -> None:
    found = Settings(
        claims={"mymod:explain": ["completeness"]},
        expected_failures={"deletion": "coarse", "mymod:explain": {"deletion": "very coarse"}},
    )
    assert judged(found, METHOD, SUM) == (True, None)
    assert judged(found, OTHER, SUM) == (False, None)
    assert judged(found, METHOD, DELETION) == (True, "very coarse")
    assert judged(found, OTHER, DELETION) == (True, "coarse")
    assert judged(Settings(claims={"completeness": True}), OTHER, SUM) == (True, None)


BY_SUBJECT = """
gates: {deletion: {beats: 0.2}, completeness: {at_most: 1}}
claims: {mymod:explain: [completeness]}
expected_failures: {deletion: coarse, mymod:explain: {completeness: known}}
subjects:
  digits:
  mymod:make?n=3:
    gates: {deletion: {beats: 0.5}}
    claims: [deletion]
    expected_failures: {mymod:explain: {deletion: very coarse}}
"""


def test_what_is_said_of_one_subject_is_added_to_what_is_said_of_all(tmp_path: Path) -> None:
    found = settings(tmp_path, BY_SUBJECT)
    assert found.subjects == ["digits", "mymod:make?n=3"]
    assert found.on("digits").gates == found.gates
    assert found.on("mymod:other") is found
    own = found.on("mymod:make?n=3")
    assert own.gates == {"deletion": Beats(0.5), "completeness": AtMost(1)}
    assert own.claims == {"mymod:explain": ["completeness"], "deletion": True}
    assert judged(own, METHOD, DELETION) == (True, "very coarse")
    assert judged(own, METHOD, SUM) == (True, "known")
    assert judged(own, OTHER, DELETION) == (True, "coarse")
    # What it says of a subject that is not judged on is no mistake, and stays where it is again.
    assert (
        found.override(subjects=["digits"]).override(subjects=["mymod:make?n=3"]).on("mymod:make?n=3").gates
        == own.gates
    )


def test_a_failure_that_was_accepted_is_read_with_its_figure(tmp_path: Path) -> None:
    entry = "{reason: coarse, sentence: 0.41 of it, interval: [0.3, 1], accepted: 2026-11-29}"
    own = f"expected_failures: {{mymod:explain: {{deletion: {entry}, completeness: {{reason: }}}}}}\n"
    coarse = ExpectedFailure("coarse", "0.41 of it", (0.3, 1.0), "2026-11-29")
    assert settings(tmp_path, own).expected_failures == {
        "mymod:explain": {"deletion": coarse, "completeness": ExpectedFailure()}
    }
    of_all = settings(tmp_path, f"expected_failures: {{deletion: {entry}}}\n")
    assert of_all.expected_failures == {"deletion": coarse}
    assert judged(of_all, OTHER, DELETION) == (True, "coarse")


def test_methods_that_all_stands_for_are_known(tmp_path: Path) -> None:
    found = settings(tmp_path, "methods: all\nexpected_failures: {xattr:rise: {deletion: coarse}}\n")
    validate(found.override(methods=["mymod:explain"]), [METHOD], CHECKS)


def test_one_subject_may_go_by_either_key(tmp_path: Path) -> None:
    texts = ("subject: digits\n", "subjects: digits\n", "subjects: [digits]\n", "subjects: {digits: }\n")
    assert [settings(tmp_path, text).subjects for text in texts] == [["digits"]] * 4


def test_gate_of_the_file_keeps_the_direction_of_the_check() -> None:
    given = Settings(gates={"deletion": Beats(0.3)})
    assert item(given, METHOD, DELETION, SUBJECT, BESIDE).gate == Beats(0.3, True)
    assert item(Settings(), METHOD, DELETION, SUBJECT, BESIDE).gate is None


def test_a_margin_beside_references_is_set_where_there_are_some(tmp_path: Path) -> None:
    given = settings(tmp_path, "gates: {parameter_randomization: {within: 0.3}}\n")
    known = registry.checks()["parameter_randomization"]
    found = item(given, METHOD, known, SUBJECT, BESIDE).gate
    assert found == Within(0.3, of=("gradient", "occlusion"), lower=True)
    given = settings(tmp_path, "gates: {retrained: {reaches: 0.4}}\n")
    found = item(given, METHOD, registry.checks()["retrained"], SUBJECT, BESIDE).gate
    assert found == Reaches(0.4, of=("gradient", "occlusion"), least=0.1)
    with pytest.raises(UsageError, match="at_most or within for 'parameter_randomization'"):
        settings(tmp_path, "gates: {parameter_randomization: {reaches: 0.4}}\n")
    with pytest.raises(UsageError, match="a share of what the references of 'retrained' come to"):
        settings(tmp_path, "gates: {retrained: {reaches: 2}}\n")
    with pytest.raises(UsageError) as caught:
        settings(tmp_path, "gates: {deletion: {within: 0.3}}\n")
    expected = "expected at_most, at_least or beats for 'deletion', which has no references to be near"
    assert expected in str(caught.value)


def test_what_a_file_says_of_its_other_methods_is_no_mistake() -> None:
    found = Settings(methods=["mymod:explain", "mymod:other"], claims={"mymod:other": ["completeness"]})
    validate(found.override(methods=["mymod:explain"]), [METHOD], CHECKS)
    with pytest.raises(UsageError, match="claims: no method 'mymod:third' in this run"):
        validate(Settings(claims={"mymod:third": ["completeness"]}), [METHOD], CHECKS)


def test_line_of_a_mistake_deep_in_the_file(tmp_path: Path) -> None:
    text = "expected_failures:\n  mymod:explain:\n    deletion: 3\n"
    with pytest.raises(UsageError, match=r":3: expected_failures: expected a reason for 'deletion'"):
        settings(tmp_path, text)


def test_comparison_is_said_with_the_other_gates(tmp_path: Path) -> None:
    found = settings(tmp_path, "save: true\ncompare_fail: ['p<0.01', 'any:pass->fail']\n")
    assert (found.save, found.compare, found.compare_fail) == ("", None, "p<0.01, any:pass->fail")
    assert found.override(compare="main").compare_fail == "p<0.01, any:pass->fail"
    with pytest.raises(UsageError, match=r"^--xattr-compare-fail: expected --xattr-compare beside it"):
        found.override(compare_fail="p<0.05")
    assert settings(tmp_path, "compare: true\n").compare == ""
    assert settings(tmp_path, "compare: false\nsave: nightly\n") == Settings(save="nightly")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "xattr.yaml").write_bytes(b"\xef\xbb\xbfseed: 3\n")
    assert read(tmp_path / "xattr.yaml").seed == 3


def test_lists_that_grow_without_end_are_no_texts(tmp_path: Path) -> None:
    text = "checks: &a [*a]\n"
    with pytest.raises(UsageError, match=r":1: checks: expected texts in the list, came a list$"):
        settings(tmp_path, text)
