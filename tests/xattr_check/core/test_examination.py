"""What cannot be judged is refused when the subject is made, and what can is left as it was."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import judge
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Run, Store, Subject, SubjectError
from xattr_check.core.examination import Examination

INPUTS = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(12, 2, 5, 5, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(12, 4, 3, generator=torch.Generator().manual_seed(0))


class Called(nn.Module):
    """A small network, before or after which something is done."""

    def __init__(self, before: Callable[..., Any] | None = None, after: Callable[..., Any] | None = None):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        self.before, self.after = before, after
        self.calls = 0

    def forward(self, inputs: Tensor) -> Any:
        self.calls += 1
        if self.before is not None:
            inputs = self.before(inputs)
        logits = self.network(inputs)
        return logits if self.after is None else self.after(logits)


def made(model: nn.Module, inputs: Tensor = INPUTS, layout: str | None = None) -> Subject:
    return Subject("mine", model, inputs, torch.arange(len(inputs)) % 2, layout=layout)


def refused(model: nn.Module, inputs: Tensor = INPUTS, layout: str | None = None) -> str:
    with pytest.raises(SubjectError) as raised:
        made(model, inputs, layout)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix("subject 'mine': ")


class Counting(Called):
    """Its logits grow with every call."""

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = super().forward(inputs)
        return logits + 0.01 * self.calls


class Stubborn(nn.Dropout):
    """Dropout that stays on."""

    def train(self, mode: bool = True) -> "Stubborn":
        return super().train(True)


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (Called(after=lambda z: functional.dropout(z, 0.5)), "in eval mode draw nothing and keep nothing: "),
        (Called(before=lambda x: x + 0.1 * torch.randn_like(x)), "in eval mode draw nothing"),
        (Called(after=lambda z: z + torch.randn(1, 3)), "in eval mode draw nothing"),
        (Counting(), "in eval mode draw nothing and keep nothing"),
        (nn.Sequential(nn.Linear(6, 8), Stubborn(0.5), nn.Linear(8, 3)), "'1' is in training mode"),
    ],
)
def test_a_model_that_says_something_else_each_time(model: nn.Module, hint: str) -> None:
    told = refused(model)
    assert told.startswith(
        "expected a model that returns the same for the same inputs, came logits that differ"
    )
    assert f"of the largest in a second call; {hint}" in told


def attend(features: Tensor) -> Tensor:
    """Attention among the inputs of a batch, as where batch_first is forgotten."""
    return torch.softmax(features @ features.T, 1) @ features


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)), ""),
        (Called(before=lambda x: x - x.mean(0)), ""),
        (Called(before=lambda x: x / x.abs().max()), ""),
        (Called(after=lambda z: z - z[:1]), ""),
        (Called(before=attend), ""),
        (Called(after=lambda z: z + torch.arange(len(z))[:, None]), ""),
    ],
)
def test_a_model_that_looks_at_batch_mates(model: nn.Module, hint: str) -> None:
    for count in (12, 2, 1):
        told = refused(model, INPUTS[:count])
        # Of one row a BatchNorm has no statistics, and says so itself.
        if "Expected more than 1 value per channel" not in told:
            assert told.startswith(
                "expected a model whose logits for an input do not depend on the others in the batch, "
                "came logits that differ by "
            ), told


def test_a_norm_without_statistics_is_named() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(36, 3)
    )
    assert refused(model, IMAGES).endswith("of the largest in another batch; give '1' running statistics")


@pytest.mark.parametrize(
    ("after", "came"),
    [
        (lambda z: z.softmax(1), "probabilities that sum to one, as those of a softmax"),
        (lambda z: z.exp() / z.exp().sum(1, keepdim=True), "probabilities that sum to one"),
        (lambda z: z.sigmoid(), "what a sigmoid makes of them"),
        (lambda z: z.sigmoid().clone().reshape(-1, 3).double(), "what a sigmoid makes of them"),
    ],
)
def test_probabilities_are_told_from_logits(after: Callable[[Tensor], Tensor], came: str) -> None:
    assert refused(Called(after=after)).startswith(
        f"expected the model to return logits, of which probabilities are made here, came {came}"
    )


def test_numbers_of_a_model_without_gradient_tell_probabilities() -> None:
    """There is no graph to tell by: of one logit, or of labels, all lie between 0 and 1."""
    model = Called(after=lambda z: z[:, :1].detach().sigmoid())
    targets = torch.arange(12) % 2
    with pytest.raises(SubjectError, match="came numbers between 0 and 1, as those of a sigmoid"):
        Subject("mine", model, INPUTS, targets, output="margin")
    assert Subject("mine", model, INPUTS, 0 * targets, output="value").examination.undifferentiable
    percent = Called(after=lambda z: 100 * z.softmax(1))
    assert "came percentages that sum to 100, as those of a softmax" in refused(percent)


@pytest.mark.parametrize(
    "after",
    [
        lambda z: z.log_softmax(1),  # of which a softmax makes the same probabilities
        lambda z: 3 * z.sigmoid(),
        lambda z: z.relu() + 0.1,
        lambda z: z / z.abs().sum(1, keepdim=True),
    ],
)
def test_what_only_resembles_probabilities_is_none(after: Callable[[Tensor], Tensor]) -> None:
    assert made(Called(after=after)).examination == Examination(3)


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (lambda z: z[:, :1], "expected output='margin' for one logit of two classes, or output='value' for"),
        (
            lambda z: z.argmax(1, keepdim=True).expand(-1, 3),
            "expected the model to return outputs (1, K) for one ",
        ),
        (lambda z: z / 0, "expected finite outputs, came NaN or infinite ones, first in row 0"),
        (
            lambda z: {"logits": z},
            "expected the model to return a tensor of outputs (N, K), came dict of 'logits'",
        ),
        (lambda z: z if len(z) == 1 else z[:1], "expected outputs (8, K) for 8 inputs, came (1, 3)"),
        (lambda z: z.reshape(1, 3), "the model cannot run on its inputs (8, 6): shape '[1, 3]' is invalid"),
    ],
)
def test_what_is_no_table_of_logits(after: Callable[[Tensor], Any], told: str) -> None:
    assert refused(Called(after=after)).startswith(told)


@pytest.mark.parametrize(
    "first", [nn.Conv1d(4, 5, 3), nn.BatchNorm1d(4), nn.Sequential(nn.Identity(), nn.AvgPool1d(3))]
)
def test_signals_are_no_embeddings(first: nn.Module) -> None:
    model = nn.Sequential(first, nn.Flatten(), nn.LazyLinear(3))
    inputs = torch.randn(12, 4, 60)
    told = refused(model, inputs, "embeddings")
    assert told.startswith("expected a model that reads tokens × numbers (N, T, E) for layout=")
    assert told.endswith("reads its inputs along their last axis; say layout='signal'")
    assert made(model, inputs, "signal").layout.spatial == (60,)


class Recurrent(nn.Module):
    """Tokens through a recurrent network."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.read(inputs)[0][:, -1])
        return logits


def test_embeddings_are_no_signals() -> None:
    told = refused(Recurrent(), torch.randn(12, 7, 3), "signal")
    assert told.endswith(
        "'read' reads its inputs as tokens, each with the numbers of an embedding; say layout='embeddings'"
    )


class Transposed(nn.Module):
    """Tokens that a convolution reads along their axis, as text is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.Conv1d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.read(inputs.transpose(1, 2))
        return logits


def test_tokens_are_no_signals() -> None:
    assert made(Transposed(), TOKENS, "embeddings").examination == Examination(3)


class Tabled(nn.Module):
    """Makes a table at its first pass, and another for every number of inputs."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6)) if learned else 1.0
        self.head = nn.Linear(6, 3)
        self.tables: dict[int, Tensor] = {}

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) not in self.tables:
            self.tables[len(inputs)] = torch.arange(6.0).expand(len(inputs), 6) / 6
        logits: Tensor = self.head(inputs * self.scale + inputs * self.tables[len(inputs)])
        return logits


def lazy() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))


@pytest.mark.parametrize("make", [lambda: Tabled(True), lambda: Tabled(False), lazy])
def test_what_comes_into_being_at_the_first_pass_serves_later(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    subject = made(make())
    run = Run(store=Store(tmp_path))
    for check in ("shape", "completeness", "deletion", "depends_on_model", "linearity"):
        assert judge(check, "xattr:integrated_gradients", subject, run).status not in ("error", "fail"), check
    subject.model.train()
    subject.model(INPUTS).sum().backward()


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.sub_(0.5).div_(0.25),
        pytest.param(lambda x: x.clamp_(-1, 1), marks=pytest.mark.slow),
        pytest.param(lambda x: x.mul_(2), marks=pytest.mark.slow),
        pytest.param(torch.relu_, marks=pytest.mark.slow),
    ],
)
def test_a_model_that_writes_to_its_inputs_is_judged_as_one_that_does_not(
    write: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    model = Called(before=write)
    careful = Called(before=lambda x: write(x.clone()))
    careful.load_state_dict(model.state_dict())
    given = INPUTS.clone()
    subjects = made(model, given), made(careful, given)
    assert [one.examination.writes for one in subjects] == [True, False]
    for check in ("completeness", "deletion", "linearity", "depends_on_target", "parameter_randomization"):
        found = [
            judge(check, "xattr:integrated_gradients", one, Run(store=Store(tmp_path / str(number))))
            for number, one in enumerate(subjects)
        ]
        assert found[0].interval == found[1].interval, check
        assert found[0].status == found[1].status != "error", check
    assert torch.equal(given, INPUTS)
    assert not model._forward_pre_hooks


def test_siblings_are_examined_as_well() -> None:
    with pytest.raises(SubjectError) as raised:
        Subject(
            "mine",
            Called(),
            INPUTS,
            torch.zeros(12, dtype=torch.int64),
            siblings={"scene": Called(after=lambda z: functional.dropout(z, 0.5))},
        )
    assert str(raised.value).startswith(
        "subject 'mine, sibling scene': expected a model that returns the same"
    )


def step(features: Tensor) -> Tensor:
    return (features > 0).to(features.dtype)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (Called(before=step), "its logits do not depend on its inputs by operations that have one"),
        (Called(before=torch.round), "it is zero everywhere, as that of a step"),
        (Called(after=lambda z: z.detach()), "its logits do not depend on its inputs by operations"),
        (Called(after=lambda z: torch.from_numpy(z.detach().numpy() * 2)), "its logits do not depend"),
        (
            Called(after=lambda z: torch.from_numpy(z.numpy() * 2)),
            "Can't call numpy() on Tensor that requires grad",
        ),
    ],
)
def test_a_model_without_gradient_is_left_to_methods_that_only_call_it(
    model: nn.Module, fault: str, tmp_path: Path
) -> None:
    subject, run = made(model), Run(store=Store(tmp_path))
    assert subject.examination.undifferentiable.startswith(fault)
    gradient = judge("shape", "xattr:gradient", subject, run)
    assert gradient.status == "not_applicable"
    assert gradient.sentence.startswith(f"the model has no gradient ({fault}")
    assert judge("shape", "xattr:occlusion", subject, run).status == "pass"


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_scripted_and_traced_models_are_refused() -> None:
    network = Called().network.eval()
    for model in (
        torch.jit.script(network),
        torch.jit.trace(network, INPUTS),
        nn.Sequential(torch.jit.script(network)),
    ):
        assert refused(model) == (
            "expected a model whose modules can be watched, came a scripted or traced one; "
            "give the module that it was made of"
        )


def test_an_exported_model_is_judged() -> None:
    network = Called().network.eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(network, (INPUTS,), dynamic_shapes=({0: batch},))
    assert made(exported.module()).examination.outputs == 3
    fixed = torch.export.export(network, (INPUTS[:1],)).module()
    assert refused(fixed).startswith("the model cannot run on its inputs (8, 6): ")
    assert refused(fixed).endswith("; it runs on one alone, and has to take batches of any size")


def test_what_only_runs_a_model_is_left_out() -> None:
    """Compiled, or spread over devices, it is the same function: layers have their own names, and hooks."""
    network = Called().eval()
    for wrapped in (torch.compile(network, backend="eager"), nn.DataParallel(network)):
        assert made(wrapped).model is network
    itself = Called().eval()
    itself.compile(backend="eager")
    assert made(itself).model.network is itself.network
    assert made(itself).model._compiled_call_impl is None


@pytest.mark.parametrize("output", ["margin", "value"])
def test_a_traced_graph_is_copied_with_what_it_does_besides(output: str) -> None:
    """A GraphModule makes a copy of its own class, which would not read the outputs any more."""
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).eval()
    graph = torch.fx.symbolic_trace(network)
    targets = torch.zeros(12, dtype=torch.int64)
    model = Subject("mine", graph, INPUTS, targets, output=output).model
    twin = copy.deepcopy(model)
    assert torch.equal(twin(INPUTS), model(INPUTS))
    with torch.no_grad():
        twin.get_parameter("0.weight").zero_()
    assert not torch.equal(twin(INPUTS), model(INPUTS))


class Observing(nn.Module):
    """Takes its scale from what it is called on, as a quantised model in training does."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.scale = torch.ao.quantization.FakeQuantize(
            observer=torch.ao.quantization.MovingAverageMinMaxObserver
        )

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.scale(inputs))
        return logits


class AlwaysTraining(nn.BatchNorm2d):
    """A norm that nobody can put into eval mode."""

    def train(self, mode: bool = True) -> "AlwaysTraining":
        return super().train(True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "inputs", "hint"),
    [
        (
            lambda: torch.ao.quantization.quantize_dynamic(Called().network, {nn.Linear}),
            INPUTS,
            "'0' has one scale for a whole batch: "
            "give the model before quantize_dynamic, or quantise it statically",
        ),
        (
            Observing,
            INPUTS,
            "'scale' goes on to observe what it is given: "
            "model.apply(torch.ao.quantization.disable_observer)",
        ),
        (
            lambda: nn.Sequential(AlwaysTraining(2), nn.Flatten(), nn.Linear(50, 3)),
            IMAGES,
            "'0' is in training mode",
        ),
        (
            lambda: Called().double(),
            INPUTS,
            "its weights are torch.float64 and its inputs torch.float32: pass inputs.to(torch.float64)",
        ),
        (
            lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False)),
            INPUTS,
            "it runs on more at once, and has to take one alone",
        ),
        (
            lambda: torch.export.export(Called().network, (INPUTS[:4],)).module(),
            INPUTS,
            "export it with dynamic_shapes=({0: torch.export.Dim('batch')},); "
            "it runs on more at once, and has to take one alone",
        ),
    ],
)
def test_what_to_do_about_a_model_is_said(make: Callable[[], nn.Module], inputs: Tensor, hint: str) -> None:
    assert refused(make(), inputs).endswith(f"; {hint}")


def test_ids_are_no_floats() -> None:
    assert refused(nn.Embedding(5, 3), torch.zeros(12, 4, dtype=torch.int64)) == (
        "expected float inputs, came torch.int64; "
        "pass inputs.float(), or for ids of tokens say embedding= one of ''"
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_rounding_is_no_difference(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Linear(6, 300), nn.ReLU(), nn.Linear(300, 3)).to(dtype)
    assert made(network, INPUTS.to(dtype)).examination == Examination(3)


def test_inputs_in_another_arrangement_are_told_how_to_pass() -> None:
    """Of a network that takes images of two channels, and of one of vectors."""
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    gray = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    flat = nn.Linear(72, 3)
    taken = "expected inputs (N, *F) as the model takes them, came "
    assert refused(network, torch.rand(2, 6, 6)) == (
        f"{taken}(2, 6, 6); it runs on all of them as a single one: pass inputs[None], and one target"
    )
    assert refused(gray, torch.rand(8, 6, 6)) == (
        f"{taken}(8, 6, 6); it runs with one channel before the other axes: pass inputs.unsqueeze(1)"
    )
    assert refused(network, torch.rand(8, 6, 6, 2)).endswith(
        "; it runs with the last axis for the channels, before the others: pass inputs.movedim(-1, 1)"
    )
    single = "it runs on all of them as a single one: pass inputs[None]"
    assert refused(network, torch.rand(6, 6, 2)).endswith(f"; {single}.movedim(-1, 1), and one target")
    signal = nn.Sequential(nn.Conv1d(2, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 3))
    assert refused(signal, torch.rand(2, 9)).endswith(f"; {single}, and one target")
    assert refused(flat, torch.rand(8, 2, 6, 6)).endswith(
        "; it runs on flat ones: pass nn.Sequential(nn.Flatten(), model) for the model"
    )
    assert refused(gray, torch.rand(8, 36)).endswith(
        "; it runs on square images of one channel: pass inputs.reshape(len(inputs), 1, side, side)"
    )
    colors = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert refused(colors, torch.rand(8, 108)).endswith("pass inputs.reshape(len(inputs), 3, side, side)")
    assert refused(network, torch.rand(8, 5, 6, 6)).endswith("to have 2 channels, but got 5 channels instead")


class ChannelsLast(nn.Module):
    """A network of images or volumes whose channels are the last axis."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        layer = nn.Conv2d if len(shape) == 4 else nn.Conv3d
        self.layer, self.axes = layer(shape[-1], 4, 3), len(shape)

    def forward(self, inputs: Tensor) -> Tensor:
        order = (0, self.axes - 1, *range(1, self.axes - 1))
        found: Tensor = self.layer(inputs.permute(order)).flatten(2).mean(2)
        return found


@pytest.mark.parametrize("shape", [(12, 9, 9, 3), (12, 9, 10, 9, 4)])
def test_a_model_of_channels_last_is_not_taken_for_one_of_many_channels(shape: tuple[int, ...]) -> None:
    """It runs, and features would be read as rows, and channels as columns."""
    inputs, kind = torch.rand(shape), {4: "image", 5: "volume"}[len(shape)]
    told = refused(ChannelsLast(shape), inputs)
    assert f"came {shape}, whose last axis looks like the channels; pass inputs.movedim(-1, 1)" in told
    meant = Subject("meant", ChannelsLast(shape), inputs, torch.zeros(12, dtype=torch.int64), layout=kind)
    assert meant.layout.name == kind
    sensors = nn.Sequential(nn.Conv2d(9, 4, (5, 1)), nn.Flatten())
    assert made(sensors, torch.rand(12, 9, 20, 1)).layout.name == "image"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(9 * 9 * 3, 4))
    assert "pass inputs.movedim(-1, 1), and" in refused(flat, torch.rand(12, 9, 9, 3))
    narrow = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    assert made(narrow, torch.rand(12, 3, 9, 4)).layout.name == "image"


class Few(nn.Module):
    """Takes so many images at once and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
        self.network(torch.zeros(1, 3, 6, 6))

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > 3:
            raise ValueError(f"at most 3 at once, not {len(inputs)}")
        found: Tensor = self.network(inputs)
        return found


def test_no_other_arrangement_is_advised_where_one_alone_runs_as_it_is() -> None:
    with pytest.raises(SubjectError) as told:
        Subject("any", Few(), torch.randn(8, 3, 6, 6), torch.zeros(8, dtype=torch.int64))
    assert "at most 3 at once, not 8; it runs on one alone, and has to take batches" in str(told.value)
