"""What a user can meet, as one tree.

    MuybridgeError                 base: one clear line, exit code 2 on the command line
    ├── InputError                 a file, stream or array cannot be used as given
    │   ├── MissingInput           it is not there
    │   ├── BrokenMedia            it is there but is not a readable picture or video
    │   └── NoVideoStream          it is readable media, but without a picture track
    ├── OptionError                a parameter's value breaks its rule
    ├── OutputError                a result cannot be written (folder, permission, full disk)
    ├── ModelError                 a model file cannot be used
    │   ├── UnsafeModelFile        it would need pickle to be executed
    │   └── ModelMismatch          it is sound, but for another task, architecture or backbone
    ├── AnnotationError            an annotation, list or label file breaks its format
    ├── TrainingError              training cannot start or go on
    └── MissingExtra               an optional dependency is not installed; names the install command

Each message says what was wrong, with which file or parameter, and what to do. A mistake in muybridge
itself is never one of these: it surfaces as the plain exception it is.
"""


class MuybridgeError(Exception):
    """Base of every error that is the input's, the environment's or the user's, not ours."""


class InputError(MuybridgeError):
    """An input cannot be used as given."""


class MissingInput(InputError):
    """A named file or folder does not exist, or a folder or glob holds nothing usable."""


class BrokenMedia(InputError):
    """A file exists but cannot be decoded as the picture or video it claims to be."""


class NoVideoStream(InputError):
    """A media file holds no picture track, only sound or data."""


class OptionError(MuybridgeError, ValueError):
    """A parameter's value breaks its rule. The message names parameter, value, rule and remedy."""


class OutputError(MuybridgeError):
    """A result cannot be written. Nothing half-written is left behind."""


class ModelError(MuybridgeError):
    """A model file cannot be used."""


class UnsafeModelFile(ModelError):
    """A model file would need pickle to be executed; it was refused unread."""


class ModelMismatch(ModelError):
    """A sound model file that does not fit: another task, architecture or backbone."""


class AnnotationError(MuybridgeError):
    """An annotation, list or label file breaks its format. The message names the line."""


class TrainingError(MuybridgeError):
    """Training cannot start or cannot go on."""


class MissingExtra(MuybridgeError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, purpose: str, *, extra: str) -> None:
        super().__init__(f"{purpose} needs an optional dependency. Install it with: pip install 'muybridge[{extra}]'")
        self.extra = extra
