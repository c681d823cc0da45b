"""What is on the disk, to Docker's spelling of `system df`.

Up to API 1.51 it is lists of all objects; since 1.52 totals by kind, with the objects where the client asks for them.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from orlop.docker.messages import ApiVersion
from orlop.docker.wire.volume import UsageData
from orlop.model.value import dataclass


class Form(StrEnum):
    OLD = "lists"
    BOTH = "lists and totals"
    TOTALS = "totals"
    VERBOSE = "totals with objects"


@dataclass(frozen=True, slots=True)
class Shown:
    """One kind of objects."""

    kind: str  # Image, Container, Volume, BuildCache
    old_field: str
    items: Sequence[Any]
    active: int
    total_bytes: int
    reclaimable_bytes: int
    old_total_field: str = ""  # where the older form has a total, too


def images(items: Sequence[dict[str, Any]], layers_bytes: int) -> Shown:
    """What an image has to itself goes with it; layers that images share are counted once."""
    active = [each for each in items if each["Containers"] > 0]
    needed = sum(each["Size"] - max(0, each["SharedSize"]) for each in active)
    return Shown(
        "Image", "Images", items, len(active), layers_bytes, max(0, layers_bytes - needed), old_total_field="LayersSize"
    )


def containers(items: Sequence[Any], sizes: Sequence[tuple[int, bool]]) -> Shown:
    """`sizes`: bytes of the writable layer, and whether it runs."""
    total = sum(max(0, size) for size, _ in sizes)
    used = sum(max(0, size) for size, is_running in sizes if is_running)
    return Shown("Container", "Containers", items, sum(runs for _, runs in sizes), total, total - used)


def volumes(items: Sequence[Any], usage: Sequence[UsageData]) -> Shown:
    total = sum(max(0, each.Size) for each in usage)
    used = sum(max(0, each.Size) for each in usage if each.RefCount)
    return Shown("Volume", "Volumes", items, sum(each.RefCount > 0 for each in usage), total, total - used)


def no_build_cache() -> Shown:
    return Shown("BuildCache", "BuildCache", (), 0, 0, 0)


def show_disk_usage(found: Sequence[Shown], form: Form, api: ApiVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if form in (Form.OLD, Form.BOTH):
        for each in found:
            if each.old_total_field:
                shown[each.old_total_field] = each.total_bytes
            shown[each.old_field] = each.items
    if api < (1, 42):
        shown["BuilderSize"] = 0
    if form is not Form.OLD:
        for each in found:
            shown[f"{each.kind}Usage"] = _totals(each, form is Form.VERBOSE)
    return shown


def _totals(shown: Shown, with_items: bool) -> dict[str, Any]:
    """What is nothing is left out."""
    totals: dict[str, Any] = {
        "ActiveCount": shown.active,
        "TotalCount": len(shown.items),
        "TotalSize": shown.total_bytes,
        "Reclaimable": shown.reclaimable_bytes,
        "Items": shown.items if with_items else (),
    }
    return {field: value for field, value in totals.items() if value}
