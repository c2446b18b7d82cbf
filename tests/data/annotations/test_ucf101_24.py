"""UCF101-24's ViPER files, by hand."""

import pytest

from muybridge.data.annotations.ucf101_24 import LABELS, read_ucf101_24
from muybridge.errors import AnnotationError, MissingInput

VIPER = """<?xml version="1.0" encoding="UTF-8"?>
<viper xmlns="http://lamp.cfar.umd.edu/viper#" xmlns:data="http://lamp.cfar.umd.edu/viperdata#"><data>
<sourcefile filename="v.avi"><object framespan="1:4" id="0" name="PERSON">
<attribute name="Location"><data:bbox framespan="1:3" height="40" width="30" x="10" y="20"/>
<data:bbox framespan="4:4" height="41" width="30" x="11" y="20"/></attribute>
<attribute name="Biking"><data:bvalue framespan="2:4" value="true"/></attribute>
</object></sourcefile></data></viper>"""


def test_boxes_while_the_action_holds(tmp_path):
    (tmp_path / "Biking").mkdir()
    (tmp_path / "Biking" / "v_Biking_g01_c01.xgtf").write_text(VIPER)
    rows = read_ucf101_24(tmp_path).annotations
    assert rows.videos == ("v_Biking_g01_c01",) and {LABELS.names[n] for n in rows.label} == {"Biking"}
    assert (rows.time_seconds * 25 + 1).round().tolist() == [2, 3, 4]
    assert rows.boxes_xyxy.tolist() == [[10, 20, 40, 60]] * 2 + [[11, 20, 41, 61]]


def test_errors(tmp_path):
    with pytest.raises(MissingInput):
        read_ucf101_24(tmp_path)
    path = tmp_path / "v_Biking_g01_c01.xgtf"
    path.write_text(VIPER.replace("1:3", "3:1"))
    with pytest.raises(AnnotationError, match="framespan is '3:1'"):
        read_ucf101_24(path)
    path.write_text(VIPER.replace('width="30"', ""))
    with pytest.raises(AnnotationError, match="bbox needs numbers"):
        read_ucf101_24(path)
    (tmp_path / "v_Flying_g01.xgtf").write_text(VIPER)
    with pytest.raises(AnnotationError, match="no class of UCF101-24"):
        read_ucf101_24(tmp_path / "v_Flying_g01.xgtf")
    (tmp_path / "gt.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(AnnotationError, match="pickle"):
        read_ucf101_24(tmp_path / "gt.pkl")
