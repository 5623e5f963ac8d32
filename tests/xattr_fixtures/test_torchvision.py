import sys
from urllib.error import URLError

import pytest
import torch
from PIL import Image
from torch import nn

from xattr_check.core import registry
from xattr_check.errors import UsageError

SMALL = "torchvision:squeezenet1_1?weights=none"


def make(model, data, **parameters):
    return registry.subjects()["torchvision"](model=model, data=data, **parameters)


def make_folder(path, classes=("cat", "dog"), images=3, mode="RGB"):
    for label, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for index in range(images):
            color = (40 * label, 60 * index, 90) if mode == "RGB" else 60 * index
            Image.new(mode, (40, 30), color).save(path / name / f"{index}.png")
    return path


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "images")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's with models in it."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(4, 2))\n"
        "instance = build()\n"
        "def grey():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), "
        "nn.Flatten(), nn.Linear(4, 3))\n"
        "def prepared():\n"
        "    model = build()\n"
        "    model.preprocess = lambda image: torch.full((3, 8, 8), float(image.getpixel((0, 0))[1]))\n"
        "    return model\n"
        "def number():\n"
        "    return 3\n"
        "def flat():\n"
        "    return nn.Linear(7, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    yield "mine"
    sys.modules.pop("mine", None)


def test_random_weights_on_a_folder(folder):
    subject = make(SMALL, f"imagefolder:{folder}")
    assert subject.inputs.shape == (6, 3, 224, 224)
    assert subject.regions.shape == (224, 224)
    assert subject.regions.unique().numel() == 196
    # Two classes against a thousand outputs: the model's own predictions are explained.
    with torch.inference_mode():
        assert torch.equal(subject.targets, subject.model(subject.inputs).argmax(1))


def test_black_is_what_is_made_of_a_black_image(folder, module):
    subject = make(SMALL, f"imagefolder:{folder}", n=2)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(subject.black, (-mean / deviation)[:, None, None].expand(3, 224, 224))
    own = make(f"{module}:prepared", f"imagefolder:{folder}", n=2)
    assert torch.equal(own.black, torch.zeros(3, 8, 8))


def test_the_same_seed_gives_the_same_subject(folder):
    first, again = (make(SMALL, f"imagefolder:{folder}", n=2, seed=1) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert make(SMALL, f"imagefolder:{folder}", n=2, seed=2).fingerprint != first.fingerprint


def test_random_weights_leave_the_global_generator_alone(folder):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    make(SMALL, f"imagefolder:{folder}", n=1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["build", "instance"])
def test_labels_are_targets_where_classes_are_as_many_as_outputs(name, folder, module):
    subject = make(f"{module}:{name}", f"imagefolder:{folder}", n=4)
    assert torch.bincount(subject.targets).tolist() == [2, 2]


def test_a_model_may_bring_its_own_preprocessing(folder, module):
    subject = make(f"{module}:prepared", f"imagefolder:{folder}")
    assert subject.inputs.shape == (6, 3, 8, 8)
    assert sorted(subject.inputs[:, 0, 0, 0].tolist()) == [0, 0, 60, 60, 120, 120]


def test_classes_are_drawn_evenly(tmp_path, module):
    path = make_folder(tmp_path / "uneven", ("a",), 9)
    make_folder(path, ("b",), 3)
    subject = make(f"{module}:build", f"imagefolder:{path}", n=6)
    assert torch.bincount(subject.targets).tolist() == [3, 3]


def test_a_data_set_by_name(module):
    subject = make(f"{module}:build", "FakeData", n=3)
    assert subject.inputs.shape == (3, 3, 224, 224)


def test_grey_images_for_a_grey_model(tmp_path, module, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets, "MNIST", Grey)
    subject = make(f"{module}:grey", f"mnist:{tmp_path}", n=3)
    assert subject.inputs.shape == (3, 1, 224, 224)
    assert sorted(subject.targets.tolist()) == [0, 1, 2]


def test_absence_has_the_mean_and_deviation_of_the_inputs(folder):
    subject = make(SMALL, f"imagefolder:{folder}")
    noise = subject.reference(4, torch.Generator().manual_seed(0))
    assert noise.shape == (4, 3, 224, 224)
    torch.testing.assert_close(noise.mean((0, 2, 3)), subject.inputs.mean((0, 2, 3)), rtol=0, atol=0.02)
    torch.testing.assert_close(noise.std((0, 2, 3)), subject.inputs.std((0, 2, 3)), rtol=0, atol=0.02)


class Grey:
    """Single-channel images, as MNIST has them, without its files."""

    classes = ("zero", "one", "two")
    targets = (0, 1, 2, 0, 1, 2)

    def __init__(self, root, train=True, download=True):
        assert not train
        assert not download

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, row):
        return Image.new("L", (28, 28), 30 * row), self.targets[row]


def message(model, data, **parameters):
    with pytest.raises(UsageError) as caught:
        make(model, data, **parameters)
    return str(caught.value)


def test_unknown_model(folder):
    assert message("torchvision:resnet5", f"imagefolder:{folder}") == (
        "--xattr-model='torchvision:resnet5': expected a classifier of torchvision, for example "
        "torchvision:resnet50, came 'resnet5'; the nearest are resnet50, resnet152, resnet34"
    )


def test_unknown_weights(folder):
    assert message("torchvision:squeezenet1_1?weights=best", f"imagefolder:{folder}") == (
        "--xattr-model='torchvision:squeezenet1_1?weights=best': expected weights of squeezenet1_1 "
        "(IMAGENET1K_V1, DEFAULT, none, FILE.safetensors), came best"
    )


def test_unknown_parameter(folder):
    assert message("torchvision:squeezenet1_1?pretrained=1", f"imagefolder:{folder}") == (
        "--xattr-model='torchvision:squeezenet1_1?pretrained=1': expected weights, classes, and no "
        "other parameter, came pretrained"
    )


def test_weights_that_cannot_be_downloaded(folder, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    assert message("torchvision:squeezenet1_1", f"imagefolder:{folder}") == (
        "--xattr-model='torchvision:squeezenet1_1': expected to load the weights "
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth, came <urlopen error no route to "
        "host>; "
        "type torchvision:squeezenet1_1?weights=none for random weights, "
        "torchvision:squeezenet1_1?weights=FILE.safetensors for those of a file, or mymod:make_model for a "
        "model of your own"
    )


def test_a_factory_that_makes_no_module(folder, module):
    assert message("mine:number", f"imagefolder:{folder}") == (
        "--xattr-model='mine:number': expected a torch.nn.Module or a function that returns one, came int"
    )


def test_a_model_spec_without_a_colon(folder):
    assert message("resnet50", f"imagefolder:{folder}") == (
        "--xattr-model='resnet50': expected MODULE:CALLABLE, for example torchvision:resnet50, "
        "timm:resnet18 or mymod:make_model"
    )


def test_a_model_that_does_not_take_images(folder, module):
    text = message("mine:flat", f"imagefolder:{folder}")
    assert text.startswith(
        "--xattr-model='mine:flat': expected a model that maps images (3, 224, 224) to logits (N, K), came "
    )
    assert text.endswith("give the model an attribute preprocess that makes its input of a PIL image")


def test_unknown_data_set():
    assert message(SMALL, "cifar:data") == (
        "--xattr-data='cifar:data': expected imagefolder:PATH, or a data set of torchvision as NAME:ROOT, "
        "for example cifar10:data, came 'cifar'; the nearest are cifar10, cifar100"
    )


def test_missing_path():
    assert message(SMALL, "imagefolder:not/here") == (
        "--xattr-data='imagefolder:not/here': expected imagefolder:PATH with the path of its files, "
        "came 'not/here', which does not exist"
    )
    assert message(SMALL, "imagefolder") == (
        "--xattr-data='imagefolder': expected imagefolder:PATH with the path of its files, came no path"
    )


def test_empty_folder(tmp_path):
    text = message(SMALL, f"imagefolder:{tmp_path}")
    assert text.startswith(
        f"--xattr-data='imagefolder:{tmp_path}': expected a folder of images for each class, "
        "PATH/CLASS/IMAGE.png, came Couldn't find any class folder in"
    )


def test_files_that_were_never_downloaded(tmp_path):
    assert message(SMALL, f"cifar10:{tmp_path}") == (
        f"--xattr-data='cifar10:{tmp_path}': expected the files of CIFAR10 under '{tmp_path}', came "
        "Dataset not found or corrupted. You can use download=True to download it; fetch them once with "
        f"torchvision.datasets.CIFAR10('{tmp_path}', download=True)"
    )


def test_grey_images_for_a_model_of_three_channels(tmp_path, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets, "MNIST", Grey)
    assert message(SMALL, f"mnist:{tmp_path}") == (
        f"--xattr-data='mnist:{tmp_path}': expected images of 3 channels for {SMALL}, came 1; choose other "
        "data, or a model of 1 channels as --xattr-model=mymod:make_model"
    )


def test_no_images_asked_for(folder):
    assert message(SMALL, f"imagefolder:{folder}", n=0) == (
        f"--xattr-data='imagefolder:{folder}': expected n ≥ 1 images, came n=0"
    )


def test_models_are_in_eval_mode(folder):
    assert not any(module.training for module in make(SMALL, f"imagefolder:{folder}", n=1).model.modules())
    assert isinstance(make(SMALL, f"imagefolder:{folder}", n=1).model, nn.Module)


def test_an_image_classifier_of_transformers(folder, tmp_path):
    transformers = pytest.importorskip("transformers")
    saved = tmp_path / "vit"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(image_size=16, patch_size=8, num_labels=2, **sizes)
    transformers.ViTForImageClassification(config).save_pretrained(saved)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(saved)
    subject = make(f"transformers:{saved}", f"imagefolder:{folder}")
    assert subject.inputs.shape == (6, 3, 16, 16)
    assert subject.examination.outputs == 2
    with pytest.raises(UsageError, match="expected an image classifier in"):
        make(f"transformers:{tmp_path}", f"imagefolder:{folder}")
    with pytest.raises(UsageError, match="no weights beside those of the folder"):
        make(f"transformers:{saved}?weights=none", f"imagefolder:{folder}")
