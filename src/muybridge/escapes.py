"""Names and labels that strangers chose, made safe to show: on a terminal, in CSV, in XML, in pages."""

import re

# Control characters, which move a terminal's cursor or end a line; marks that turn the direction of writing, which
# make a text read otherwise than it is; halves of pairs, as file names that are no UTF-8 have them, and what XML
# forbids.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
# What a spreadsheet would compute. A number, or an identity that begins with a dash as those of many videos do, can
# call nothing and stays.
_FORMULA = re.compile(r"[=@＝＠]|[+\-＋－](?![\w.\-]*\Z)")
_QUOTE = "'"


def printable(text: str) -> str:
    r"""The text with characters that do not show written as Python does: \n, \x1b, \u202e."""
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def printable_lines(text: str) -> str:
    """The same, with the ends of lines left."""
    return "\n".join(printable(line) for line in text.split("\n"))


def csv_cell(text: str) -> str:
    """A cell that spreadsheets show as text: printable, and with an apostrophe before what begins like a formula."""
    text = printable(text)
    return _QUOTE + text if _FORMULA.match(text) else text


def from_csv_cell(cell: str) -> str:
    """What `csv_cell` made the cell of, as long as that was printable."""
    return cell[1:] if cell.startswith(_QUOTE) and _FORMULA.match(cell[1:]) else cell
