"""pytorch_grad_cam:NAME against the library itself, and against our own methods."""

import pytest
import torch

from xattr_adapters._shared import twin
from xattr_adapters.pytorch_grad_cam import adapter
from xattr_check import UsageError, load_method
from xattr_methods import gradcam, gradcam_plus_plus

library = pytest.importorskip("pytorch_grad_cam")
NAMES = (
    *("GradCAM", "GradCAMPlusPlus", "HiResCAM", "GradCAMElementWise", "XGradCAM", "ScoreCAM", "AblationCAM"),
    *("LayerCAM", "EigenCAM", "EigenGradCAM", "KPCA_CAM", "RandomCAM", "FullGrad", "FEM", "ShapleyCAM"),
    "FinerCAM",
)


def made(name, layer=None, **parameters):
    return adapter(name, layer).with_parameters("made", parameters)


def scaled(maps):
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_every_class_leaves_the_model_alone_and_knows_no_batch(images, careful, capfd, name: str) -> None:
    maps = careful(made(name), *images, tolerance=1e-3)
    assert maps.shape[1] == 1
    assert capfd.readouterr() == ("", "")


def test_maps_are_those_of_the_library(images) -> None:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, inputs, targets = images
    copied = twin(model, gradients=True)
    with library.XGradCAM(copied, [copied.second]) as cam:
        theirs = cam(inputs, [ClassifierOutputTarget(int(target)) for target in targets], eigen_smooth=True)
    found = made("XGradCAM", "second", eigen_smooth=True)(model, inputs, targets)
    torch.testing.assert_close(found[:, 0], torch.from_numpy(theirs))


def test_gradcam_is_ours_between_its_least_and_its_largest(images) -> None:
    model, inputs, targets = images
    for name, ours in (("GradCAM", gradcam), ("GradCAMPlusPlus", gradcam_plus_plus)):
        found = made(name, "last_relu")(model, inputs, targets)
        wanted = scaled(ours(model, inputs, targets, layer="last_relu"))
        seen = wanted.flatten(1).amax(1) > 0
        # The library scales the cells before it enlarges them, and the enlarged map again.
        together = torch.stack([found[seen].flatten(), wanted[seen].flatten()])
        assert float(torch.corrcoef(together)[0, 1]) > 0.99


def test_the_default_layer_is_the_last_with_spatial_extent(images) -> None:
    found, wanted = made("GradCAM")(*images), made("GradCAM", "last_relu")(*images)
    torch.testing.assert_close(found, wanted)


def test_the_memory_of_a_chunk_changes_nothing(images) -> None:
    for name in ("GradCAM", "ScoreCAM", "AblationCAM"):
        torch.testing.assert_close(made(name, memory=1)(*images), made(name)(*images), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_is_refused(images, columns) -> None:
    with pytest.raises(UsageError, match="pytorch_grad_cam has no method 'GradCam'; the nearest are GradCAM"):
        adapter("GradCam", None)
    with pytest.raises(UsageError, match="pytorch_grad_cam:FullGrad explains the input and has no layer"):
        adapter("FullGrad", "second")
    copied = twin(images[0])
    cam = library.GradCAM(copied, [copied.second])
    with pytest.raises(UsageError, match=r"this GradCAM holds the layers .*pytorch_grad_cam:GradCAM@LAYER"):
        load_method(cam)
    assert load_method(library.GradCAM).needs == {"image"}
    with pytest.raises(ValueError, match="expected images"):
        made("GradCAM")(*columns)
    with pytest.raises(ValueError, match=r"returns \(N, C, h, w\), came \(1, 4\) from classifier"):
        made("GradCAM", "classifier")(*images)
    with pytest.raises(ValueError, match="layer='third': expected a module of the model"):
        made("GradCAM", "third")(*images)


def test_a_model_that_raises_is_left_alone(raising) -> None:
    raising(made("GradCAM"))
