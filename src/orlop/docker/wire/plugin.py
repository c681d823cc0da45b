"""Docker's volume plugin protocol v1, as its bodies are spelt."""

# Fields are named like their types; without this a default would hide the type from the annotation beside it.
from __future__ import annotations

import msgspec


class Named(msgspec.Struct):
    Name: str = ""


class Create(msgspec.Struct):
    Name: str = ""
    Opts: dict[str, str] | None = None


class Mount(msgspec.Struct):
    Name: str = ""
    ID: str = ""


class Volume(msgspec.Struct, omit_defaults=True):
    Name: str
    Mountpoint: str = ""
    CreatedAt: str = ""
    Status: dict[str, object] | None = None
