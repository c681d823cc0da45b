"""Which machine an image is made for: os/architecture[/variant], in Go's spelling."""

import re
from collections.abc import Sequence

from orlop.errors import Malformed
from orlop.model.value import dataclass

_ARCHITECTURES = {  # uname's word -> Go's
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i386": "386",
    "i686": "386",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "loongarch64": "loong64",
}
_PART = re.compile("[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def runs(self, other: "Platform") -> bool:
        """Whether a machine of this platform runs what is made for the other; what the other leaves open fits."""
        return (
            other.os in ("", self.os)
            and other.architecture in ("", self.architecture)
            and (not self.variant or other.variant in ("", self.variant))
        )


def is_any_of(actual: Platform, wanted: Sequence[Platform]) -> bool:
    """Whether what is made for `actual` is one of those asked for; nothing asked for means any."""
    return not wanted or any(
        one.os in ("", actual.os)
        and one.architecture in ("", actual.architecture)
        and (not one.variant or one.variant == actual.variant)
        for one in wanted
    )


def parse_platform(text: str, default: Platform) -> Platform:
    """ "linux/arm64/v8", or one part of it: "arm64". "" is the default. Raises Malformed."""
    parts = text.split("/") if text else []
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise Malformed("", f'"{text}" is an invalid platform', "Write it like linux/amd64")
    match [part.lower() for part in parts]:
        case []:
            return default
        case [("linux" | "windows" | "freebsd" | "darwin") as system]:
            return Platform(system, default.architecture)
        case [architecture]:
            return Platform(default.os, go_architecture(architecture))
        case [system, architecture]:
            return Platform(system, go_architecture(architecture))
        case [system, architecture, variant]:
            return Platform(system, go_architecture(architecture), variant)
    raise AssertionError(parts)


def go_architecture(machine: str) -> str:
    return _ARCHITECTURES.get(machine, machine)
