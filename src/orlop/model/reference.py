"""How images are named: `[domain/]path[:tag][@digest]`, or an id, or the beginning of one.

The grammar is that of the distribution project; the familiar form is what people type and read, the canonical form
is complete:

    familiar             canonical
    busybox              docker.io/library/busybox
    me/app:1             docker.io/me/app:1
    localhost:5000/app   localhost:5000/app

The first part is a domain only when it holds a dot, a colon or an upper-case letter, or is `localhost`.
"""

import re
from dataclasses import replace

from orlop.errors import Malformed
from orlop.model.value import dataclass

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME_LENGTH = 255

_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"

_ALNUM = "[a-z0-9]+"
_PATH_COMPONENT = rf"{_ALNUM}(?:(?:[._]|__|-+){_ALNUM})*"
_PATH = rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
_LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"

_REFERENCE = re.compile(rf"({_DOMAIN})/({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")
_ID = re.compile("[0-9a-f]{64}")
_ID_PREFIX = re.compile("(?:sha256:)?([0-9a-f]{1,64})")
_FULL_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_TAG_ONLY = re.compile(_TAG)


@dataclass(frozen=True, slots=True)
class Reference:
    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Canonical, without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        if "/" not in short:
            return short
        return self.name if _is_domain(self.path.partition("/")[0]) else self.path  # "0.0/a" would name a domain

    @property
    def familiar(self) -> str:
        return self.familiar_name + self._suffix

    @property
    def canonical(self) -> str:
        return self.name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_default_tag(self) -> "Reference":
        return self if self.tag or self.digest else replace(self, tag=DEFAULT_TAG)


def parse_reference(text: str) -> Reference:
    """Raises Malformed, in Docker's words, for what is no name of an image."""
    if _ID.fullmatch(text):
        raise Malformed("", f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, remainder = _split_domain(text)
    repository = remainder.partition(":")[0]
    if repository.lower() != repository:
        raise Malformed("invalid reference format", f"repository name ({repository}) must be lowercase")
    found = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if not found:
        raise Malformed("", "invalid reference format")
    reference = Reference(found[1], found[2], found[3] or "", found[4] or "")
    if len(reference.path) > MAX_NAME_LENGTH:
        raise Malformed("", f"repository name must not be more than {MAX_NAME_LENGTH} characters")
    if reference.digest and not _FULL_DIGEST.fullmatch(reference.digest):
        raise Malformed("", f"unsupported or invalid digest {reference.digest}", "Give sha256:<64 hexadecimal digits>")
    return reference


def parse_tag_target(repository: str, tag: str) -> Reference:
    """What `tag`, `import` and `commit` name their result. Raises Malformed."""
    reference = parse_reference(repository)
    if reference.digest:
        raise Malformed("", "refusing to create a tag with a digest reference")
    if tag:
        if not _TAG_ONLY.fullmatch(tag):
            raise Malformed("", "invalid tag format")
        reference = replace(reference, tag=tag)
    if reference.familiar_name == "sha256":
        raise Malformed("", "refusing to create an ambiguous tag using digest algorithm as name")
    return reference.with_default_tag()


def parse_id_prefix(text: str) -> str:
    """The hexadecimal digits of an id or of the beginning of one; "" when `text` cannot be either."""
    found = _ID_PREFIX.fullmatch(text)
    return found[1] if found else ""


def is_image_id(text: str) -> bool:
    """A complete id, with or without its algorithm."""
    return bool(_ID.fullmatch(text.removeprefix("sha256:")))


def is_digest(text: str) -> bool:
    return bool(_FULL_DIGEST.fullmatch(text))


def matches_pattern(pattern: str, reference: Reference) -> bool:
    """The listing's `reference` filter: a shell pattern for the familiar form, with or without the tag. `*` stops
    at a slash. Raises Malformed for a pattern that makes no sense."""
    compiled = _compile_pattern(pattern)
    return bool(compiled.fullmatch(reference.familiar) or compiled.fullmatch(reference.familiar_name))


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if slash and _is_domain(first):
        domain, remainder = first, rest
    else:
        domain, remainder = DEFAULT_DOMAIN, text
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder


def _is_domain(first: str) -> bool:
    return any(mark in first for mark in ".:") or first == "localhost" or first != first.lower()


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    """Go's path.Match, in which bracket expressions know ranges and `^`, and a backslash quotes."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[":
            end = pattern.find("]", at + (pattern[at : at + 1] == "^") + 1)
            inside = pattern[at:end] if end > 0 else ""
            if not inside.strip("^"):
                raise Malformed("", f"invalid filter 'reference={pattern}'", "syntax error in pattern")
            negated = "^" if inside.startswith("^") else ""
            out.append(f"[{negated}{re.escape(inside[len(negated) :]).replace(chr(92) + '-', '-')}]")
            at = end + 1
        else:
            if char == "\\" and at < len(pattern):
                char = pattern[at]
                at += 1
            out.append(re.escape(char))
    try:
        return re.compile("".join(out))
    except re.error as error:
        raise Malformed("", f"invalid filter 'reference={pattern}'", f"syntax error in pattern: {error}") from error
