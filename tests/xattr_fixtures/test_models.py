"""Models by name and by file, of torchvision and of timm."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from xattr_check.errors import UsageError
from xattr_fixtures._models import load_model

SMALL = "torchvision:squeezenet1_1"


@pytest.fixture(scope="module")
def trained() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return squeezenet1_1(num_classes=3).eval()


def equal(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = model.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_weights_of_a_file(trained: torch.nn.Module, tmp_path: Path) -> None:
    """As they are, from a training script's checkpoint, and of a model that was trained in parallel."""
    weights = trained.state_dict()
    save_file(weights, tmp_path / "plain.safetensors")
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "checkpoint.pt")
    torch.save({f"module.{name}": value for name, value in weights.items()}, tmp_path / "parallel.pth")
    for path in sorted(tmp_path.iterdir()):
        model, _ = load_model(f"{SMALL}?weights={path}&classes=3", seed=0)
        assert equal(model, trained), path
        assert not model.training


def test_mistakes(trained: torch.nn.Module, tmp_path: Path) -> None:
    save_file(trained.state_dict(), tmp_path / "three.safetensors")
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    torch.save(trained, tmp_path / "module.pt")
    expected = {
        f"?weights={tmp_path}/three.safetensors": "say classes=NUMBER",
        f"?weights={tmp_path}/absent.pt": "which does not exist",
        f"?weights={tmp_path}/broken.pt": "expected weights in",
        f"?weights={tmp_path}/module.pt": "save model.state_dict()",
        "?classes=3": "expected classes=NUMBER, with ?weights=FILE or ?weights=none",
        "?weights=none&classes=many": "expected classes=NUMBER",
        "?weights=NEWEST": "FILE.safetensors",
        "?layers=3": "expected weights, classes, and no other parameter",
    }
    for parameters, told in expected.items():
        with pytest.raises(UsageError) as caught:
            load_model(SMALL + parameters, seed=0)
        assert told in str(caught.value), parameters
        assert "\n" not in str(caught.value), parameters


def test_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model, prepare = load_model("timm:vit_tiny_patch16_224?weights=none&classes=4", seed=1)
    assert prepare(Image.new("L", (300, 260))).shape == (3, 224, 224)
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    again, _ = load_model(f"timm:vit_tiny_patch16_224?weights={tmp_path}/vit.safetensors&classes=4", seed=2)
    assert equal(again, model)
    for spec, told in {
        "timm:vit_tiny": "for example timm:resnet18",
        "timm:resnet18?weights=IMAGENET": "other weights of timm go by timm:resnet18.TAG",
    }.items():
        with pytest.raises(UsageError) as caught:
            load_model(spec, seed=0)
        assert told in str(caught.value)
    assert timm.__version__


def test_timm_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UsageError) as caught:
        load_model("timm:resnet18", seed=0)
    assert "pip install 'xattr-check[models]'" in str(caught.value)
