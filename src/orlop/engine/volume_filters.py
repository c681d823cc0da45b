"""Which volumes a listing shows and a prune takes."""

import re
from collections.abc import Callable, Sequence

from orlop.errors import Malformed
from orlop.model.filters import Filters, matches_labels, require_known
from orlop.model.volume import ANONYMOUS_LABEL, DEFAULT_DRIVER, RetiredVolume, Volume

IsHeld = Callable[[str], object]


def list_filter(filters: Filters, is_held: IsHeld) -> Callable[[Volume], bool]:
    """Raises Malformed for a key or a value that makes no sense."""
    require_known(filters, ("dangling", "driver", "label", "name"))
    dangling = _dangling(filters.get("dangling", ()))
    drivers, labels = filters.get("driver"), filters.get("label", ())
    names = [_name_pattern(term) for term in filters.get("name", ())]

    def shows(volume: Volume) -> bool:
        if drivers is not None and volume.driver not in drivers:
            return False
        if names and not any(matches(name) for matches in names for name in (volume.name, *volume.aliases)):
            return False
        if not matches_labels(volume.labels, labels):
            return False
        return dangling is None or dangling == (not is_held(volume.name))

    return shows


def retired_filter(filters: Filters) -> Callable[[RetiredVolume], bool]:
    """Raises Malformed for a key that makes no sense. Names and labels are those that it had."""
    require_known(filters, ("driver", "label", "name"))
    shows = list_filter(filters, lambda name: False)
    return lambda retired: shows(retired.volume)


def prune_filter(filters: Filters, include_named: bool, protected_too: bool = False) -> Callable[[Volume], bool]:
    """Everything but whether it is held. A volume whose bytes are elsewhere is never pruned, nor
    is a protected one, which `protected_too` lets through."""
    require_known(filters, ("label", "label!", "all"))
    wanted = list(filters.get("label", ()))
    if not include_named:
        wanted.append(ANONYMOUS_LABEL)
    spared = filters.get("label!", ())

    def takes(volume: Volume) -> bool:
        if volume.driver != DEFAULT_DRIVER or volume.mounts_its_content:
            return False
        if spared and matches_labels(volume.labels, spared):
            return False
        return matches_labels(volume.labels, wanted) and (protected_too or not volume.is_protected)

    return takes


def _dangling(values: Sequence[str]) -> bool | None:
    if not values:
        return None
    known = {"true": True, "1": True, "false": False, "0": False}
    found = {known.get(value) for value in values}
    if len(found) != 1 or None in found:
        raise Malformed("", f"invalid filter 'dangling=[{' '.join(values)}]'", "Use true or false")
    return found.pop()


def _name_pattern(term: str) -> Callable[[str], bool]:
    """Exactly, or as a regular expression anywhere in the name; what is no expression matches only exactly."""
    try:
        pattern = re.compile(term)
    except (re.error, RecursionError, OverflowError):
        return lambda name: name == term
    return lambda name: name == term or pattern.search(name) is not None
