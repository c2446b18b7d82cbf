"""Every extra that an error names can be installed, and every dependency is defended."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_extras_and_dependencies_agree():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    named = set(re.findall(r'extra="(\w+)"', sources)) | set(re.findall(r"muybridge\[(\w+)\]", sources))
    assert named and named <= set(project["optional-dependencies"])
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    for extra, wanted in project["optional-dependencies"].items():
        assert f"| `{extra}` |" in page, extra
        assert all(_name(requirement) in page for requirement in wanted), extra
    assert all(_name(requirement) in page for requirement in project["dependencies"])


def _name(requirement: str) -> str:
    return re.split(r"[\[<>= ]", requirement)[0].lower()
