"""The command line. Each verb's module is imported when it is called, so that `--help` is quick."""

import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Parameter

from muybridge import __version__
from muybridge.apps.config_file import take_options
from muybridge.errors import MuybridgeError
from muybridge.escapes import printable

USER_ERROR = 2
INTERRUPTED = 130


def _default(value: Any) -> str | None:
    return None if value in (None, ()) else str(value)  # what these mean is told in the help


app = App(
    name="muybridge",
    help="Takes image models to video: recognize, localize and stylize what moves.",
    version=__version__,
    default_parameter=Parameter(negative_iterable=(), show_default=_default),
    config=take_options,
    suppress_keyboard_interrupt=False,  # main says that nothing half-written is left
)
train = App(name="train", help="Train a model on your own data.")
app.command(train)
evaluate = App(name="evaluate", help="Measure a model, or a file of predictions, by published rules.")
app.command(evaluate)
app.command("muybridge.apps.recognize:recognize", help="Say what happens in videos, and when.")
app.command("muybridge.apps.export:export", help="Write a recognizer as ONNX or torch.export.")
app.command("muybridge.apps.localize:localize", help="Say who does what in videos, where and when.")
app.command("muybridge.apps.stylize:stylize", help="Paint pictures and videos in the style of any image.")
app.command("muybridge.apps.stylize:styles", help="List the built-in styles.")
app.command("muybridge.apps.watch:watch", help="Watch a camera or a film with people, actions and labels over it.")
app.command("muybridge.apps.serve:serve", help="Answer over HTTP, with one model for many clients.")
app.command("muybridge.apps.write_bank:write_bank", name="write-bank", help="Write feature banks of videos.")
app.command("muybridge.apps.demo:demo", help="Make a page that shows what it does, on your own film too.")
app.command("muybridge.apps.bench:bench", help="Measure this machine, each part against its reference.")
app.command("muybridge.apps.stage:stage", help="Write labelled videos of a procedural world.")
train.command("muybridge.apps.train:train_stylizer", name="stylizer", help="Train Avatar-Net on photographs.")
train.command("muybridge.apps.train:train_recognizer", name="recognizer", help="Teach an image model your own clips.")
train.command("muybridge.apps.train:train_localizer", name="localizer", help="Teach a model who does what in videos.")

evaluate.command(
    "muybridge.apps.evaluate:evaluate_recognizer", name="recognizer", help="Score a recognizer on labelled clips."
)
evaluate.command(
    "muybridge.apps.evaluate:evaluate_localizer",
    name="localizer",
    help="Score a localizer on annotated videos.",
)
evaluate.command(
    "muybridge.apps.evaluate:evaluate_ava", name="ava", help="Score a CSV of detections by AVA's frame-mAP."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 a user's mistake or a broken file in one line, 130 interrupted.

    Who is asked to end by the system (SIGTERM, SIGHUP) ends as by Ctrl-C, with nothing half-written left.

    `--debug` anywhere shows the traceback too.
    """
    for name in ("SIGTERM", "SIGHUP"):  # not on every system; nohup has set its own
        number = getattr(signal, name, None)
        ours = threading.current_thread() is threading.main_thread()
        if ours and number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack letters, and a file's name may be no text
            stream.reconfigure(errors="backslashreplace")
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    warnings.formatwarning = _as_note
    try:
        result = _run(tokens)
    except (CycloptsError, MuybridgeError) as error:
        if debug:
            traceback.print_exc()
        print(f"muybridge: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(USER_ERROR)
    except BrokenPipeError:  # whatever read the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("muybridge: interrupted, nothing half-written is left", file=sys.stderr)  # noqa: T201
        sys.exit(INTERRUPTED)
    sys.exit(result if isinstance(result, int) else 0)


_plain_warning = warnings.formatwarning


def _as_note(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> str:
    """A warning of ours as a line for the user, without a line of our code; of a library's, as it comes."""
    if Path(filename).is_relative_to(Path(__file__).parents[1]):
        return f"muybridge: note: {printable(str(message))}\n"
    return _plain_warning(message, category, filename, *place)


def _run(tokens: list[str]) -> Any:
    try:
        return app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except (RuntimeError, MemoryError) as error:
        from muybridge.devices import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise MuybridgeError(
            "out of memory. Choose fewer or smaller frames at a time, or a smaller network"
        ) from error


if __name__ == "__main__":
    main()
