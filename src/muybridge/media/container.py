"""Opening what FFmpeg reads: files, webcams and streams; what cannot be used is refused in one line."""

from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from muybridge.errors import BrokenMedia, InputError, MissingInput, NoVideoStream
from muybridge.media.images import HEIF_BRANDS

# As Pillow's limit for pictures: above it, a file of a few kilobytes may take all memory.
MOST_PIXELS = 89_478_485
_OPEN_TIMEOUT_SECONDS = 15.0
# Lists of other files and addresses, which a stranger's file may not have opened.
_LISTS = frozenset({"applehttp", "concat", "concatf", "dash", "hls", "imf", "image2", "lavfi", "rtsp", "sap", "sdp"})
_FORMATS = ",".join(sorted(av.formats_available - _LISTS))
# Beyond these many pixels (8K), frames are decoded one at a time: in each thread lie several.
_PIXELS_IN_THREADS = 7680 * 4320


def ffmpeg_address(source: str | Path) -> str:
    """How FFmpeg is told of a file or a stream; it takes what stands before a colon in a bare name for a protocol."""
    return str(source) if "://" in str(source) else str(Path(source).absolute())


def open_container(source: str) -> InputContainer:
    """A file, stream or capture device, opened.

    Raises:
        MissingInput, InputError, BrokenMedia: it is not there, may not be read, or is no video.
    """
    live = source.startswith("/dev/video")
    options = {"max_pixels": str(MOST_PIXELS)}  # holds for the frames that FFmpeg decodes to learn of the tracks, too
    if "://" not in source and not live:
        _check_file(source)
        options["format_whitelist"] = _FORMATS
    try:
        container = av.open(
            ffmpeg_address(source),
            format="v4l2" if live else None,
            timeout=_OPEN_TIMEOUT_SECONDS,
            metadata_errors="replace",
            options=options,
        )
    except (av.error.FFmpegError, OSError) as error:
        raise BrokenMedia(f"{source} cannot be opened as a video: {error.strerror or error}") from error
    refusal = ""
    if container.format.name == "tty":  # FFmpeg would play any text as a terminal recording
        refusal = "is a text file, not a video"
    elif container.metadata.get("major_brand", "").strip() in HEIF_BRANDS:
        refusal = "is a HEIC photograph, not a video. Give it the suffix .heic"
    if refusal:
        container.close()
        raise BrokenMedia(f"{source} {refusal}")
    return container


def _check_file(source: str) -> None:
    path = Path(source)
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingInput(f"there is no video {source}") from error
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from error
    if path.is_dir():
        raise InputError(f"{source} is a folder. Give the files in it, or read its pictures as frames")
    if size == 0 and path.is_file():
        raise BrokenMedia(f"{source} is empty (0 bytes). Copy it again")


def open_video(source: str) -> tuple[InputContainer, VideoStream]:
    """A container, and the picture track that a player would show: the default one, else the first.

    Raises:
        MissingInput, InputError, BrokenMedia: see `open_container`; also a track that FFmpeg cannot decode, or whose
            frames are too large.
        NoVideoStream: it holds none.
    """
    container = open_container(source)
    try:
        track = _picture_track(container, source)
    except InputError:
        container.close()
        raise
    return container, track


def _picture_track(container: InputContainer, source: str) -> VideoStream:
    # A cover picture in a sound file is stored as a video track.
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not pictures:
        raise NoVideoStream(f"{source} holds no pictures, only sound or data. Give a video file")
    track = next((s for s in pictures if s.disposition & Disposition.default), pictures[0])
    context = cast(VideoCodecContext | None, track.codec_context)
    if context is None:
        raise BrokenMedia(f"{source} is in a format that FFmpeg cannot decode here. Convert it to H.264 first")
    pixels = context.width * context.height
    if pixels > MOST_PIXELS:
        raise BrokenMedia(
            f"{source} is too large to open safely: its frames of {context.width}x{context.height} have more than "
            f"{MOST_PIXELS / 1e6:.0f} million pixels. Scale it down first"
        )
    context.options = {"max_pixels": str(MOST_PIXELS)}
    context.thread_type = "AUTO" if pixels <= _PIXELS_IN_THREADS else "SLICE"
    return track


def start_of(container: InputContainer) -> Fraction:
    """Time of the first picture or sound in seconds, which players count as 0; not rounded to microseconds."""
    tracks = [*container.streams.video, *container.streams.audio]
    starts = [s.start_time * s.time_base for s in tracks if s.start_time is not None and s.time_base is not None]
    return min(starts, default=Fraction(0))


def has_end(container: InputContainer, source: str) -> bool:
    """Whether this is a whole film, which may be asked for again from its start, and no live source.

    A server that hands over no parts of a file lets nobody look up the end of a transport stream, but tells its size.
    """
    if Path(source).is_file() or container.duration is not None:
        return True
    return container.format.name in ("mpegts", "mpeg") and container.size > 0


def end_of(container: InputContainer, track: VideoStream) -> Fraction | None:
    """When the last picture ends, as the file states it, on the clock that starts with `start_of`."""
    start = start_of(container)
    if track.duration is not None and track.time_base is not None:
        return (track.start_time or 0) * track.time_base + track.duration * track.time_base - start
    if container.duration is not None:
        # Matroska states when it ends, others for how long it lasts.
        first = 0 if "matroska" in container.format.name else container.start_time or 0
        return Fraction(first + container.duration, av.time_base) - start
    return None
