"""XML of annotation tools, read without ever expanding an entity."""

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from muybridge.data.text_files import check_is_file
from muybridge.errors import AnnotationError

# No annotation tool nests deeper than a handful.
_MAX_DEPTH = 100


class _Forbidden(Exception):
    pass


class _TooDeep(Exception):
    pass


def read_xml(path: Path) -> ElementTree.Element:
    """The root element. Any document type declaration is refused, so neither entity bombs nor outside files are met.

    Raises:
        MissingInput: no such file.
        AnnotationError: not well-formed XML, nested without end, in an unknown encoding, or with a document type
            declaration; names the line.
    """
    check_is_file(path)
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")

    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise _TooDeep
        builder.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
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
    except _TooDeep as error:
        raise AnnotationError(
            f"{path}, line {parser.CurrentLineNumber}: XML nested too deeply for any annotation format."
        ) from error
    except (LookupError, ValueError) as error:  # an encoding that Python lacks, or of several bytes a letter
        raise AnnotationError(
            f"{path}, line {parser.CurrentLineNumber}: its encoding cannot be read ({error}). Save it as UTF-8."
        ) from error
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
    except expat.ExpatError as error:
        raise AnnotationError(
            f"{path}, line {error.lineno}: not XML: {expat.ErrorString(error.code)}. Export it again."
        ) from error
    return builder.close()


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]
