"""The `filters` parameter: {"key": ["value", ...]}, or the older {"key": {"value": true}}."""

from typing import Any

import msgspec

from orlop.docker.messages import Request
from orlop.errors import Malformed
from orlop.model.filters import Filters


def parse_filters(request: Request, complaint: str = "invalid filter") -> Filters:
    """Raises Malformed with `complaint` as its text."""
    text = request.text("filters")
    if not text:
        return {}
    try:
        found: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed("", complaint) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Malformed("", complaint)
    filters: dict[str, tuple[str, ...]] = {}
    for key, values in found.items():
        if not isinstance(values, list | dict) or not all(isinstance(value, str) for value in values):
            raise Malformed("", complaint)
        filters[key] = tuple(values)
    return filters
