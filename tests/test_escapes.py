"""What strangers call their files and labels, as it is shown."""

import csv
import io
from xml.etree import ElementTree

import pytest

from muybridge.escapes import csv_cell, from_csv_cell, printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("jump", "jump"),
        ("Ärger mit 猫 👩‍🚀", "Ärger mit 猫 👩‍🚀"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("one\ntwo\rthree\tfour", r"one\ntwo\rthree\tfour"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("caf\udce9", r"caf\udce9"),
        ("\x00\ufffe", r"\x00\ufffe"),
    ],
)
def test_hidden_characters_show(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()
    ElementTree.fromstring(f"<a>{printable(text)}</a>")


def test_lines_stay_lines() -> None:
    assert printable_lines("one\ntwo\x07") == "one\ntwo\\x07"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("＝1", "'＝1"),
        ("\t=1", r"\t=1"),
        ("-5KQ66BBWC4", "-5KQ66BBWC4"),  # a video of AVA
        ("-3.5", "-3.5"),
        ("+1", "+1"),
        ("a=b", "a=b"),
        ("'quoted'", "'quoted'"),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert csv_cell(text) == cell
    assert from_csv_cell(cell) == printable(text)


def test_a_line_of_csv_stays_one_line() -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow([csv_cell("a\nb"), csv_cell("=c,d")])
    assert file.getvalue() == 'a\\nb,"\'=c,d"\n'
