"""Bodies of the calls about managed plugins, as Docker spells them."""

# Fields are named like their types; without this a default would hide the type from the annotation beside it.
from __future__ import annotations

import msgspec


class Privilege(msgspec.Struct):
    Name: str = ""
    Description: str = ""
    Value: list[str] | None = None


class RegistryAuth(msgspec.Struct):
    """The header X-Registry-Auth, in base64."""

    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""
