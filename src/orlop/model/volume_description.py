"""What an exported volume says of itself: a line of text that travels with its data, in the archive's comment.

    orlop.volume/1 {"name": "data", "driver": "local", "labels": {...}, "options": {...}, "omitted_options": [...]}

Options with a secret in them stay behind; their names are told. Other people's archives have no such line, or another
text in its place: then nothing is known.
"""

import json
from collections.abc import Mapping
from typing import Any

from orlop.errors import Malformed
from orlop.model.value import dataclass
from orlop.model.volume import Volume, hide_secrets

_MARK = "orlop.volume/1 "


@dataclass(frozen=True, slots=True)
class VolumeDescription:
    name: str = ""
    driver: str = ""
    labels: Mapping[str, str] | None = None
    options: Mapping[str, str] | None = None
    omitted_options: tuple[str, ...] = ()  # names of those that hold a secret


def describe_volume(volume: Volume) -> VolumeDescription:
    options = volume.options or {}
    shown = hide_secrets(options)
    secret = tuple(key for key, value in options.items() if shown[key] != value)
    kept = None if volume.options is None else {key: value for key, value in options.items() if key not in secret}
    return VolumeDescription(volume.name, volume.driver, volume.labels, kept, secret)


def render_description(description: VolumeDescription) -> str:
    facts: dict[str, Any] = {"name": description.name, "driver": description.driver}
    if description.labels is not None:
        facts["labels"] = dict(description.labels)
    if description.options is not None:
        facts["options"] = dict(description.options)
    if description.omitted_options:
        facts["omitted_options"] = list(description.omitted_options)
    return _MARK + json.dumps(facts)


def parse_description(comment: str) -> VolumeDescription:
    """Raises Malformed for one of ours that is damaged."""
    if not comment.startswith(_MARK):
        return VolumeDescription()
    try:
        facts = json.loads(comment.removeprefix(_MARK))
        return VolumeDescription(
            _text(facts.get("name", "")),
            _text(facts.get("driver", "")),
            _texts(facts["labels"]) if "labels" in facts else None,
            _texts(facts["options"]) if "options" in facts else None,
            tuple(_text(name) for name in facts.get("omitted_options", [])),
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed("archive", f"what it says of its volume is damaged: {error}") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _texts(value: Mapping[str, object]) -> dict[str, str]:
    return {_text(key): _text(each) for key, each in value.items()}
