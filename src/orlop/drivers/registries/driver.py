"""What a registry is.

Words. A *blob* is bytes known by their digest. A *manifest* is a small document that lists blobs: a configuration and
layers; a tag in a repository is the name of one. A *descriptor* says of a blob what it is, its digest and its size.

How content comes: `get_manifest` -> `get_blob` of each descriptor in it. How it goes: `put_blob` of each, then
`put_manifest`, after which others can find it.

Who calls. The engine, from its worker threads. A repeated call with the same wish is a success: what the registry has
already is not sent again. What comes from a registry is a stranger's: every byte is checked against the digest and the
size that it was asked for by before anybody reads it, and nothing arrives that is larger than announced.

Errors. NotFound for what the registry certainly has not, Forbidden where it wants to know who asks or does not let
them, Unavailable when it does not answer, Malformed for content that is not what it is said to be, HostFailure for the
disk here.
"""

from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Protocol

from orlop.model.reference import Reference
from orlop.model.value import dataclass

Progress = Callable[[int, int], None]  # bytes done, of so many


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. Never shown."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)  # got by logging in, in the place of a password
    registry_token: str = field(default="", repr=False)  # to be sent as it is


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: str  # "sha256:<hex>"
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`raw` are the very bytes that `digest` is of."""

    media_type: str
    digest: str
    raw: bytes = field(repr=False)


class Registry(Protocol):
    def get_manifest(self, reference: Reference, credentials: Credentials) -> Manifest:
        """By the reference's digest, else its tag."""

    def get_blob(
        self,
        reference: Reference,
        blob: Descriptor,
        target: Path,
        credentials: Credentials,
        progress: Progress | None = None,
    ) -> None:
        """Into a new file. What `target` holds after an error is of no use."""

    def put_blob(
        self,
        reference: Reference,
        blob: Descriptor,
        source: Path,
        credentials: Credentials,
        progress: Progress | None = None,
    ) -> bool:
        """False when it was there already."""

    def put_manifest(self, reference: Reference, manifest: Manifest, credentials: Credentials) -> None:
        """Under the reference's tag."""
