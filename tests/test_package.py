"""What the package offers by its own name, and that naming it costs nothing."""

import subprocess
import sys

import pytest

import muybridge


@pytest.mark.parametrize("name", muybridge.__all__)
def test_every_public_name_is_there(name: str) -> None:
    thing = getattr(muybridge, name)
    assert name == "__version__" or thing.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Recogniser"):
        muybridge.Recogniser  # noqa: B018


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, muybridge; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        (
            "from muybridge.stylize.stylizer import Stylizer; Stylizer.from_pretrained()",
            "timm torchvision torch._dynamo",
        ),
        ("from muybridge.engine.tasks import LocalizeTask; LocalizeTask(actions=False).job()", "timm"),
    ],
)
def test_a_verb_waits_for_no_library_that_it_does_not_use(code: str, unwanted: str) -> None:
    code = f"import sys; {code}; print(*[name for name in '{unwanted}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
