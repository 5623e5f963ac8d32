"""Copies of a model at work side by side say what the model says."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from features import given, network
from torch import Tensor, nn

from xattr_check.generation.certify import Stage, free_variants
from xattr_check.generation.replicas import Replicas
from xattr_check.generation.scenarios import scenario

WORKERS = 3


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(WORKERS)
    yield
    torch.set_num_threads(before)


class Slate:
    """What is written here is read again when others have had time to write it."""

    shown: Tensor


class Shared(Slate):
    """The same one for all copies."""

    def __deepcopy__(self, memo: object) -> "Shared":
        return self


class Writing(nn.Module):
    """Keeps what it was given on a slate, and reads it there."""

    def __init__(self, slate: Slate) -> None:
        super().__init__()
        self.network, self.slate = nn.Linear(4, 3), slate

    def forward(self, inputs: Tensor) -> Tensor:
        self.slate.shown = inputs
        time.sleep(0.002)
        found: Tensor = self.network(self.slate.shown)
        return found


class Noisy(nn.Linear):
    """Other outputs at every call."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * torch.rand(())


class Uncopied(nn.Linear):
    """Holds what cannot be copied."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.lock = threading.Lock()


def hooked() -> nn.Module:
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda module, args, output: None)
    return model


def frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)


def test_copies_share_weights_and_nothing_else() -> None:
    model = frozen(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
    copies = Replicas(model, torch.randn(2, 4), WORKERS)
    assert copies.most == WORKERS
    used: list[nn.Module] = []

    def look(_: int) -> int:
        time.sleep(0.01)
        used.append(copies._here.model)
        return torch.get_num_threads()

    assert copies.map(look, range(9)) == [1] * 9
    assert len({id(one) for one in used}) == WORKERS
    for one in used:
        assert one is not model
        tensors = zip(one.state_dict().values(), model.state_dict().values(), strict=True)
        assert all(own.data_ptr() == other.data_ptr() for own, other in tensors)
    assert torch.get_num_threads() == WORKERS


def test_a_model_that_writes_to_itself_is_read_right() -> None:
    model = Writing(Slate())
    copies = Replicas(frozen(model), torch.randn(2, 4), WORKERS)
    assert copies.most == WORKERS
    inputs = torch.randn(12, 1, 4)
    found = torch.cat(copies.map(lambda row: copies(inputs[row]), range(12)))
    torch.testing.assert_close(found, model.network(inputs.flatten(0, 1)))


@pytest.mark.parametrize(
    "made", [lambda: Writing(Shared()), lambda: Noisy(4, 3), lambda: Uncopied(4, 3), hooked]
)
def test_one_thread_where_copies_would_be_in_each_others_way(made: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    copies = Replicas(frozen(made()), torch.randn(2, 4), WORKERS)
    assert copies.most == copies.working == 1
    here = threading.get_ident()
    assert set(copies.map(lambda _: threading.get_ident(), range(4))) == {here}
    assert torch.get_num_threads() == WORKERS


@pytest.mark.parametrize("enabled", [False, True])
def test_gradients_are_as_in_the_thread_that_asks(enabled: bool) -> None:
    copies = Replicas(frozen(nn.Linear(4, 3)), torch.randn(2, 4), WORKERS)
    with torch.set_grad_enabled(enabled):
        assert copies.map(lambda _: torch.is_grad_enabled(), range(4)) == [enabled] * 4


def test_work_within_work_is_done_where_it_is() -> None:
    copies = Replicas(frozen(nn.Linear(4, 3)), torch.randn(2, 4), WORKERS)

    def outer(_: int) -> bool:
        here = threading.get_ident()
        return set(copies.map(lambda _: threading.get_ident(), range(4))) == {here}

    assert all(copies.map(outer, range(12)))


def test_what_work_raises_is_raised() -> None:
    copies = Replicas(frozen(nn.Linear(4, 3)), torch.randn(2, 4), WORKERS)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        copies.map(lambda _: copies(torch.zeros(2, 5)), range(4))
    assert copies.map(lambda number: number, range(4)) == [0, 1, 2, 3]


def test_no_more_threads_than_torch_may_have() -> None:
    copies = Replicas(frozen(nn.Linear(4, 3)), torch.randn(2, 4), WORKERS)
    torch.set_num_threads(1)
    here = threading.get_ident()
    assert set(copies.map(lambda _: threading.get_ident(), range(4))) == {here}


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_certificates_and_gradients_are_those_of_one_thread(samples: int) -> None:
    kind = scenario("double", 2)
    shown = given(kind, samples, draws=7)
    patches, classes, references, places = shown

    def of(threads: int) -> tuple[list[Tensor], Tensor]:
        torch.set_num_threads(threads)
        stage = Stage(network(), torch.zeros(2, 3, 12, 12).double(), kind, 2**30)
        assert stage.replicas.most == threads
        sought = patches.clone().requires_grad_()

        def work(rows: slice) -> Tensor:
            outcome = stage.outcome(
                sought[rows], classes[rows], references[rows], places[rows], free_variants(kind)
            )
            (found,) = torch.autograd.grad(outcome.change.square().sum(), sought)
            return found

        gradients = torch.stack(stage.in_chunks(work, samples, 7, kind.coalitions)).sum(0)
        certificate = stage.certify(*shown)
        return list(certificate.tensors().values()), gradients

    torch.testing.assert_close(of(WORKERS), of(1))


def test_as_many_threads_as_have_room() -> None:
    example, kind = torch.zeros(2, 3, 12, 12).double(), scenario("double", 2)
    one = Stage(network(), example, kind, 2**30).probe.bytes * 2 * kind.coalitions
    assert Stage(network(), example, kind, one // 8).replicas.most == 2
    assert Stage(network(), example, kind, one // 16).replicas.most == 1
    assert Stage(network(), example, kind, 1).replicas.most == 1
