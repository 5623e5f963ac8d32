"""The command `xattr-check generate`: its files, its messages, and that it goes on where it was."""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from judging import shared_folder
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from subjects import columns
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject, UsageError
from xattr_check.battery.subjects import only_subject
from xattr_check.cli import sheets
from xattr_check.cli.main import main
from xattr_check.cli.meter import Meter
from xattr_check.config.settings import Settings
from xattr_check.core.run import Run
from xattr_check.generation import blocks
from xattr_check.generation.generator import Maker
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import scenario
from xattr_check.generation.subjects import generated
from xattr_check.storage.store import Store
from xattr_check.wording import duration

HERE = f"{Path(__file__)}"


class Colours(nn.Module):
    """Three logits, one for each colour: how much of it is brighter than noise is, saturating."""

    def forward(self, inputs: Tensor) -> Tensor:
        return 12 * torch.tanh(20 * functional.softplus(inputs - 1.5, beta=4).mean((2, 3)))


class Deaf(Colours):
    """Its gradients stop before its inputs."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.detach())


def colours(model: nn.Module | None = None) -> Subject:
    model = Colours() if model is None else model
    inputs = torch.randn(12, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return Subject("colours", model, inputs, torch.zeros(12, dtype=torch.int64))


def deaf() -> Subject:
    return colours(Deaf())


def one_output() -> Subject:
    return colours(nn.Sequential(nn.Flatten(), nn.Linear(432, 1)))


def with_reference() -> Subject:
    def reference(count: int, generator: torch.Generator) -> Tensor:
        return 0.1 * torch.randn(count, 3, 12, 12, generator=generator)

    return replace(colours(), reference=reference)


__all__ = ["columns"]  # one of the subjects that the command is given


def command(*options: str, subject: str = "colours", patch: int = 4, steps: int = 200) -> int:
    """The command on a subject of this module, in the working directory."""
    given = [f"--xattr-subject={HERE}:{subject}", f"--patch={patch}", f"--steps={steps}"]
    return main(["generate", *given, *options])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two samples of each scenario lie as `SCENARIO.safetensors`, and their storage."""
    folder = shared_folder(tmp_path_factory, "generated")
    with pytest.MonkeyPatch.context() as patch, FileLock(folder / "made.lock"):
        patch.chdir(folder)
        for name in ("null", "double", "single", "saturation"):
            if not Path(f"{name}.safetensors").exists():  # another worker may have been faster
                assert command(f"--scenario={name}", "-n", "2", f"--out={name}.safetensors") == 0
    return folder


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def mistake(capsys: pytest.CaptureFixture[str], *options: str, **given: str | int) -> str:
    """The one sentence that a mistake is told in."""
    try:
        code = command(*options, **given)  # type: ignore[arg-type]
    except SystemExit as stopped:  # argparse's own
        code = stopped.code  # type: ignore[assignment]
    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert told.err.startswith("xattr-check: ")
    assert told.err.count("\n") == 1, "one line"
    return told.err.removeprefix("xattr-check: ").strip()


# The files.


def about(path: Path) -> dict[str, object]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, object] = json.loads(file.metadata()["xattr_check"])
    return found


def image_of(tensors: Mapping[str, Tensor], features: Sequence[str]) -> Tensor:
    """The reference with some of the patches, put together from images of each of them alone."""
    image = tensors["reference"].clone()
    for letter in features:
        image = torch.where(tensors[f"mask_{letter}"], tensors[f"only_{letter}"], image)
    return image


@pytest.mark.parametrize("name", ["null", "double", "single", "saturation"])
def test_the_certificate_can_be_checked_with_the_model_alone(name: str, made: Path) -> None:
    """With torch, safetensors and the model; the shown composites keep it, and so do the stored figures."""
    tensors = load_file(made / f"{name}.safetensors")
    told = about(made / f"{name}.safetensors")
    bounds, makes = told["bounds"], told["makes"]
    assert isinstance(bounds, dict)
    assert isinstance(makes, dict)
    model = Colours()

    def logit(output: str, features: Sequence[str]) -> Tensor:
        targets = tensors[f"target_{output}"]
        return model(image_of(tensors, features)).gather(1, targets[:, None]).squeeze(1)

    effects = {f: logit(made_by, [f]) - logit(made_by, []) for f, made_by in makes.items()}
    contributing = ["a"] if name in ("null", "single") else list(makes)
    effect = torch.stack([effects[feature] for feature in contributing]).amin(0)
    assert (effect > 5).all()
    for feature, made_by in makes.items():
        probability = model(tensors[f"only_{feature}"]).softmax(1)
        assert (probability.gather(1, tensors[f"target_{made_by}"][:, None]) >= bounds["softmax"]).all()
    changes = told["changes"]
    assert isinstance(changes, list)
    for change in changes:
        larger = logit(change["output"], [*change["joins"], change["feature"]])
        ratio = (larger - logit(change["output"], change["joins"])).abs() / effect
        assert (ratio <= bounds["median"]).all(), "one draw: its median is the change itself"
    assert torch.equal(tensors["composite"], image_of(tensors, list(makes)))
    if name == "saturation":
        whole = logit("a", list(makes)) - logit("a", [])
        assert all((effects[feature] / whole >= bounds["reach"]).all() for feature in makes)
    assert tensors["certificate.median"].shape == (2, len(changes))
    assert (tensors["certificate.median"] <= bounds["median"]).all()
    assert (tensors["certificate.ninetieth"] <= bounds["ninetieth"]).all()
    assert (tensors["certificate.softmax"] >= bounds["softmax"]).all()
    assert (tensors["certificate.reach"] >= bounds["reach"]).all()


@pytest.mark.parametrize(
    ("name", "letters", "classes"),
    [("null", "ab", "ab"), ("double", "ab", "ab"), ("single", "a", "ab"), ("saturation", "ab", "a")],
)
def test_what_lies_in_the_file(name: str, letters: str, classes: str, made: Path) -> None:
    tensors = load_file(made / f"{name}.safetensors")
    expected = {"composite": (2, 3, 12, 12), "reference": (2, 3, 12, 12)}
    expected |= {f"only_{letter}": (2, 3, 12, 12) for letter in letters}
    expected |= {f"mask_{letter}": (2, 1, 12, 12) for letter in letters}
    expected |= {f"target_{letter}": (2,) for letter in classes}
    shapes = {key: tuple(t.shape) for key, t in tensors.items() if not key.startswith("certificate.")}
    assert shapes == expected
    assert all(tensors[f"mask_{letter}"].sum((1, 2, 3)).tolist() == [16, 16] for letter in letters)
    told = about(made / f"{name}.safetensors")
    assert told["scenario"] == name
    assert told["subject"] == "colours"
    assert (told["patch"], told["gap"], told["steps"], told["seed"]) == (4, int(name != "saturation"), 200, 0)
    assert (told["reference"], told["objective"]) == ("noise", "constrained")
    assert (told["prior"], told["fixed"], told["noise"]) == ("pixels", True, 0.05)


def test_packed_is_what_a_subject_ships(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    packed = tmp_path / "null.safetensors"
    assert command("--scenario=null", "-n", "16", f"--packed={packed}") == 0
    subject = replace(colours(), generated={"null": load_file(packed)})
    shipped = generated("null")(subject, Run(store=Store(tmp_path / "other")))
    assert len(shipped.inputs) == 16
    assert torch.equal(shipped.inputs[:2], load_file(made / "null.safetensors")["composite"])
    assert not list((tmp_path / "other").glob("generated/*/*")), "verified, not made"


def test_pictures_are_sheets_of_eight(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    assert command("--scenario=double", "-n", "10", f"--pictures={tmp_path / 'a' / 'b'}") == 0
    sheets = sorted((tmp_path / "a" / "b").iterdir())
    assert [path.name for path in sheets] == ["double-01.png", "double-02.png"]
    full, rest = (Image.open(path).height for path in sheets)
    assert 2 < full / rest < 5, "eight rows, and two"
    assert f"pictures   {sheets[0]} … double-02.png\n" in capsys.readouterr().out


# What it says.


def test_summary_says_the_figures(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--scenario=saturation", "-n", "2", "--out=x.safetensors") == 0
    lines = capsys.readouterr().out.splitlines()
    tensors = load_file("x.safetensors")
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 80
    assert re.fullmatch(r"saturation 2 samples; \d+ of the 16 that were started are certified", lines[0])
    assert re.fullmatch(r"seconds    \d+\.\d, \d+\.\d\d for each certified sample", lines[1])
    figures = {line.split()[0]: re.findall(r"\d+\.\d+", line) for line in lines}
    assert figures["effect"] == [f"{tensors['certificate.effect'].quantile(0.5):.1f}"]
    median, ninetieth = (tensors[f"certificate.{name}"].max() for name in ("median", "ninetieth"))
    assert figures["changes"] == [f"{median:.3f}", "0.07", f"{ninetieth:.3f}", "0.15"]
    assert figures["softmax"] == [f"{tensors['certificate.softmax'].min():.3f}", "0.94"]
    assert figures["reach"] == [f"{tensors['certificate.reach'].min():.3f}", "0.93"]
    assert lines[-1] == "out        x.safetensors"
    monkeypatch.chdir(made)
    assert command("--scenario=null", "-n", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith(" in this run, the rest came from the storage")
    assert lines[-1] == "kept in    .xattr/store"


def test_fewer_than_wanted_is_exit_code_1_and_files_of_what_there_is(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setattr("xattr_check.cli.generate.TRIES", 1)
    assert command("--scenario=null", "-n", "64", f"--out={tmp_path / 'some.safetensors'}", steps=30) == 1
    told = capsys.readouterr()
    count = len(load_file(tmp_path / "some.safetensors")["composite"])
    assert 0 < count < 64
    last = told.err.splitlines()[-1]
    assert last.startswith(
        f"xattr-check: {count} of the 64 samples that were wanted keep the certificate within 30 steps, of "
        f"64 that were started; for "
    )
    assert f"of the {64 - count} left it is " in last
    assert last.endswith("; try more --steps, another --patch or another --reference")


def test_what_stands_in_the_way_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    command("--scenario=double", "-n", "4", "--explain", steps=2)
    told = capsys.readouterr()
    first, *lines = told.out.splitlines()[:7]
    found = re.fullmatch(
        r"explain +(\d+) samples have no certificate; medians of their nearest attempts", first
    )
    assert found is not None
    counts = [int(line.split("in the way of ")[1].split(":")[0]) for line in lines]
    assert sum(counts) == int(found[1]) > 0
    assert [line.split(": ", 1)[1] for line in lines] == [
        "the probability of the class that a makes alone",
        "the probability of the class that b makes alone",
        "what b alone does to output a",
        "what b beside a does to output a",
        "what a alone does to output b",
        "what a beside b does to output b",
    ]
    assert all("(about 0.98 at least)" in line for line in lines[:2])
    assert all("(about 0.09 of the effect at most)" in line for line in lines[2:])
    assert told.err.splitlines()[-1].endswith("; try another --patch or another --reference")


def test_no_sample_at_all_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code = command("--scenario=null", "-n", "1", "--out=x.safetensors", "--pictures=p", steps=1)
    told = capsys.readouterr()
    assert code == 1
    assert not Path("x.safetensors").exists()
    assert not list(Path("p").iterdir())
    assert told.out.startswith("null       0 samples; 0 of the 16 that were started are certified\n")
    assert "0 of the 1 samples that were wanted keep the certificate within 1 steps" in told.err


def test_interrupted_it_goes_on_where_it_was(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(blocks, "SNAPSHOT", 0.0)
    steps: list[int] = []
    watched = Meter.__call__

    def interrupt(self: Meter, block: int, step: int, certified: int) -> None:
        steps.append(step)
        watched(self, block, step, certified)
        if step == 7:
            raise KeyboardInterrupt

    options = ("--scenario=null", "-n", "2", "--out=x.safetensors")
    monkeypatch.setattr(Meter, "__call__", interrupt)
    assert command(*options) == 130
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1] == (
        "xattr-check: interrupted; all but the last 20 s, or the last step, is kept, and the same command "
        "goes on from there"
    )
    assert "Traceback" not in told.err
    assert not Path("x.safetensors").exists()
    monkeypatch.setattr(blocks, "SNAPSHOT", 1e9)
    monkeypatch.setattr(Meter, "__call__", lambda self, block, step, n: steps.append(step))
    assert command(*options) == 0
    assert steps[:10] == [*range(8), 7, 8]
    uninterrupted, resumed = load_file(made / "null.safetensors"), load_file("x.safetensors")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in uninterrupted.items())


class Stopped(Exception):
    """Before anything is made."""


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans of whatever is about to be made, which is not."""
    found: list[Plan] = []

    def stop(maker: Maker, *_: object, **__: object) -> Samples:
        found.append(maker.plan)
        raise Stopped

    monkeypatch.setattr("xattr_check.cli.generate.block", stop)
    monkeypatch.setattr("xattr_check.generation.subjects.take", stop)
    return found


@pytest.mark.parametrize("make", [colours, with_reference])
@pytest.mark.parametrize("name", ["null", "double", "single", "saturation"])
def test_without_options_it_makes_what_runs_of_pytest_look_for(
    name: str, make: Callable[[], Subject], plans: list[Plan], tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        main(["generate", f"--xattr-subject={HERE}:{make.__name__}", f"--scenario={name}"])
    with pytest.raises(Stopped):
        generated(name)(make(), Run(store=Store(tmp_path)))
    assert plans[0] == plans[1]
    # Noise is as wide as suits the model, where there is any.
    usual = Plan.of(make(), scenario(name))
    assert plans[0] == (usual if make is with_reference else replace(usual, noise=0.05))


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (["--prior=decoder"], {"prior": "decoder"}),
        (["--objective=dynamic"], {"objective": "dynamic", "prior": "decoder"}),
        (["--objective=dynamic", "--prior=pixels"], {"objective": "dynamic"}),
        (["--placement=anywhere"], {"fixed": False}),
        (["--placement=fixed"], {"fixed": True}),
        (["--features=3", "--patch=4", "--xattr-seed=5"], {"seed": 5, "scenario": scenario("null", 3)}),
        (["--reference=noise"], {"reference": "noise", "noise": 0.05}),
        (["--reference=inputs"], {"reference": "inputs"}),
    ],
)
def test_what_is_made_is_what_is_asked_for(
    options: list[str], given: dict[str, Any], plans: list[Plan]
) -> None:
    with pytest.raises(Stopped):
        command("--scenario=null", *options, subject="with_reference")
    usual = Plan.of(with_reference(), scenario("null"), side=4, steps=200)
    assert plans == [replace(usual, **given)]


# Mistakes.


@pytest.mark.parametrize(
    ("options", "given", "sentence"),
    [
        (["--scenario=nul"], {}, "argument --scenario: invalid choice: 'nul'"),
        ([], {}, "the following arguments are required: --scenario"),
        (["--scenario=null", "--features=9"], {}, "scenario 'null': expected 2 to 4 features, came 9"),
        (["--scenario=single", "--features=2"], {}, "scenario 'single': expected 1 feature, came 2"),
        (["--scenario=null", "-n", "0"], {}, "argument -n: expected a whole number of at least 1, came '0'"),
        (
            ["--scenario=null"],
            {"patch": 13},
            "patch=13: expected at most 12 pixels, the smaller side of 12×12",
        ),
        (["--scenario=null"], {"patch": 7}, "patch=7: 2 patches cannot be kept apart with 1 pixels"),
        (["--scenario=null"], {"patch": 3}, "patch=3: expected at least 4 pixels"),
        (
            ["--scenario=null", "--pictures=sheets"],
            {"subject": "columns"},
            "--pictures: sheets are drawn of images, came columns of 'columns'; leave it out",
        ),
        (
            ["--scenario=null", "--prior=decoder"],
            {"subject": "columns"},
            "prior 'decoder': expected pixels for patches of columns",
        ),
        (["--scenario=null"], {"subject": "deaf"}, "subject 'colours': no gradient reaches the inputs"),
        (
            ["--scenario=null"],
            {"subject": "one_output"},
            "subject 'colours': expected output='margin' for one logit of two classes, or output='value'",
        ),
        (["--scenario=null"], {"subject": "nothing"}, f"--xattr-subject='{HERE}:nothing': "),
        (["--scenario=null", "--reference=subject"], {}, "subject 'colours': has no reference of its own"),
        (["--scenario=null", "--xattr-device=gpu"], {}, "--xattr-device='gpu': expected auto, cpu, cuda"),
        (["--scenario=null", "--xattr-model=x"], {}, "--xattr-model: expected --xattr-data beside it"),
        (
            ["--scenario=null", "--out=/dev/null/x.safetensors"],
            {},
            "--out='/dev/null/x.safetensors': expected a file that can be written, came File exists",
        ),
        (["--scenario=null", "--packed=."], {}, "--packed='.': expected a file that can be written"),
        (["--scenario=null", f"--pictures={HERE}"], {}, f"--pictures='{HERE}': expected a folder that can"),
        (["--scenario=null", "--out=x", "--packed=x"], {}, "--packed='x': expected another file than --out"),
        (
            ["--scenario=null", "--features=3", "--packed=x"],
            {},
            "--packed: a subject ships samples of 2 features, came 3",
        ),
        (
            ["--scenario=null", "--reference=noise", "--packed=x"],
            {"subject": "with_reference"},
            "--packed: a subject ships samples on its subject reference, came noise",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    options: list[str],
    given: dict[str, str | int],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("xattr_check.cli.generate.block")
    assert mistake(capsys, *options, **given).startswith(sentence)


def test_a_disk_that_fills_up_is_told_and_leaves_no_part(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)

    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert command("--scenario=null", "-n", "2", f"--out={tmp_path / 'x'}") == 2
    assert "x': expected a file that can be written, came No space left" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_settings_of_the_working_directory_count_and_the_command_line_wins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("xattr.yaml").write_text(f"subject: {HERE}:colours\nstorage: kept\nseed: 3\n")
    options = ["generate", "--scenario=null", "-n", "1", "--patch=4", "--steps=1", "--out=x"]
    assert main(options) == 1
    assert "null features for colours" in capsys.readouterr().err
    assert len(list(Path("kept/store/generated").glob("*/*.safetensors"))) == 1
    assert main([*options, "--xattr-seed=4"]) == 1
    assert len(list(Path("kept/store/generated").glob("*/*.safetensors"))) == 2
    Path("xattr.yaml").write_text("sede: 3\n")
    assert main(options) == 2
    assert "unknown key 'sede'" in capsys.readouterr().err


def test_samples_are_made_on_one_subject() -> None:
    assert only_subject(Settings(subjects=[f"{HERE}:colours"])).load().name == "colours"
    with pytest.raises(UsageError, match="torchvision"):
        only_subject(Settings(model="torchvision:nothing", data="imagefolder:nowhere")).load()
    with pytest.raises(UsageError, match="--xattr-subject: expected one subject, came digits, analytic"):
        only_subject(Settings(subjects=["digits", "analytic"]))


# The progress.


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("xattr_check.cli.meter.time.monotonic", lambda: self.now)


def test_progress_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    meter = Meter(wanted=30, blocks=8, steps=100, stream=stream)
    for step in range(51):  # two steps a second
        clock.now = step / 2
        meter(0, step, certified=step // 10)
    assert stream.getvalue().splitlines() == [
        "2 certified of 30 wanted, 16 started; step 20 of 100, 10 s, at most 40 s more for these 16",
        "4 certified of 30 wanted, 16 started; step 40 of 100, 20 s, at most 30 s more for these 16",
    ]
    meter.finish_block(16, steps=60)
    for step in range(41):
        clock.now = 30 + step / 2
        meter(1, step, certified=0)
    # Two blocks of 60 steps are enough at this yield: 60 more when the second begins, 20 when 40 are done.
    assert stream.getvalue().splitlines()[-3:] == [
        "16 certified of 30 wanted, 32 started; step 0 of 100, 30 s, about 30 s more",
        "16 certified of 30 wanted, 32 started; step 20 of 100, 40 s, about 20 s more",
        "16 certified of 30 wanted, 32 started; step 40 of 100, 50 s, about 10 s more",
    ]
    meter.finish_block(16, steps=60)
    assert meter.whole
    assert meter.seconds == 50


def test_a_slow_step_is_enough_to_foresee_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    meter = Meter(wanted=2, blocks=1, steps=1500, stream=stream)
    for step in range(2):
        clock.now = 28.0 * step
        meter(0, step, certified=0)
    assert stream.getvalue().endswith("step 1 of 1500, 28 s, at most 11 h 40 min more for these 16\n")


def test_without_any_yield_all_that_may_be_started_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    meter = Meter(wanted=32, blocks=4, steps=10, stream=stream)
    for block in range(2):
        for step in range(10):
            meter(block, step, certified=0)
            clock.now += 2
        meter.finish_block(0, steps=10)
    meter(2, 0, certified=0)
    assert stream.getvalue().splitlines()[-1] == (
        "0 certified of 32 wanted, 48 started; step 0 of 10, 40 s, about 40 s more"
    )


def test_a_block_that_is_given_up_takes_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so will those that are still to come."""
    clock, stream = Clock(monkeypatch), io.StringIO()
    meter = Meter(wanted=32, blocks=4, steps=1500, stream=stream)
    for step in range(600):
        meter(0, step, certified=0)
        clock.now += 1
    meter.finish_block(0, steps=600)
    meter(1, 0, certified=0)
    assert stream.getvalue().splitlines()[-1] == (
        "0 certified of 32 wanted, 32 started; step 0 of 1500, 10 min, about 30 min more"
    )


def test_progress_stays_on_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    meter = Meter(wanted=64, blocks=8, steps=100, stream=stream)
    meter.say("it begins")
    begun = stream.getvalue()
    assert "\rit begins\n" in begun
    for step in range(51):
        clock.now = step / 2
        meter(0, step, certified=3)
    assert "3 of 64 certified |" in stream.getvalue()
    assert "step 50 of 100, 25 s, at most 25 s more for these 16" in stream.getvalue()
    assert "\n" not in stream.getvalue().removeprefix(begun)
    meter.close()
    assert stream.getvalue().rsplit("\r", 1)[-1].strip() == ""


def test_what_came_from_the_storage_is_not_counted_as_made() -> None:
    stored, resumed = (Meter(wanted=64, blocks=8, steps=100, stream=io.StringIO()) for _ in range(2))
    stored.finish_block(16, steps=60)
    assert not stored.whole
    resumed(0, 40, 0)
    resumed.finish_block(16, steps=60)
    assert not resumed.whole


def test_durations_are_told_in_fitting_units() -> None:
    assert [duration(s) for s in (0.4, 99, 100, 3600, 7800)] == [
        "0 s",
        "99 s",
        "2 min",
        "60 min",
        "2 h 10 min",
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("null", "Patch b never changes the logit of class a."),
        ("double", "Patch b never changes the logit of class a; patch a never changes the logit of class b."),
        ("saturation", "Each patch alone has nearly the effect of all; what the others add changes nothing."),
        ("synergy", "All patches together have the effect; fewer of them change nothing."),
        ("suppression", "Patch b adds -0.5 of the effect to the logit of class a."),
        ("graded", "Patch b adds 0.4 of the effect to the logit of class a."),
    ],
)
def test_a_sheet_says_what_the_patches_do(name: str, says: str) -> None:
    assert sheets._says(scenario(name)) == says
