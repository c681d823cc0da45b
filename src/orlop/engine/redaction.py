"""Values that nobody is shown, taken out of texts: whatever a driver, its program or somebody's plugin says of what it
was given passes here before people read it."""

import base64
import json
import re
from collections.abc import Collection, Iterator
from re import Pattern
from urllib.parse import quote, quote_plus

from orlop.model.volume import HIDDEN

_LEAST = 3  # what is shorter is in every text
_LEAST_WITHIN = 6  # what is shorter is taken out only where it stands alone
_LEAST_LINE = 16
_KEPT_IN_PATHS = "/+=:@&$,;~!*'()"  # by Go


def spellings(value: str) -> Iterator[str]:
    """As programs repeat what they were given: as it is, quoted for a URL or for JSON, in base64; line by line."""
    escaped = json.dumps(value)[1:-1]
    plain = json.dumps(value, ensure_ascii=False)[1:-1]
    encoded = base64.b64encode(value.encode(errors="surrogateescape")).decode()
    yield from (value, escaped, plain, quote(value, safe="", errors="replace"), quote_plus(value, errors="replace"))
    yield from (encoded, value.replace("\n", "\\n"), quote(value, safe=_KEPT_IN_PATHS, errors="replace"))
    # Of a key in lines, only those that are it: others begin every key of the kind.
    yield from (line for line in value.splitlines()[:-1] if len(line) >= _LEAST_LINE and "-----" not in line)


def compile_redaction(values: Collection[str]) -> Pattern[str] | None:
    """What finds any of them in a text; None where there is nothing to be found."""
    needles = {needle for value in values if len(value) >= _LEAST for needle in spellings(value)}
    if not needles:
        return None
    return re.compile("|".join(map(_pattern, sorted(needles, key=len, reverse=True))))


def _pattern(needle: str) -> str:
    found = re.escape(needle)
    return found if len(needle) >= _LEAST_WITHIN else rf"(?<![A-Za-z0-9]){found}(?![A-Za-z0-9])"


def redact(text: str, pattern: Pattern[str] | None) -> str:
    return pattern.sub(HIDDEN, text) if pattern is not None else text
