"""Pictures that a battery leaves behind, and what the terminal says of them."""

from pathlib import Path

import pytest
from PIL import Image

from xattr_check.core import registry
from xattr_check.report import drawing
from xattr_check.storage.digest import safe_name

# The workers of xdist read it as well.
CONFTEST = """
import torch
from xattr_check import AtLeast, Measurement
from xattr_check import axiom
from xattr_check.core import registry


def made_up(value):
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, 1:4, 2:6] = True
    return {"composite": torch.zeros(2, 3, 8, 8), "mask_a": mask, "map_a": value * torch.ones(2, 8, 8)}


def check(name, evidence):
    def measure(method, subject, draw):
        rows = method(subject.model, draw.inputs, draw.targets).sum(1).double()
        # Two rows for each input, so that there is no worst one to be shown.
        return Measurement((rows * 0 + 1).repeat(2), evidence=evidence)

    measure.__name__ = name
    gate = AtLeast(2 if name == "failing" else 0.5)
    return axiom(statement="It is one.", family="sanity", gate=gate)(measure)


misshapen = made_up(1.0) | {"map_a": torch.zeros(2, 9, 9)}
evidence = {"drawn": made_up(1.0), "failing": made_up(-1.0), "plain": {}, "wrong": misshapen}
found = {name: check(name, tensors) for name, tensors in evidence.items()}
registry.checks = lambda: found
"""
GOOD = ("--xattr-method=mymod:good", "--xattr-subject=mymod:columns")
FOLDER = Path("pictures") / safe_name("columns") / safe_name("mymod:good")


@pytest.fixture
def gallery(real_folder: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's folder whose checks have made-up evidence."""
    monkeypatch.setattr(registry, "checks", registry.checks)  # put back after the conftest.py has replaced it
    real_folder.makeconftest(CONFTEST)
    return real_folder


def written(folder: pytest.Pytester, storage: str = ".xattr") -> set[Path]:
    return {path.relative_to(folder.path / storage) for path in folder.path.glob(f"{storage}/pictures/*/*/*")}


def told(outcome: pytest.RunResult) -> list[str]:
    return [line for line in outcome.outlines if "picture" in line and not line.startswith("rootdir:")]


def test_picture_is_written_and_its_folder_told_once(gallery: pytest.Pytester) -> None:
    outcome = gallery.runpytest_inprocess(*GOOD, "--xattr-checks=drawn,failing,plain")
    outcome.assert_outcomes(passed=2, failed=1)
    assert written(gallery) == {FOLDER / "drawn.png", FOLDER / "failing.png"}
    assert told(outcome) == ["pictures are in .xattr/pictures"]
    with Image.open(gallery.path / ".xattr" / FOLDER / "drawn.png") as picture:
        assert drawing.RED in {colour for _, colour in picture.getcolors(2**20)}
    assert (gallery.path / ".xattr" / "pictures" / ".gitignore").read_text() == "*\n"


def test_storage_elsewhere(gallery: pytest.Pytester) -> None:
    outcome = gallery.runpytest_inprocess(*GOOD, "--xattr-checks=drawn", "--xattr-storage=kept")
    assert written(gallery, "kept") == {FOLDER / "drawn.png"}
    assert "pictures are in kept/pictures" in outcome.outlines


def test_nothing_is_written_or_said_without_evidence(gallery: pytest.Pytester) -> None:
    outcome = gallery.runpytest_inprocess(*GOOD, "--xattr-checks=plain")
    outcome.assert_outcomes(passed=1)
    assert not (gallery.path / ".xattr" / "pictures").exists()
    assert told(outcome) == []


def test_method_that_raises_takes_the_older_picture_away(gallery: pytest.Pytester) -> None:
    gallery.runpytest_inprocess(*GOOD, "--xattr-checks=drawn").assert_outcomes(passed=1)
    broken = "\n\ndef good(model, inputs, targets):\n    raise ValueError('broken since')\n"
    module = gallery.path / "mymod.py"
    module.write_text(module.read_text() + broken)
    gallery.runpytest_inprocess(*GOOD, "--xattr-checks=drawn").assert_outcomes(failed=1)
    assert written(gallery) == set()


def test_unwritable_folder_is_one_sentence_and_no_error(gallery: pytest.Pytester) -> None:
    (gallery.path / ".xattr").mkdir()
    (gallery.path / ".xattr" / "pictures").write_text("in the way")
    outcome = gallery.runpytest_inprocess(*GOOD, "--xattr-checks=drawn,failing", "-Werror")
    outcome.assert_outcomes(passed=1, failed=1)
    assert told(outcome) == ["2 pictures could not be written to .xattr/pictures: Not a directory"]


def test_evidence_of_another_shape_is_one_sentence_and_no_error(gallery: pytest.Pytester) -> None:
    outcome = gallery.runpytest_inprocess(*GOOD, "--xattr-checks=drawn,wrong")
    outcome.assert_outcomes(passed=2)
    assert written(gallery) == {FOLDER / "drawn.png"}
    assert told(outcome) == [
        "pictures are in .xattr/pictures",
        "1 picture could not be written to .xattr/pictures: map_a: expected (2, 8, 8), came (2, 9, 9)",
    ]


@pytest.mark.slow
def test_workers_write_pictures_and_the_controller_tells(gallery: pytest.Pytester) -> None:
    outcome = gallery.runpytest_subprocess("-n2", *GOOD, "--xattr-checks=drawn,failing,plain")
    outcome.assert_outcomes(passed=2, failed=1)
    assert written(gallery) == {FOLDER / "drawn.png", FOLDER / "failing.png"}
    assert told(outcome) == ["pictures are in .xattr/pictures"]
