"""Which platforms of an image a request asks for: JSON objects, as OCI spells a platform."""

import msgspec

from orlop.docker.messages import Request
from orlop.errors import Malformed
from orlop.model.platform import Platform


class _Platform(msgspec.Struct):
    architecture: str = ""
    os: str = ""
    variant: str = ""


def wanted_platforms(request: Request, parameter: str = "platform") -> tuple[Platform, ...]:
    """Nothing asked for: (). Raises Malformed."""
    texts = [text for text in request.texts(parameter) if text]
    if len(texts) > 1 and parameter == "platform" and request.api < (1, 52):
        raise Malformed("", "only one platform can be given before API 1.52")
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> Platform:
    try:
        found = msgspec.json.decode(text.encode(), type=_Platform)
    except msgspec.MsgspecError as error:
        raise Malformed("", f"failed to parse platform: {error}", 'Write it like {"os":"linux"}') from error
    if not found.os and not found.architecture:
        raise Malformed("", "both OS and Architecture must be provided")
    return Platform(found.os, found.architecture, found.variant)
