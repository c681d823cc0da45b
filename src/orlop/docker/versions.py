"""Which versions of Docker's API are spoken.

1.24 is the oldest that current clients can fall back to; 1.52 the newest all of whose changes are honoured where they
concern what is here. A path without a version means the newest.
"""

from orlop import __version__
from orlop.docker.messages import ApiVersion
from orlop.errors import Malformed

OLDEST: ApiVersion = (1, 24)
NEWEST: ApiVersion = (1, 52)


def render_version(version: ApiVersion) -> str:
    return f"{version[0]}.{version[1]}"


def split_version(path: str) -> tuple[ApiVersion, str]:
    """The version a path asks for, and the path without it. Raises Malformed for one that is not spoken."""
    if not path.startswith("/v") or len(path) < 3 or not path[2].isdigit():
        return NEWEST, path
    text, slash, rest = path[2:].partition("/")
    version = _KNOWN.get(text) or _parse_version(text)
    return (version, slash + rest) if version else (NEWEST, path)


def _parse_version(text: str) -> ApiVersion | None:
    """None where it is none."""
    major, _, minor = text.partition(".")
    if not (major.isascii() and major.isdigit() and len(major) < 9):
        return None
    if minor and not (minor.isascii() and minor.isdigit() and len(minor) < 9):
        return None
    version = (int(major), int(minor or 0))
    if version < OLDEST:
        raise Malformed(
            "",
            f"client version {text} is too old. Minimum supported API version is {render_version(OLDEST)}, "
            "please upgrade your client to a newer version",
        )
    if version > NEWEST:
        raise Malformed(
            "", f"client version {text} is too new. Maximum supported API version is {render_version(NEWEST)}"
        )
    return version


# What clients really ask for: every call is of one of these.
_KNOWN = {f"{OLDEST[0]}.{minor}": (OLDEST[0], minor) for minor in range(OLDEST[1], NEWEST[1] + 1)}

HEAD_LINES = (
    f"Api-Version: {render_version(NEWEST)}\r\n"
    "Docker-Experimental: false\r\n"
    "Ostype: linux\r\n"
    f"Server: Orlop/{__version__} (linux)\r\n"
).encode()
