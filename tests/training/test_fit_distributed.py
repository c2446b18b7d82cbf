"""Two processes, started as torchrun starts them, train what one process trains."""

import json
import os
import socket
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from muybridge.errors import TrainingError
from muybridge.training.fit import FitConfig, fit
from muybridge.training.history import read_history
from tests.training.three_tasks import CAN_SPREAD

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
import torch
from torch import nn
from muybridge.training.fit import FitConfig, Validation, fit

class Line(torch.utils.data.Dataset):
    def __len__(self):
        return 10
    def __getitem__(self, draw):
        x = torch.tensor([draw.index / 10])
        return torch.cat([x, 3 * x + 1])

class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.linear = nn.Linear(1, 1)
        self.frozen = nn.Linear(1, 1).requires_grad_(False)
    def forward(self, batch):
        error = self.linear(batch[:, :1]) + 0 * self.frozen(batch[:, :1]) - batch[:, 1:]
        return {"loss": error.square().mean()}

objective = Regression()
config = FitConfig(steps=6, batch_size=4, learning_rate=0.05, validate_every=2, save_every=3, accumulate=2)
def measure():
    return {"slope": float(objective.linear.weight)}
fit(objective, Line(), config, folder=Path(sys.argv[1]), validation=Validation(measure, "slope"), accelerator="cpu")
group = torch.distributed
print(group.get_rank(), group.get_world_size()) if group.is_initialized() else print("alone")
"""


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    port = _free_port()
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    alone = subprocess.run([sys.executable, script, tmp_path / "one"], capture_output=True, text=True, check=False)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.splitlines()[-1] == "alone"
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
              "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "OMP_NUM_THREADS": "1"}  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, script, tmp_path / "two"],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(started):
        output, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
        assert output.splitlines()[-1] == f"{rank} 2"  # not two trainings beside each other
    one, two = (_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert one["step"] == two["step"] == 6
    assert one["state"].keys() == two["state"].keys() == {"linear.weight", "linear.bias"}
    for name, tensor in one["state"].items():
        torch.testing.assert_close(tensor, two["state"][name])
    # Written by one process alone.
    assert len((tmp_path / "two" / "history.jsonl").read_text().splitlines()) == 6 + 3


def _checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


@pytest.mark.slow
def test_two_launchers_that_meet_train_each_task_as_one_process_does(tmp_path):
    """As on two machines: each has a launcher of its own, which find each other at an address."""
    alone = [sys.executable, "-W", "ignore", "-m"]
    task = ["tests.training.three_tasks"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one = subprocess.run(
        [*alone, *task, tmp_path / "one"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert one.returncode == 0, one.stderr
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{_free_port()}"]
    launcher = ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meeting, "-m"]
    started = [
        subprocess.Popen(
            [*alone, *launcher, *task, tmp_path / "two"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    reports: list[dict] = []
    for process in started:
        output, error = process.communicate(timeout=600)
        assert process.returncode == 0, error
        reports += [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    tasks = ["recognizer", "localizer", "stylizer", *(["spread"] if CAN_SPREAD else [])]
    assert sorted((each["task"], each["rank"]) for each in reports) == sorted(product(tasks, ["0", "1"]))
    whole = {each["task"]: each["frozen_here"] for each in map(json.loads, one.stdout.splitlines())}
    for report in reports:
        # Six steps, once in each of which the trained numbers are averaged, and nothing else.
        assert report["sent"] == 6 * report["trained"]
        if report["task"] == "spread":
            assert report["frozen_here"] < 0.85 * whole["recognizer"]
        else:
            assert report["frozen_here"] == whole[report["task"]]
    for task_name in tasks:
        expected, found = tmp_path / "one" / task_name.replace("spread", "recognizer"), tmp_path / "two" / task_name
        losses = [[row["loss"] for row in read_history(folder)] for folder in (expected, found)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        mine, theirs = _checkpoint(expected)["state"], _checkpoint(found)["state"]
        assert mine.keys() == theirs.keys()
        assert not any("backbone" in name or "encoder" in name or "trunk.project" in name for name in theirs)
        for name, tensor in mine.items():
            assert type(theirs[name]) is torch.Tensor  # whole, not a part of one
            assert tensor.shape == theirs[name].shape


def test_blocks_that_this_torch_cannot_share_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Fabric, "launch", lambda self: None)
    monkeypatch.setattr(Fabric, "world_size", 2)
    monkeypatch.delattr(torch.cpu.Stream, "record_event", raising=False)
    objective = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1).requires_grad_(False))
    config = FitConfig(steps=1, batch_size=4)
    with pytest.raises(TrainingError, match=r"shares blocks on GPUs only\. Install torch 2\.7"):
        fit(objective, [0], config, folder=tmp_path, accelerator="cpu", sharded=[objective[1]])


def test_a_batch_that_cannot_be_shared_equally_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Fabric, "launch", lambda self: None)
    monkeypatch.setattr(Fabric, "world_size", 3)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared equally by 3 processes"):
        fit(torch.nn.Linear(1, 1), [0], FitConfig(steps=1, batch_size=4), folder=tmp_path, accelerator="cpu")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
