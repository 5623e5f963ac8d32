import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.generation.prior import INSIDE, PRIORS, Decoders, Pixels, Prior


def decoders(count: int = 3, channels: int = 3, side: int = 9, seed: int = 0) -> Decoders:
    return Decoders(count, channels, side, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_range(channels: int) -> None:
    for side in (4, 5, 6, 7, 11, 12, 14, 23, 45, 98, 100):
        made = decoders(2, channels, side)
        with torch.no_grad():
            found = made()
        assert found.shape == (2, channels, side, side)
        assert 0 <= found.min() < found.max() <= 1, side
        assert found.flatten(1).std(1).min() > 0.01, side
        assert 3 <= made.seeds.shape[-1] <= 6, side


def test_the_seed_alone_decides() -> None:
    with torch.no_grad():
        one, again, other = decoders()(), decoders()(), decoders(seed=1)()
    assert torch.equal(one, again)
    assert not torch.isclose(one, other).all(dim=(1, 2, 3)).any()
    assert not torch.isclose(one[0], one[1]).all()


def textbook(made: Decoders, which: int) -> Tensor:
    """One decoder, layer by layer, in ordinary convolutions."""
    hidden = made.seeds[which][None]
    for level, weight in enumerate(made.weights):
        if level:
            hidden = nn.Upsample(scale_factor=2, mode="nearest")(hidden)
        hidden = functional.conv2d(hidden, weight[which], padding=1)
        mean, variance = hidden.mean((2, 3), keepdim=True), hidden.var((2, 3), unbiased=False, keepdim=True)
        hidden = (hidden - mean) / (variance + 1e-5).sqrt()
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    image = functional.conv2d(hidden, made.last[which], made.offset[which])
    edge = (image.shape[-1] - made.side) // 2
    return torch.sigmoid(image[0, :, edge : edge + made.side, edge : edge + made.side])


@pytest.mark.parametrize("side", [4, 9, 14, 40])
def test_each_agrees_with_a_plain_network(side: int) -> None:
    made = decoders(side=side).double()
    with torch.no_grad():
        made.offset.normal_()
        found = made()
        for which in range(3):
            torch.testing.assert_close(found[which], textbook(made, which))


def test_fine_levels_have_half_the_channels() -> None:
    widths = [weight.shape[1] for weight in decoders(1, 3, 98).weights]
    assert widths == [32, 32, 32, 32, 16, 16]  # 4, 8, 16, 32, 64 and 128 cells on a side


def test_no_decoder_acts_on_another() -> None:
    made = decoders(count=4)
    with torch.no_grad():
        before = made()
        for parameter in made.parameters():
            parameter[2] += torch.randn_like(parameter[2])
        after = made()
    same = (before == after).flatten(1).all(1)
    assert same.tolist() == [True, True, False, True]


def test_gradients_stay_with_their_decoder() -> None:
    made = decoders(count=4)
    weight = torch.randn(3, 9, 9)
    (made()[1] * weight).sum().backward()
    for parameter in made.parameters():
        assert parameter.grad is not None
        reached = parameter.grad.flatten(1).ne(0).any(1)
        assert reached.tolist() == [False, True, False, False]


def test_every_parameter_matters() -> None:
    """None is cancelled by the normalisation that follows it."""
    made = decoders(count=2).double()
    (made() * torch.randn(2, 3, 9, 9, dtype=torch.float64)).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().amax() > 1e-6, name


def test_seeds_are_not_learnt_but_saved() -> None:
    made = decoders()
    assert "seeds" in made.state_dict()
    assert not made.seeds.requires_grad


# Pixels.


def pieces(count: int = 4, channels: int = 3, side: int = 9, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


def test_pixels_start_as_pieces() -> None:
    """But for what is as dark or as bright as can be, of which there would be no way back."""
    given = pieces()
    given[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    with torch.no_grad():
        found = Pixels(given)()
    torch.testing.assert_close(found, given.clamp(INSIDE, 1 - INSIDE))
    assert found[0, 0, 0, :2].tolist() == pytest.approx([0.02, 0.98])
    assert INSIDE == 0.02


def test_pixels_stay_in_the_range_and_can_get_anywhere() -> None:
    made = Pixels(torch.tensor([0.0, 0.5, 1.0]).reshape(1, 1, 1, 3))
    with torch.no_grad():
        made.logits += torch.tensor([9.0, -9.0, -9.0])
        found = made().flatten().tolist()
    assert 0 <= min(found) < 0.01
    assert found[0] > 0.99
    with torch.no_grad():
        made.logits.mul_(1e9)
        assert made().aminmax() == (0, 1)


def test_no_pixel_acts_on_another() -> None:
    made = Pixels(pieces())
    before = made().detach()
    with torch.no_grad():
        made.logits[2, 1, 3, 4] += 1
    assert (made() != before).nonzero().tolist() == [[2, 1, 3, 4]]


# By name.


@pytest.mark.parametrize("name", ["pixels", "decoder"])
def test_each_prior_is_of_so_many_patches(name: str) -> None:
    """The first axis of every tensor is that of the patches, and what is made of one is its own."""
    made = PRIORS[name](pieces(side=7), torch.Generator().manual_seed(0))
    assert isinstance(made, Prior)
    assert made().shape == (4, 3, 7, 7)
    assert all(len(tensor) == 4 for tensor in made.state_dict().values())
    before = made().detach()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter[1] += torch.randn_like(parameter[1])
        changed = (made() != before).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, False]
    assert 0 < made.share < 1 <= made.attempt
    assert made.rate > 0


def test_decoders_leave_pieces_aside() -> None:
    one, other = (PRIORS["decoder"](pieces(seed=seed), torch.Generator().manual_seed(3)) for seed in (0, 1))
    assert torch.equal(one(), other())
    one, other = (PRIORS["decoder"](pieces(), torch.Generator().manual_seed(seed)) for seed in (3, 4))
    assert not torch.isclose(one(), other()).all()
