"""Build the documentation site into site/; any warning is an error.

The reference is made here, not written: one page of commands from the command line, one page a folder of the package
from its docstrings.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muybridge.apps.cli import app

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "muybridge"
REFERENCE = ROOT / "docs" / "reference"
PAGES = {
    "stylize": "A picture or a video painted in the style of any image.",
    "recognize": "What happens in a clip, a video, a stream.",
    "localize": "Who does what, where and when.",
    "watch": "All three live, from one reading.",
    "engine": "The verbs over many files: workers, one row a file.",
    "serve": "The verbs over HTTP.",
    "bench": "What a machine does with each part, against its reference.",
    "people": "Detectors of people, and tracks.",
    "training": "One loop for whatever objective it is given.",
    "stage": "A procedural world of actors with known boxes and actions.",
    "data": "Training data and annotation formats.",
    "evaluation": "Published protocols of measurement.",
    "media": "Pictures and videos, from file to array and back.",
    "models": "Modules and pure functions on tensors.",
    "errors": "What a user can meet, model files, progress.",
}
_WARNING = re.compile("griffe:|warning", re.IGNORECASE)
_TOGETHER = re.compile("parameter '[^']*, [^']*'", re.IGNORECASE)
ALONE = ("errors", "artifacts", "pretrained", "devices", "progress")  # modules outside the folders


def write_reference() -> None:
    shutil.rmtree(REFERENCE, ignore_errors=True)
    REFERENCE.mkdir(parents=True)
    commands = app.generate_docs(output_format="markdown", recursive=True, heading_level=1)
    # The site has a table of contents of its own.
    commands = re.sub(r"\n## Table of Contents\n.*?\n(?=\*\*Commands)", "\n", commands, count=1, flags=re.DOTALL)
    (REFERENCE / "commands.md").write_text(commands.replace("# muybridge\n", "# Commands\n", 1), encoding="utf-8")
    for page, about in PAGES.items():
        names = ALONE if page == "errors" else _modules(PACKAGE / page)
        prefix = "muybridge" if page == "errors" else f"muybridge.{page}"
        blocks = "\n".join(f"::: {prefix}.{name}\n" for name in names)
        (REFERENCE / f"{page}.md").write_text(f"# {page.capitalize()}\n\n{about}\n\n{blocks}", encoding="utf-8")


def _modules(folder: Path) -> list[str]:
    """Dotted names below the folder, its own modules first."""
    found = sorted(folder.rglob("[!_]*.py"), key=lambda path: (len(path.parts), path))
    return [".".join(path.relative_to(folder).with_suffix("").parts) for path in found]


def missing_pages() -> list[str]:
    """Pages that the navigation names and that are not there, or the other way round."""
    with (ROOT / "zensical.toml").open("rb") as file:
        named = set(_leaves(tomllib.load(file)["project"]["nav"]))
    there = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    return [f"zensical.toml, nav: {page} does not exist" for page in sorted(named - there)] + [
        f"docs/{page} is not in the nav of zensical.toml" for page in sorted(there - named)
    ]


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(part)


def build() -> list[str]:
    """Run the site generator; what it complains of."""
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict", "--clean"]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        return [done.stdout.partition("Traceback")[0]]
    # The strict mode does not see what the reader of docstrings complains of. Parameters that a docstring describes
    # together ("width, height: pixels") are as we want them.
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).splitlines()
    return [line for line in lines if _WARNING.search(line) and not _TOGETHER.search(line)]


if __name__ == "__main__":
    write_reference()
    problems = missing_pages() or build()
    print("\n".join(problems) if problems else "site/index.html")
    sys.exit(1 if problems else 0)
