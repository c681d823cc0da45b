"""Events, to Docker's spelling, and which of them a listener asked for."""

from typing import Any

from orlop.docker.messages import ApiVersion
from orlop.model.event import Event
from orlop.model.filters import Filters, matches_labels


def show_event(event: Event, api: ApiVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if event.kind in ("container", "image") and api < (1, 52):  # the older spelling, for older clients
        shown = {"status": event.action, "id": event.subject}
        if event.kind == "container":
            shown["from"] = event.attributes.get("image", "")
    return shown | {
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.subject, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.at_ns // 1_000_000_000,
        "timeNano": event.at_ns,
    }


def matches_event(event: Event, filters: Filters) -> bool:
    return all(_matches(event, key, values) for key, values in filters.items())


def _matches(event: Event, key: str, values: tuple[str, ...]) -> bool:
    match key:
        case "type":
            return event.kind in values
        case "event":
            return event.action in values or event.action.partition(":")[0] in values
        case "scope":
            return "local" in values
        case "label":
            return matches_labels(event.attributes, values)
        case "container" | "volume" | "network" | "daemon" | "plugin" | "service" | "node" | "secret" | "config":
            return event.kind == key and _names(event, values)
        case "image":
            return _is_about_image(event, values)
    return True


def _names(event: Event, values: tuple[str, ...]) -> bool:
    name = event.attributes.get("name", "")
    return any(value and (value in (event.subject, name) or event.subject.startswith(value)) for value in values)


def _is_about_image(event: Event, values: tuple[str, ...]) -> bool:
    """An image's own events, and those of containers made from it."""
    image = event.attributes.get("image" if event.kind == "container" else "name", "")
    own = event.subject.removeprefix("sha256:") if event.kind == "image" else ""
    return any(
        value in (image, image.partition(":")[0]) or (own and own.startswith(value.removeprefix("sha256:")))
        for value in values
        if value
    )
