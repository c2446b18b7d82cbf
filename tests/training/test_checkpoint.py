"""Checkpoints that were exchanged: nothing of them takes more than they hold."""

import zipfile
from pathlib import Path

import pytest

from muybridge.errors import TrainingError
from muybridge.training.checkpoint import CHECKPOINT, read_checkpoint


def test_bytes_of_a_stated_length_are_not_allocated(tmp_path: Path) -> None:
    body = b"\x80\x02}(X\x01\x00\x00\x00acbuiltins\nbytearray\n(\x8a\x05\x00\x00\x00\x00\x02tRu."  # 8 GiB
    with zipfile.ZipFile(tmp_path / CHECKPOINT, "w") as archive:
        archive.writestr("x/data.pkl", body)
        archive.writestr("x/version", b"3\n")
    with pytest.raises(TrainingError, match="damaged") as caught:
        read_checkpoint(tmp_path)
    assert "claim" not in str(caught.value.__cause__)
    assert "bytes of a stated length" in str(caught.value.__cause__.__cause__)
