"""Build the sdist and from it the wheel, install the wheel where the checkout is not seen, and use it there.

The fresh environment borrows the dependencies of the one that runs this, by a path file: torch anew is gigabytes.
The checkout stays unseen, as an editable install is itself a path file, which is not followed from another.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 25 * 2**20
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
KINDS = {".py", ".safetensors", ".md", ".jpg", ".jinja", ".tsv", ".typed"}
IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
for name in sys.argv[2:]:
    sys.modules[name] = None
import muybridge
assert pathlib.Path(muybridge.__file__).is_relative_to(sys.argv[1]), muybridge.__file__
names = [module.name for module in pkgutil.walk_packages(muybridge.__path__, "muybridge.")]
# A server is nothing without its extra, and is imported by its command alone.
names = [name for name in names if name not in ("muybridge.serve.app", "muybridge.serve.server")]
for name in names:
    importlib.import_module(name)
print(f"{len(names)} modules import without {', '.join(sys.argv[2:])}")
"""


def build(folder: Path) -> Path:
    """The wheel, made from the sdist; both lie in the folder."""
    run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], quiet=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def contents(wheel: Path) -> list[str]:
    """Print what is in the wheel; what is wrong with it."""
    with zipfile.ZipFile(wheel) as archive:
        files = {info.filename: info.file_size for info in archive.infolist()}
        code = "".join(archive.read(name).decode() for name in files if name.endswith((".py", ".jinja")))
    folders: Counter[str] = Counter()
    for name, size in files.items():
        folders["/".join(PurePosixPath(name).parent.parts[:2])] += size
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 2**20:.1f} MiB of at most {MOST_BYTES / 2**20:.0f}, {len(files)} files; unpacked:")
    for name, unpacked in folders.most_common():
        print(f"{unpacked / 2**10:9.1f} KiB  {name}")
    package = [PurePosixPath(name) for name in files if ".dist-info/" not in name]
    problems = [f"{name} is of no kind that belongs there" for name in package if name.suffix not in KINDS]
    data = [name for name in package if name.parts[1] in ("weights", "pictures") and name.suffix != ".md"]
    problems += [f"nothing in the package names {name}" for name in data if name.name not in code]
    return problems + ([f"it is larger than {MOST_BYTES} bytes"] if size > MOST_BYTES else [])


def fresh_environment(folder: Path, wheel: Path) -> Path:
    """An environment with the wheel in it; its folder of executables."""
    venv.create(folder, with_pip=False)
    paths = {"base": str(folder), "platbase": str(folder)}
    borrowed = Path(sysconfig.get_path("purelib", vars=paths)) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    programs = Path(sysconfig.get_path("scripts", vars=paths))
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    run([*pip, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", str(wheel)])
    return programs


def modules_of_extras(required: Sequence[str]) -> Iterator[str]:
    """Top-level modules that only an extra brings, of those that are installed here."""
    core = {_project(line) for line in required if "extra ==" not in line}
    extras = {_project(line) for line in required if "extra ==" in line} - core
    for module, projects in importlib.metadata.packages_distributions().items():
        if extras.intersection(project.lower().replace("_", "-") for project in projects):
            yield module


def _project(requirement: str) -> str:
    name = requirement.partition(";")[0]
    for mark in "[<>=!~ ":
        name = name.partition(mark)[0]
    return name.lower().replace("_", "-")


def compile_with_all(wheel: Path, folder: Path) -> None:
    """Compile each module with each Python that is on this machine, and import what needs no dependency."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for version in PYTHONS:
        python = _python(version)
        if python is None:
            print(f"Python {version} is not on this machine")
            continue
        run([python, "-W", "error", "-m", "compileall", "-q", "-f", str(folder)])
        run([python, "-c", "import muybridge, muybridge.errors"], cwd=folder)
        print(f"Python {version} compiles every module")


def _python(version: str) -> str | None:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    kept = sorted(pyenv.glob(f"{version}.*/bin/python{version}"))
    return str(kept[-1]) if kept else shutil.which(f"python{version}")


def run(command: Sequence[str], *, cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a command without what the caller's environment says of Python's paths; fail if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    output = subprocess.PIPE if quiet else None
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=output, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout or ''}{' '.join(command)} ended with {done.returncode}")


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # in order with what the commands print
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        wheel = build(scratch / "dist")
        problems = contents(wheel)
        if problems:
            sys.exit("\n".join(problems))
        compile_with_all(wheel, scratch / "unpacked")
        programs = fresh_environment(scratch / "fresh", wheel)
        extras = modules_of_extras(importlib.metadata.requires("muybridge") or [])
        run([str(programs / "python"), "-c", IMPORT_ALL, str(scratch / "fresh"), *sorted(extras)], cwd=scratch)
        run([str(programs / "muybridge"), "demo", "-o", "demo", "--size", "180"], cwd=scratch, quiet=True)
        page = scratch / "demo" / "index.html"
        print(f"{page.name}: {page.stat().st_size} bytes beside {sum(1 for _ in page.parent.iterdir()) - 1} files")


if __name__ == "__main__":
    main()
