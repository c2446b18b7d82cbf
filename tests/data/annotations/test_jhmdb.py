"""JHMDB: split lists, boxes around puppet masks; tubes come from the shared JSON form."""

import json
import sys

import numpy as np
import pytest
from scipy.io import savemat

from muybridge.data.annotations.jhmdb import read_jhmdb, read_jhmdb_split
from muybridge.errors import AnnotationError, MissingExtra, MissingInput


def test_splits_and_tubes(tmp_path):
    (tmp_path / "brush_hair_test_split1.txt").write_text("a.avi 1\nb.avi 2\n")
    (tmp_path / "walk_test_split1.txt").write_text("c.avi 1\n")
    assert read_jhmdb_split(tmp_path, split=1) == (("brush_hair/a", "walk/c"), ("brush_hair/b",))
    with pytest.raises(MissingInput):
        read_jhmdb_split(tmp_path, split=2)
    (tmp_path / "walk_test_split1.txt").write_text("c.avi 1\nd.avi 3\n")
    with pytest.raises(AnnotationError, match="line 2"):
        read_jhmdb_split(tmp_path, split=1)
    path = tmp_path / "gt.json"
    path.write_text(json.dumps({"labels": ["walk"], "gttubes": {"walk/c": {"0": [[[1, 0, 0, 1, 1]]]}}}))
    assert read_jhmdb(path).annotations.videos == ("walk/c",)


def write_mask(folder, action, clip, masks, *, name="part_mask"):
    path = folder / action / clip / "puppet_mask.mat"
    path.parent.mkdir(parents=True)
    savemat(path, {name: masks})
    return path


def test_boxes_around_puppet_masks(tmp_path):
    masks = np.zeros((24, 32, 3), np.uint8)
    masks[5:9, 10:20, 0] = 1
    masks[23, 31, 2] = 1
    write_mask(tmp_path, "walk", "c", masks)
    write_mask(tmp_path, "brush_hair", "a", np.ones((6, 8), np.uint8))  # MATLAB drops a last axis of one
    tubes = read_jhmdb(tmp_path)
    rows = tubes.annotations
    assert tubes.labels.names == ("brush_hair", "walk")
    assert [rows.videos[video] for video in rows.video] == ["brush_hair/a", "walk/c", "walk/c"]
    assert rows.boxes_xyxy.tolist() == [[0, 0, 8, 6], [10, 5, 20, 9], [31, 23, 32, 24]]
    assert rows.time_seconds.tolist() == [0, 0, 0.08] and rows.label.tolist() == [0, 1, 1]
    assert rows.frame_sizes == {"brush_hair/a": (8, 6), "walk/c": (32, 24)}


def test_broken_masks_and_missing_scipy(tmp_path, monkeypatch):
    with pytest.raises(MissingInput, match=r"no puppet_mask\.mat"):
        read_jhmdb(tmp_path)
    path = write_mask(tmp_path, "walk", "c", np.zeros((4, 4, 2)), name="other")
    with pytest.raises(AnnotationError, match="no array 'part_mask'"):
        read_jhmdb(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"text, not a matrix" * 20, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match=r"puppet_mask\.mat"):
            read_jhmdb(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingExtra, match=r"muybridge\[mat\]"):
        read_jhmdb(tmp_path)
