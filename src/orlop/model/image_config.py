"""The configuration file of an image: JSON as the OCI image specification and Docker spell it, to and from values.

An image's id is the digest of these very bytes, so a file that came from outside is kept as it came and only read
here; what Orlop renders itself is written once and kept. Reading forgives what real tools write (null where a list or
an object belongs) and refuses what no tool writes (a number where a text belongs).
"""

import json
from collections.abc import Mapping
from typing import Any

from orlop.errors import Malformed
from orlop.model.image import ImageConfig
from orlop.model.value import dataclass


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True)
class ConfigFile:
    config: ImageConfig = ImageConfig()
    diff_ids: tuple[str, ...] = ()  # bottom first
    history: tuple[HistoryEntry, ...] = ()  # oldest first
    created: str = ""
    architecture: str = ""
    variant: str = ""
    os: str = ""
    author: str = ""
    comment: str = ""


def parse_json(raw: str | bytes, what: str) -> Any:
    """Raises Malformed, naming `what`, for text that is no JSON or is nested out of all reason."""
    try:
        value = json.loads(raw.decode() if isinstance(raw, bytes) else raw)
        # Half of a surrogate pair is legal JSON and can be neither stored nor handed to a process.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise Malformed(what, "it is nested too deeply") from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, an integer of thousands of digits
        raise Malformed(what, f"it is not valid JSON: {error}") from error
    return value


def parse_config_file(raw: str | bytes, what: str = "image configuration") -> ConfigFile:
    """Raises Malformed naming `what` and the field."""
    root = Fields(parse_json(raw, what), what)
    rootfs = root.object("rootfs")
    config = root.object("config")
    return ConfigFile(
        config=parse_image_config(config),
        diff_ids=rootfs.texts("diff_ids") or (),
        history=tuple(_parse_history(item) for item in root.objects("history")),
        created=root.text("created"),
        architecture=root.text("architecture"),
        variant=root.text("variant"),
        os=root.text("os"),
        author=root.text("author"),
        comment=root.text("comment"),
    )


def parse_image_config(fields: "Fields") -> ImageConfig:
    healthcheck = fields.value("Healthcheck")
    return ImageConfig(
        env=fields.texts("Env") or (),
        entrypoint=fields.texts("Entrypoint"),
        command=fields.texts("Cmd"),
        user=fields.text("User"),
        workdir=fields.text("WorkingDir"),
        volumes=fields.keys("Volumes"),
        exposed_ports=fields.keys("ExposedPorts"),
        labels=fields.text_map("Labels"),
        stop_signal=fields.text("StopSignal"),
        shell=fields.texts("Shell") or (),
        on_build=fields.texts("OnBuild") or (),
        healthcheck="" if healthcheck is None else json.dumps(healthcheck, separators=(",", ":"), ensure_ascii=False),
    )


def render_config_file(file: ConfigFile) -> str:
    """Deterministic: the same value gives the same bytes, hence the same image id."""
    document: dict[str, Any] = {
        "architecture": file.architecture,
        "author": file.author,
        "comment": file.comment,
        "config": render_image_config(file.config),
        "created": file.created,
        "history": [_render_history(entry) for entry in file.history],
        "os": file.os,
        "rootfs": {"type": "layers", "diff_ids": list(file.diff_ids)},
        "variant": file.variant,
    }
    for optional in ("author", "comment", "variant"):
        if not document[optional]:
            del document[optional]
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def render_image_config(config: ImageConfig) -> dict[str, Any]:
    """The object under "config", empty fields left out where the specification allows it."""
    document: dict[str, Any] = {
        "Env": list(config.env),
        "Cmd": None if config.command is None else list(config.command),
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
    }
    optional: dict[str, Any] = {
        "User": config.user,
        "WorkingDir": config.workdir,
        "Volumes": {path: {} for path in config.volumes},
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
        "Shell": list(config.shell),
        "OnBuild": list(config.on_build),
        "Healthcheck": json.loads(config.healthcheck) if config.healthcheck else None,
    }
    return document | {key: value for key, value in optional.items() if value}


def _parse_history(fields: "Fields") -> HistoryEntry:
    return HistoryEntry(
        created=fields.text("created"),
        created_by=fields.text("created_by"),
        author=fields.text("author"),
        comment=fields.text("comment"),
        empty_layer=fields.flag("empty_layer"),
    )


def _render_history(entry: HistoryEntry) -> dict[str, Any]:
    document: dict[str, Any] = {"created": entry.created}
    for key in ("created_by", "author", "comment"):
        if value := getattr(entry, key):
            document[key] = value
    if entry.empty_layer:
        document["empty_layer"] = True
    return document


class Fields:
    """A JSON object read field by field; null and absent are the same, any other type than the wanted is Malformed."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, dict):
            raise Malformed(what, "it is not a JSON object")
        self._values: Mapping[str, Any] = value
        self.what = what

    def value(self, key: str) -> Any:
        return self._values.get(key)

    def object(self, key: str) -> "Fields":
        value = self._values.get(key)
        return Fields({} if value is None else value, f"{self.what}: {key}")

    def objects(self, key: str) -> list["Fields"]:
        return [Fields(item, f"{self.what}: {key}[{index}]") for index, item in enumerate(self._list(key))]

    def text(self, key: str) -> str:
        value = self._values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "text")
        return value or ""

    def flag(self, key: str) -> bool:
        value = self._values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return bool(value)

    def number(self, key: str) -> int:
        value = self._values.get(key)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, "a whole number")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """None when absent: for a command that differs from an empty list."""
        if self._values.get(key) is None:
            return None
        items = self._list(key)
        if not all(isinstance(item, str) for item in items):
            raise self._wrong(key, "a list of texts")
        return tuple(items)

    def text_map(self, key: str) -> dict[str, str]:
        value = self._values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self._wrong(key, "an object of texts")
        return dict(value)

    def keys(self, key: str) -> tuple[str, ...]:
        """The keys of a set spelt as an object: {"80/tcp": {}}."""
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return tuple(sorted(value))

    def _list(self, key: str) -> list[Any]:
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def _wrong(self, key: str, wanted: str) -> Malformed:
        return Malformed(self.what, f"{key} must be {wanted}")
