"""Two processes, started as torchrun starts them, train what one process trains."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
