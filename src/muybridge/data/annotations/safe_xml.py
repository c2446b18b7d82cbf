"""XML of annotation tools, read without ever expanding an entity."""

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from muybridge.errors import AnnotationError, MissingInput


class _Forbidden(Exception):
    pass


def read_xml(path: Path) -> ElementTree.Element:
    """The root element. Any document type declaration is refused, so neither entity bombs nor outside files are met.

    Raises:
        MissingInput: no such file.
        AnnotationError: not well-formed XML, or it has a document type declaration; names the line.
    """
    if not path.is_file():
        raise MissingInput(f"{path} is not a file. Check the path.")
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")

    def start(name: str, attributes: dict[str, str]) -> None:
        builder.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        builder.end(_local(name))

    def refuse(*_: object) -> None:
        raise _Forbidden

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except _Forbidden as error:
        raise AnnotationError(
            f"{path}, line {parser.CurrentLineNumber}: a document type declaration (DOCTYPE) can hide entities that"
            " exhaust memory, so it is refused. Remove it; no annotation tool needs it."
        ) from error
    except expat.ExpatError as error:
        raise AnnotationError(
            f"{path}, line {error.lineno}: not XML: {expat.ErrorString(error.code)}. Export it again."
        ) from error
    return builder.close()


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
