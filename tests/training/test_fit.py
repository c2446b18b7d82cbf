"""The training loop: what it trains, keeps, repeats and refuses."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from muybridge.data.sampling import Draw, StepBatches
from muybridge.errors import TrainingError
from muybridge.training.fit import FitConfig, Validation, fit, learning_rate_at


class Line(torch.utils.data.Dataset[Tensor]):
    """(x, 3 x + 1) with noise that the draw's seed decides."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, draw: Draw) -> Tensor:
        noise = torch.randn(1, generator=torch.Generator().manual_seed(draw.seed)) * 0.01
        x = torch.tensor([draw.index / 10])
        return torch.cat([x, 3 * x + 1 + noise])


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.linear, self.frozen = nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False)
        self.dropout = nn.Dropout(0.2)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        error = self.linear(self.dropout(batch[:, :1])) + 0 * self.frozen(batch[:, :1]) - batch[:, 1:]
        return {"loss": error.square().mean()}


def run(folder: Path, objective: nn.Module | None = None, **changes: object) -> nn.Module:
    objective = objective or Regression()
    resume = bool(changes.pop("resume", False))
    validation = changes.pop("validation", None)
    config = FitConfig(**{"steps": 12, "batch_size": 4, "learning_rate": 0.05, "save_every": 4, **changes})
    fit(objective, Line(), config, folder=folder, resume=resume, validation=validation, accelerator="cpu")
    return objective


def test_a_line_is_learned_and_frozen_parameters_stay(tmp_path):
    objective = Regression()
    before = objective.frozen.weight.clone()
    objective.dropout.p = 0.0
    run(tmp_path, objective, steps=800)
    assert objective.linear.weight.item() == pytest.approx(3, abs=0.05)
    assert objective.linear.bias.item() == pytest.approx(1, abs=0.05)
    assert torch.equal(objective.frozen.weight, before)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(saved["state"]) == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("stopped_at", [4, 8])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, stopped_at):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", steps=stopped_at)
    resumed = run(tmp_path / "parts", resume=True)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    rows = [json.loads(line) for line in (tmp_path / "parts" / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))


def test_resuming_with_another_configuration_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(TrainingError, match=r"batch_size was 4, now 2"):
        run(tmp_path, batch_size=2, resume=True)
    run(tmp_path, steps=14, resume=True)  # longer is the same run, gone on


def test_resuming_from_nothing_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="Start without --resume"):
        run(tmp_path, resume=True)


def test_accumulated_rounds_give_the_gradient_of_the_whole_batch(tmp_path):
    whole, parts = Regression(), Regression()
    whole.dropout.p = parts.dropout.p = 0.0
    run(tmp_path / "a", whole)
    run(tmp_path / "b", parts, accumulate=2)
    torch.testing.assert_close(whole.linear.weight, parts.linear.weight)


def test_a_loss_that_is_not_a_number_stops_with_advice(tmp_path):
    class Broken(Regression):
        def forward(self, batch: Tensor) -> dict[str, Tensor]:
            return {"loss": super().forward(batch)["loss"] * float("nan")}

    with pytest.raises(TrainingError, match="--learning-rate"):
        run(tmp_path, Broken())


def test_nothing_to_train_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="every parameter is frozen"):
        run(tmp_path, Regression().requires_grad_(False))


def test_the_best_weights_are_kept_and_training_stops_early(tmp_path):
    objective = Regression()
    seen: list[tuple[float, Tensor]] = []

    def measure() -> dict[str, float]:
        score = [0.1, 0.9, 0.5, 0.4, 0.3][len(seen)]
        seen.append((score, objective.linear.weight.detach().clone()))
        return {"score": score}

    config = FitConfig(steps=100, batch_size=4, learning_rate=0.05, validate_every=2, patience=2)
    result = fit(
        objective, Line(), config, folder=tmp_path, validation=Validation(measure, "score"), accelerator="cpu"
    )
    assert (result.step, result.best_step) == (8, 4)
    assert torch.equal(objective.linear.weight, seen[1][1])


def test_validating_changes_nothing(tmp_path):
    def measure() -> dict[str, float]:
        torch.rand(17)
        return {"score": float(len(list(tmp_path.iterdir())))}

    plain = Regression()
    run(tmp_path / "a", plain)
    watched = Regression()
    last: list[Tensor] = []

    def keep() -> dict[str, float]:
        last.append(watched.linear.weight.detach().clone())
        return measure() | {"score": float(len(last))}

    run(tmp_path / "b", watched, validate_every=3, validation=Validation(keep, "score"))
    assert len(last) == 4
    assert torch.equal(plain.linear.weight, watched.linear.weight)


def test_learning_rate_schedule():
    config = FitConfig(steps=110, learning_rate=2.0, warmup_steps=10, schedule="cosine")
    assert learning_rate_at(0, config) == 0
    assert learning_rate_at(5, config) == 1.0
    assert learning_rate_at(10, config) == 2.0
    assert learning_rate_at(60, config) == pytest.approx(1.0)
    assert learning_rate_at(110, config) == pytest.approx(0.0)


def draws(**changes: object) -> list[list[Draw]]:
    return list(StepBatches(7, **{"batch_size": 3, "start": 0, "stop": 14, "seed": 5, **changes}))


def test_every_pass_draws_every_item_once_in_a_new_order():
    serial = [draw.index for batch in draws() for draw in batch]
    passes = [serial[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(p) == list(range(7)) for p in passes)
    assert len({tuple(p) for p in passes}) > 1
    assert len({draw.seed for batch in draws() for draw in batch}) == 42


def test_batches_depend_on_the_step_alone():
    assert draws(start=9) == draws()[9:]
    assert draws(seed=6) != draws()


def test_processes_share_each_batch():
    shares = [draws(batch_size=4, rank=rank, world_size=2) for rank in range(2)]
    for whole, first, second in zip(draws(batch_size=4), *shares, strict=True):
        assert sorted([*first, *second], key=str) == sorted(whole, key=str)


def test_weights_change_how_often_an_item_is_drawn():
    weights = torch.tensor([10.0, 1, 1, 1, 1, 1, 1])
    serial = [draw.index for batch in draws(stop=400, weights=weights) for draw in batch]
    assert serial.count(0) / len(serial) == pytest.approx(10 / 16, abs=0.05)
