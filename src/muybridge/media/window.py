"""A window that shows one picture after another, made with what Python and Pillow bring.

Why tkinter: it is in the standard library, Pillow (needed anyway) paints into it, and a picture of 854 x 480 takes it
3 ms, a tenth of the time between two frames. OpenCV's windows are missing from opencv-python-headless, and its other
wheels cannot stand beside that one; pygame and Qt for Python are LGPL; pyglet, glfw and SDL want a graphics context
or a library of their own for what is one picture here.

All calls must come from the main thread, as window systems demand.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from muybridge.errors import OptionError

if TYPE_CHECKING:
    import tkinter

RGB = NDArray[np.uint8]
_ENDING_KEYS = ("<q>", "<Q>", "<Escape>")


def check_screen() -> None:
    """Whether a window can open, asked before models are loaded for it.

    Raises:
        OptionError: there is no screen, or Python came without tkinter.
    """
    _root_window().destroy()


def _root_window() -> "tkinter.Tk":
    try:
        import tkinter
    except ImportError as error:
        raise OptionError(
            "a window needs tkinter, which this Python lacks (Debian and Ubuntu: apt install python3-tk). "
            "Or write a file with -o, or serve a page with --serve PORT, and leave --show out"
        ) from error
    try:
        return tkinter.Tk()
    except tkinter.TclError as error:
        raise OptionError(
            f"there is no screen for a window ({error}). Write a file with -o, or serve a page with --serve PORT"
        ) from error


class Window:
    """Open from `with` to its end, or until the user closes it or presses q or Esc. Pictures keep their size.

    Args:
        title: what stands above it.

    Raises (on entering):
        OptionError: there is no screen, or Python came without tkinter.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._root: tkinter.Tk | None = None
        self._picture: Any = None
        self._is_open = False

    def __enter__(self) -> "Window":
        self._root = _root_window()  # which says so where there is no tkinter to import
        import tkinter

        self._root.title(self._title)
        self._root.resizable(False, False)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        for key in _ENDING_KEYS:
            self._root.bind(key, self._close)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        self._picture = None
        if self._root is not None:
            self._root.destroy()
            self._root = None

    def _close(self, *_: object) -> None:
        self._is_open = False

    def show(self, image: RGB, *, title: str | None = None) -> None:
        """Put up a picture (H, W, 3) in place of the one before."""
        from PIL import ImageTk

        if self._root is None:
            return
        picture = Image.fromarray(np.ascontiguousarray(image))
        if self._picture is None or (self._picture.width(), self._picture.height()) != picture.size:
            self._picture = ImageTk.PhotoImage(picture, master=self._root)
            self._label.configure(image=self._picture)
        else:
            self._picture.paste(picture)
        if title is not None:
            self._root.title(title)

    def pump(self) -> bool:
        """Let the window see to keys and the mouse; whether it is still wanted. To be called often."""
        if self._root is not None and self._is_open:
            self._root.update()
        return self._is_open
