"""JHMDB: split lists; tubes come from the shared JSON form."""

import json

import pytest

from muybridge.data.jhmdb import read_jhmdb, read_jhmdb_split
from muybridge.errors import AnnotationError, MissingInput


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
