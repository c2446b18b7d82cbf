"""What a user can choose of a service, as data."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from muybridge.errors import OptionError
from muybridge.options import PLAIN, Seconds

LIMITS = Parameter(group="Limits")


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how many there may be.

    Attributes:
        megabytes: Most of an upload.
        seconds: Longest film.
        megapixels: Most of a picture, or of a film's frame.
        upload: Longest time that an upload may take.
        at_once: Requests that are worked on at the same time; clips, and frames to find people in, run in batches.
        queue: Requests that may wait beside them; more are told to come again (429).
    """

    megabytes: Annotated[float, Parameter(name="--max-megabytes")] = 256
    seconds: Annotated[Seconds, Parameter(name="--max-seconds")] = 600.0
    megapixels: Annotated[float, Parameter(name="--max-megapixels")] = 9.0
    upload: Annotated[Seconds, Parameter(name="--upload-time")] = 60.0
    at_once: int = 8
    queue: int = 120

    def __post_init__(self) -> None:
        for name in ("megabytes", "seconds", "megapixels", "upload", "at_once"):
            if not 0 < getattr(self, name) < float("inf"):
                raise OptionError(f"{name}={getattr(self, name)} must be above 0, and no limit is none")
        if self.queue < 0:
            raise OptionError(f"queue={self.queue} must be 0 or more")


@dataclass(frozen=True)
class ServeConfig:
    """Where a service listens, and to whom.

    Attributes:
        host: Address to listen on. Others than this machine's own need a --token.
        port: 0 takes any that is free.
        token: A file with a secret of at least 16 letters; clients send it as `Authorization: Bearer SECRET`.
        addresses: Let clients name an http or https address in place of an upload. What this machine reaches, they
            then reach too.
        limits: what one request may ask for.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: Path | None = None
    addresses: Annotated[bool, PLAIN] = False
    limits: Annotated[Limits, Parameter(name="*"), LIMITS] = Limits()

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise OptionError(f"port={self.port} is not from 0 to 65535")
        if self.token is None and not is_loopback(self.host):
            raise OptionError(f"host={self.host} lets others in. Name a file with a secret: --token FILE")

    def secret(self) -> str | None:
        """What is in the file of the token.

        Raises:
            OptionError: it cannot be read, or is too short to be one.
        """
        if self.token is None:
            return None
        try:
            secret = self.token.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"--token {self.token} cannot be read as a text of ASCII letters") from error
        if len(secret) < 16 or len(secret.split()) != 1:
            raise OptionError(f"--token {self.token} must hold one word of at least 16 letters")
        return secret


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own and no other's."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
