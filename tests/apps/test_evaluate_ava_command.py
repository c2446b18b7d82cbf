"""`muybridge evaluate ava`: the published answer, every protocol, mistakes."""

import json
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from muybridge.apps.cli import main
from muybridge.apps.evaluate import evaluate_ava
from muybridge.evaluation.ava import AVA_PROTOCOLS
from muybridge.evaluation.options import DEFAULT_AVA_PROTOCOL

BOX = "0.1,0.1,0.5,0.5"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "ava", *arguments])
    return stopped.value.code


@pytest.fixture
def files(tmp_path, monkeypatch):
    """One person in a frame found, one detection in a frame stated to be empty, one in a frame not mentioned."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "truth.csv").write_text(f"a,0001,{BOX},80,0\na,0003\na,0004,{BOX},80,0\n")
    (tmp_path / "found.csv").write_text(f"a,0001,{BOX},80,0.5\na,0002,{BOX},80,0.9\na,0003,{BOX},80,0.8\n")
    (tmp_path / "labels.pbtxt").write_text('item {\n  name: "watch (a person)"\n  id: 80\n}\n')
    (tmp_path / "excluded.csv").write_text("a,0004\n")
    return ["--truth", "truth.csv", "--predictions", "found.csv", "--labels", "labels.pbtxt"]


@pytest.mark.parametrize(
    ("protocol", "figure"),
    [("ava-2019", 1 / 3), ("slowfast", 1 / 3), ("mmaction2", 1.0), ("activitynet-2020", 1 / 2 * 1 / 2)],
)
def test_every_protocol_by_hand(files, capsys, protocol, figure):
    assert run(*files, "--excluded", "excluded.csv", "--protocol", protocol, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["mean_average_precision"] == pytest.approx(figure)
    assert report["protocol"] == protocol and report["rules"] == list(AVA_PROTOCOLS[protocol].rules())


def test_published_answer_as_a_table(real_data, capsys):
    toy = real_data / "annotations" / "ava_eval_toy"
    arguments = ["--truth", toy / "gt.csv", "--predictions", toy / "pred.csv", "--labels", toy / "action_list.txt"]
    assert run(*map(str, arguments)) == 0
    assert "frame-mAP 0.093855 over 3 of 3 classes" in capsys.readouterr().out


def test_choices_and_default_are_the_evaluators(files, capsys):
    assert set(get_args(get_type_hints(evaluate_ava)["protocol"])) == set(AVA_PROTOCOLS)
    assert run(*files) == 0
    assert f"protocol {DEFAULT_AVA_PROTOCOL}:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--truth", "none.csv"], "none.csv"),
        (["--labels", "none.pbtxt"], "none.pbtxt"),
        (["--predictions", "labels.pbtxt"], "labels.pbtxt, line 1"),
        (["--excluded", "truth.csv"], "truth.csv, line 1"),
        (["--protocol", "coco"], "coco"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(files, capsys, arguments, says):
    for name, value in zip(files[::2], files[1::2], strict=True):
        arguments = arguments if name in arguments else [*arguments, name, value]
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err + printed.out and "Traceback" not in printed.err


def test_no_model_code_is_imported(files):
    probe = (
        "import sys; from muybridge.apps.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([name for name in ('torch', 'timm', 'av') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "evaluate", "ava", *files], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
