"""What is known of a file that was done, and how that becomes a table."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from muybridge.errors import MissingExtra
from muybridge.escapes import printable
from muybridge.media.outputs import atomic_output
from muybridge.schema import Letters, Within, build

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_A_GROUP = 10_000
_Number = Annotated[float, Within(-1e15, 1e15)]
Name = Annotated[str, Letters(1 << 20, halves=True)]


@dataclass(frozen=True)
class Label:
    """A stretch of a film with a label.

    Attributes:
        start, end: seconds.
        score: mean probability.
        person: who does it, where that is known.
    """

    start: _Number
    end: _Number
    label: Name
    score: _Number
    person: Annotated[int, Within(-(1 << 53), 1 << 53)] | None = None


@dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
        input: absolute path, or address.
        status: whether there are results.
        error: why not, in one line.
        seconds: that it took.
        labels: what it shows.
        outputs: paths of what was made of it, below the folder of results, or absolute.
        notes: what was lost or guessed, in sentences.
    """

    input: Name
    status: Literal["done", "failed"]
    error: Name | None
    seconds: _Number
    labels: tuple[Label, ...] = ()
    outputs: tuple[Name, ...] = ()
    notes: tuple[Name, ...] = ()

    @classmethod
    def failed(cls, input: str, error: str, seconds: float = 0.0) -> "Row":
        """A file without results."""
        return cls(input, "failed", printable(error), round(seconds, 3))

    def to_json(self) -> dict[str, Any]:
        """What json writes."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Row":
        """What `to_json` wrote, read by json.

        Raises:
            ModelError: it is something else.
        """
        return build(cls, fields, source="a row", at="file")


def require_parquet() -> None:
    """Raises MissingExtra where tables cannot be written."""
    try:
        import pyarrow.parquet  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MissingExtra("--results writes Parquet, which", extra="parquet") from error


def schema() -> "pa.Schema":
    """Columns of the table: the fields of `Row`."""
    import pyarrow as pa

    times = [("start", pa.float64()), ("end", pa.float64())]
    label = pa.struct([*times, ("label", pa.string()), ("score", pa.float64()), ("person", pa.int64())])
    return pa.schema(
        [
            ("input", pa.string()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("seconds", pa.float64()),
            ("labels", pa.list_(label)),
            ("outputs", pa.list_(pa.string())),
            ("notes", pa.list_(pa.string())),
        ]
    )


def write_table(path: Path, rows: Iterable[Row], about: dict[str, str]) -> None:
    """Write a Parquet file, whole or not at all.

    Args:
        about: kept in the file's metadata.

    Raises:
        OutputError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema().with_metadata(about)
    with atomic_output(path) as beside, pq.ParquetWriter(beside, columns) as writer:
        group = list[dict[str, Any]]()
        for row in rows:
            group.append(_written(row))
            if len(group) == _ROWS_A_GROUP:
                writer.write_table(pa.Table.from_pylist(group, columns))
                group.clear()
        if group:
            writer.write_table(pa.Table.from_pylist(group, columns))


def _written(value: Any) -> Any:
    """Texts as UTF-8 has them: a file's name may hold bytes that are no text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, (Row, Label)):
        return {name: _written(item) for name, item in vars(value).items()}
    return [_written(item) for item in value] if isinstance(value, tuple) else value
