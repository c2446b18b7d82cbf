"""The training loop: what it trains, keeps, repeats and refuses."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from muybridge.data.sampling import Draw, StepBatches
from muybridge.errors import OutputError, TrainingError
from muybridge.training.fit import FitConfig, Validation, check_resumable, fit


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
    others = {name: changes.pop(name) for name in ("validation", "settings", "memory_advice") if name in changes}
    config = FitConfig(**{"steps": 12, "batch_size": 4, "learning_rate": 0.05, "save_every": 4, **changes})
    fit(objective, Line(), config, folder=folder, resume=resume, accelerator="cpu", **others)
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


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stopped_at", [4, 8])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, stopped_at, optimizer):
    whole = run(tmp_path / "whole", optimizer=optimizer)
    run(tmp_path / "parts", steps=stopped_at, optimizer=optimizer)
    resumed = run(tmp_path / "parts", resume=True, optimizer=optimizer)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    rows = [json.loads(line) for line in (tmp_path / "parts" / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))


def test_resuming_with_another_configuration_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(TrainingError, match=r"batch_size was 4, now 2"):
        run(tmp_path, batch_size=2, resume=True)
    run(tmp_path, steps=14, resume=True)  # longer is the same run, gone on


def test_sgd_takes_nesterov_steps(tmp_path):
    objective = Regression()
    objective.dropout.p = 0.0
    weight, bias = objective.linear.weight.item(), objective.linear.bias.item()
    settings = {"steps": 5, "batch_size": 10, "learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.01}
    run(tmp_path, objective, optimizer="sgd", **settings)
    speed = [0.0, 0.0]
    for items in StepBatches(10, batch_size=10, start=0, stop=5, seed=0):
        batch = torch.stack([Line()[draw] for draw in items]).double()
        x, y = batch[:, 0], batch[:, 1]
        error = weight * x + bias - y
        gradient = [(2 * error * x).mean().item() + 0.01 * weight, (2 * error).mean().item()]
        speed = [0.8 * v + g for v, g in zip(speed, gradient, strict=True)]
        weight -= 0.1 * (gradient[0] + 0.8 * speed[0])
        bias -= 0.1 * (gradient[1] + 0.8 * speed[1])
    assert objective.linear.weight.item() == pytest.approx(weight, rel=1e-5)
    assert objective.linear.bias.item() == pytest.approx(bias, rel=1e-5)


def test_a_checkpoint_older_than_an_option_counts_as_its_default(tmp_path):
    run(tmp_path)
    path = tmp_path / "checkpoint.pt"
    saved = torch.load(path, weights_only=True)
    for name in ("optimizer", "momentum", "milestones"):
        del saved["config"][name]
    torch.save(saved, path)
    run(tmp_path, steps=14, resume=True)
    with pytest.raises(TrainingError, match="optimizer was 'adamw', now 'sgd'"):
        run(tmp_path, steps=14, resume=True, optimizer="sgd")


def test_resuming_with_other_settings_names_each_that_changed(tmp_path):
    run(tmp_path, settings={"model": {"width": 64, "kernel": (3, 1, 1)}, "data": "clips"})
    with pytest.raises(TrainingError, match=r"model\.width was 64, now 32"):
        run(tmp_path, settings={"model": {"width": 32, "kernel": (3, 1, 1)}, "data": "clips"}, resume=True)
    with pytest.raises(TrainingError, match="data was 'clips', now not an option"):
        run(tmp_path, settings={"model": {"width": 64, "kernel": (3, 1, 1)}}, resume=True)
    run(tmp_path, settings={"model": {"width": 64, "kernel": (3, 1, 1)}, "data": "clips"}, steps=14, resume=True)


def test_steps_after_the_last_checkpoint_stand_once_in_the_history(tmp_path):
    class Killed(Regression):
        calls = 0

        def forward(self, batch: Tensor) -> dict[str, Tensor]:
            self.calls += 1
            if self.calls == 11:
                raise KeyboardInterrupt
            return super().forward(batch)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Killed())
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 10
    run(tmp_path, resume=True)  # from step 8
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))


def test_the_history_holds_the_learning_rate_that_each_step_used(tmp_path):
    run(tmp_path, warmup=4 / 6, steps=6)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0, 0.0125, 0.025, 0.0375, 0.05, 0.05])


def test_resuming_from_nothing_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="Start without --resume"):
        run(tmp_path, resume=True)


def broken_checkpoints(sound: bytes):
    """As a disk or a hand leaves them."""
    rows = {
        "empty": b"",
        "cut": sound[: len(sound) // 2],
        "flipped": sound.replace(b"PK", b"PX", 1),
        "text": b"no checkpoint",
    }
    for place in range(100, len(sound), len(sound) // 12):
        rows[f"bit of byte {place}"] = sound[:place] + bytes([sound[place] ^ 8]) + sound[place + 1 :]
    return rows


def test_a_damaged_checkpoint_is_one_line_or_none_of_it_matters(tmp_path):
    """Of whatever bytes are broken, a run either refuses, or goes on as from the sound file."""
    run(tmp_path, steps=4)
    sound = (tmp_path / "checkpoint.pt").read_bytes()
    wanted = run(tmp_path, resume=True, steps=8).linear.weight.clone()
    refused = 0
    for name, data in broken_checkpoints(sound).items():
        (tmp_path / "checkpoint.pt").write_bytes(data)
        try:
            resumed = run(tmp_path, resume=True, steps=8)
        except TrainingError as error:
            refused += 1
            assert str(tmp_path / "checkpoint.pt") in str(error) and "\n" not in str(error), name
        else:
            assert torch.equal(resumed.linear.weight, wanted), name
    assert refused >= 8


@pytest.mark.parametrize(
    "change",
    [
        {"state": []},
        {"optimizer": {}},
        {"rng": torch.zeros(3)},
        {"step": -1},
        {"step": 10**9},
        {"step": True},
        {"validations_since_best": -1},
        {"state": {"linear.weight": torch.full((1, 1), torch.nan), "linear.bias": torch.zeros(1)}},
        {"state": {"linear.weight": "a text", "linear.bias": torch.zeros(1)}},
        {"best": {}},
        {"best": {"step": 1, "metrics": 3, "state": {}}},
        {"config": 3},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_form_is_refused(tmp_path, change):
    run(tmp_path, steps=4)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save({**checkpoint, **change}, tmp_path / "checkpoint.pt")
    with pytest.raises(TrainingError, match="is damaged or no checkpoint"):
        run(tmp_path, resume=True)


ABSENT = "absent"


def saved_otherwise(folder: Path, **changes) -> None:
    """The folder's checkpoint with some of its entries replaced, or taken out."""
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True) | changes
    torch.save({name: value for name, value in checkpoint.items() if value is not ABSENT}, folder / "checkpoint.pt")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state": {}}, r"differ in linear\.bias, linear\.weight\."),
        (
            {"state": {"linear.weight": torch.zeros(2, 2), "linear.bias": torch.zeros(1)}},
            r"differ in linear\.weight\.",
        ),
        ({"state": {"linear.weight": torch.zeros(1, 1).double(), "linear.bias": torch.zeros(1)}}, "differ in linear"),
        ({"state": {name: torch.zeros(1) for name in "abcd"}}, "differ in a, b, c and 3 more"),
        ({"optimizer": {"state": {}, "param_groups": []}}, "its optimizer has other numbers"),
        ({"validations_since_best": ABSENT}, "it lacks validations_since_best"),
        ({"rng": ABSENT, "validations_since_best": ABSENT}, "it lacks rng, validations_since_best"),
    ],
    ids=str,
)
def test_a_sound_checkpoint_of_another_version_is_not_called_damaged(tmp_path, change, says):
    run(tmp_path, steps=4)
    saved_otherwise(tmp_path, **change)
    with pytest.raises(TrainingError, match=says) as caught:
        run(tmp_path, resume=True)
    assert "of another version of muybridge" in str(caught.value) and "damaged" not in str(caught.value)
    assert str(caught.value).endswith("Go on with the version that wrote it, or start without --resume")
    run(tmp_path)  # as it says


def test_what_is_known_of_a_run_is_compared_before_it_begins(tmp_path):
    run(tmp_path, settings={"model": {"width": 64, "kernel": (3, 1, 1)}, "data": "clips"})
    check_resumable(tmp_path, {"model": {"kernel": (3, 1, 1)}})
    with pytest.raises(
        TrainingError, match=r"model\.kernel was \[3, 1, 1\], now \[3, 3, 3\]\. Give the options as they"
    ):
        check_resumable(tmp_path, {"model": {"kernel": (3, 3, 3)}})
    with pytest.raises(TrainingError, match="depth was not an option, now 2"):
        check_resumable(tmp_path, {"depth": 2})
    with pytest.raises(TrainingError, match="Start without --resume"):
        check_resumable(tmp_path / "nowhere", {})


@pytest.mark.parametrize(
    ("of", "change"),
    [
        *(("state", {"exp_avg": value}) for value in (torch.zeros(5), None, "a text", torch.full((1, 1), torch.nan))),
        ("state", {"exp_avg_sq": -torch.ones(1, 1)}),
        *(("state", {"step": value}) for value in (torch.zeros(2, 2), torch.tensor(-1.0), torch.tensor(9.0), "x")),
        *(("param_groups", {"betas": value}) for value in (("a", "b"), [5.0, 7.0], None, torch.zeros(2))),
        ("param_groups", {"weight_decay": -1e9}),
        ("param_groups", {"params": [7]}),
    ],
    ids=str,
)
def test_an_altered_optimizer_is_refused(tmp_path, of, change):
    run(tmp_path, steps=4)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    checkpoint["optimizer"][of][0].update(change)
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    with pytest.raises(
        TrainingError, match=r"is damaged or no checkpoint|was altered: its optimizer has other numbers"
    ):
        run(tmp_path, resume=True)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_optimizer_without_its_moments_is_refused(tmp_path, optimizer):
    run(tmp_path, steps=4, optimizer=optimizer)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    first = next(iter(checkpoint["optimizer"]["state"].values()))
    for change in (lambda: first.popitem(), lambda: checkpoint["optimizer"].update(state={})):
        change()
        torch.save(checkpoint, tmp_path / "checkpoint.pt")
        with pytest.raises(TrainingError, match="is damaged or no checkpoint"):
            run(tmp_path, resume=True, optimizer=optimizer)


def test_two_trainings_of_one_folder_are_refused(tmp_path):
    """A second process finds the folder taken, and free again when the first is gone, however it went."""
    waiting = "import sys; from pathlib import Path; from muybridge.training.lock import only_training_in\n"
    waiting += "with only_training_in(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", waiting, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(TrainingError, match=r"another training is writing into .* choose another --out"):
            run(tmp_path)
        other.kill()
    run(tmp_path)


def on_full_disk(folder: Path, left: int, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process whose files, this folder's, may not grow beyond `left` bytes."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({left}, {left}))\n"
    return subprocess.run(
        [sys.executable, "-c", limit + code, str(folder)], capture_output=True, text=True, check=False
    )


RUN = """
import sys
from pathlib import Path
from muybridge.errors import OutputError
from tests.training.test_fit import run
try:
    run(Path(sys.argv[1]), resume=True, steps=8)
except OutputError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_the_good_checkpoint_stays(tmp_path):
    run(tmp_path, steps=4)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ended = on_full_disk(tmp_path, len(before["checkpoint.pt"]) // 2, RUN)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().splitlines() == [
        f"cannot write {tmp_path / 'checkpoint.pt'}: the disk or quota is full. Free some space, or write elsewhere"
        " with -o"
    ]
    assert {path.name for path in tmp_path.iterdir()} == set(before)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before["checkpoint.pt"]
    run(tmp_path, resume=True, steps=8)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB; skips where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "muybridge-test", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_is_one_line(small_disk):
    run(small_disk, steps=4)
    before = (small_disk / "checkpoint.pt").read_bytes()
    filling = small_disk / "filling"
    with contextlib.suppress(OSError), filling.open("wb") as file:
        while True:
            file.write(bytes(1024))
            file.flush()
    with pytest.raises(OutputError, match="the disk or quota is full"):
        run(small_disk, resume=True, steps=8)
    assert (small_disk / "checkpoint.pt").read_bytes() == before
    assert not list(small_disk.glob("*.partial*")) and not list(small_disk.glob(".*.partial*"))
    filling.unlink()
    run(small_disk, resume=True, steps=8)


def test_a_folder_that_vanishes_is_one_line(tmp_path):
    class Vanishing(Regression):
        def forward(self, batch: Tensor) -> dict[str, Tensor]:
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            return super().forward(batch)

    with pytest.raises(OutputError, match=r"cannot write .*history\.jsonl: No such file or directory"):
        run(tmp_path / "run", Vanishing())


def test_accumulated_rounds_give_the_gradient_of_the_whole_batch(tmp_path):
    whole, parts = Regression(), Regression()
    whole.dropout.p = parts.dropout.p = 0.0
    run(tmp_path / "a", whole)
    run(tmp_path / "b", parts, accumulate=2)
    torch.testing.assert_close(whole.linear.weight, parts.linear.weight)


def test_accumulated_rounds_of_unequal_size_count_by_their_items(tmp_path):
    whole, parts = Regression(), Regression()
    whole.dropout.p = parts.dropout.p = 0.0
    run(tmp_path / "a", whole, batch_size=5)
    run(tmp_path / "b", parts, batch_size=5, accumulate=3)  # 2 + 2 + 1
    torch.testing.assert_close(whole.linear.weight, parts.linear.weight)


class Greedy(Regression):
    """Asks for more memory than any machine has, so that the allocator itself refuses."""

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": super().forward(batch)["loss"] + torch.empty(1 << 60)[0]}


def test_too_little_memory_names_the_flags_that_help(tmp_path):
    with pytest.raises(TrainingError, match="out of memory at step 0 with 4 items at a time") as caught:
        run(tmp_path, Greedy(), memory_advice="fewer --frames")
    message = str(caught.value)
    assert "--accumulate 2" in message
    assert "--precision bf16-mixed" in message
    assert message.endswith("or fewer --frames")
    with pytest.raises(TrainingError, match="with 1 item at a time") as caught:
        run(tmp_path, Greedy(), accumulate=4)
    assert "--accumulate" not in str(caught.value)  # a single item cannot be split


def test_a_gpu_out_of_memory_is_told_like_any_other(tmp_path):
    class FullGpu(Regression):
        def forward(self, batch: Tensor) -> dict[str, Tensor]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(TrainingError, match="--accumulate 4"):
        run(tmp_path, FullGpu(), accumulate=2)


def test_other_runtime_errors_stay_what_they_are(tmp_path):
    class Defect(Regression):
        def forward(self, batch: Tensor) -> dict[str, Tensor]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run(tmp_path, Defect())


def test_tensorboard_holds_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    scores = iter([0.25, 0.5])
    run(tmp_path, tensorboard=True, validate_every=6, validation=Validation(lambda: {"score": next(scores)}, "score"))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses)
    assert [(e.step, e.value) for e in events.Scalars("validation/score")] == [(6, 0.25), (12, 0.5)]


def test_a_compiled_objective_learns_the_same(tmp_path, monkeypatch):
    compiled: list[bool] = []
    # Tracing without code generation: what is tested is that the compiled forward pass is the one that runs.
    plain_compile = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self: (compiled.append(True), plain_compile(self, backend="eager"))
    )
    plain, fast = Regression(), Regression()
    plain.dropout.p = fast.dropout.p = 0.0
    run(tmp_path / "a", plain)
    run(tmp_path / "b", fast, compile=True)
    assert compiled == [True]
    torch.testing.assert_close(plain.linear.weight, fast.linear.weight)


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


def test_a_run_that_stopped_early_is_over_when_it_is_resumed(tmp_path):
    """As where it is ended while what came of it is measured."""

    class Counted(Regression):
        passes = 0

        def forward(self, batch: Tensor) -> dict[str, Tensor]:
            self.passes += 1
            return super().forward(batch)

    config = FitConfig(steps=100, batch_size=4, learning_rate=0.05, validate_every=2, patience=2)
    unchanging = Validation(lambda: {"score": 0.5}, "score")
    whole, again = Counted(), Counted()
    for objective, resume in ((whole, False), (again, True)):
        result = fit(
            objective, Line(), config, folder=tmp_path, validation=unchanging, resume=resume, accelerator="cpu"
        )
        assert (result.step, result.best_step) == (6, 2)
    assert (whole.passes, again.passes) == (6, 0)
    assert torch.equal(whole.linear.weight, again.linear.weight)


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
