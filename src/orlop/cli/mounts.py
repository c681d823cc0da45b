"""-v and --mount, as far as the command must read them: the daemon judges the rest."""

import os
from typing import Any

from orlop.cli.words import parse_bytes
from orlop.client.errors import ClientError

_KINDS = ("volume", "bind", "tmpfs", "image")
_TRUE = ("1", "true")
_FALSE = ("0", "false")


def parse_volume_flag(text: str) -> str:
    """`SOURCE:PATH[:MODE]` with a relative host path made absolute, or the path of an anonymous volume."""
    source, separator, rest = text.partition(":")
    return f"{_absolute(source)}:{rest}" if separator else text


def _absolute(source: str) -> str:
    """A host path written from here or from home; a volume's name and an absolute path stay. Links are not followed:
    that is the daemon's to do, when it mounts."""
    if source in (".", "..", "~") or source.startswith(("./", "../", "~/")):
        return os.path.abspath(os.path.expanduser(source))  # noqa: PTH100, PTH111 (see above)
    return source


class _Mount:
    """One --mount being read: the fields of the API, filled key by key."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.body: dict[str, Any] = {"Type": "volume"}
        self.id_mapping: dict[str, str] = {}

    def options(self, family: str) -> dict[str, Any]:
        found: dict[str, Any] = self.body.setdefault(family, {})
        return found

    def fail(self, why: str) -> ClientError:
        return ClientError(f"--mount {self.text!r}: {why}", 125)

    def switch(self, key: str, value: str | None) -> bool:
        if value is None or value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
        raise self.fail(f"{key}={value}: use true or false")

    def pair(self, key: str, value: str) -> tuple[str, str]:
        name, _, content = value.partition("=")
        if not name:
            raise self.fail(f"{key} needs NAME=VALUE")
        return name, content

    def set(self, key: str, value: str | None) -> None:
        """Raises ClientError for a key that is not known, or lacks its value."""
        if key in ("readonly", "ro"):
            self.body["ReadOnly"] = self.switch(key, value)
        elif key in ("volume-nocopy", "bind-nonrecursive", "bind-create-src"):
            family, field = _SWITCHES[key]
            self.options(family)[field] = self.switch(key, value)
        elif key in ("idmap", "bind-idmap", "volume-idmap"):
            self._set_id_mapping(value if value is not None else "match-user", key.partition("-")[0])
        elif value is None:
            raise self.fail(f"{key} needs a value: {key}=...")
        else:
            self._set_value(key, value)

    def _set_value(self, key: str, value: str) -> None:
        match key:
            case "type":
                if value.lower() not in _KINDS:
                    raise self.fail(f"type {value!r} is not one of {', '.join(_KINDS)}")
                self.body["Type"] = value.lower()
            case "source" | "src":
                self.body["Source"] = value
            case "target" | "dst" | "destination":
                self.body["Target"] = value
            case "consistency":
                self.body["Consistency"] = value
            case "bind-propagation":
                self.options("BindOptions")["Propagation"] = value
            case "bind-recursive":
                self._set_recursion(value)
            case "volume-subpath":
                self.options("VolumeOptions")["Subpath"] = value
            case "image-subpath":
                self.options("ImageOptions")["Subpath"] = value
            case "volume-driver":
                self.options("VolumeOptions").setdefault("DriverConfig", {})["Name"] = value
            case "volume-label" | "volume-opt":
                self._set_volume_pair(key, value)
            case "tmpfs-size":
                self.options("TmpfsOptions")["SizeBytes"] = parse_bytes(value, "tmpfs-size")
            case "tmpfs-mode":
                if not value or set(value) - set("01234567"):
                    raise self.fail("tmpfs-mode is octal, such as 1777")
                self.options("TmpfsOptions")["Mode"] = int(value, 8)
            case _:
                raise self.fail(f"unknown key {key!r}")

    def _set_volume_pair(self, key: str, value: str) -> None:
        name, content = self.pair(key, value)
        options = self.options("VolumeOptions")
        if key == "volume-label":
            options.setdefault("Labels", {})[name] = content
        else:
            options.setdefault("DriverConfig", {}).setdefault("Options", {})[name] = content

    def _set_id_mapping(self, value: str, kind: str) -> None:
        source, _, user = value.partition(":")
        self.id_mapping = {"Source": source, **({"User": user} if user else {})}
        if kind != "idmap":
            self.options(_FAMILIES[kind])

    def _set_recursion(self, value: str) -> None:
        fields = {
            "enabled": {},
            "disabled": {"NonRecursive": True},
            "writable": {"ReadOnlyNonRecursive": True},
            "readonly": {"ReadOnlyForceRecursive": True},
        }
        if value not in fields:
            raise self.fail(f"bind-recursive is one of {', '.join(fields)}")
        self.options("BindOptions").update(fields[value])


_FAMILIES = {"volume": "VolumeOptions", "bind": "BindOptions", "tmpfs": "TmpfsOptions", "image": "ImageOptions"}

_SWITCHES = {
    "volume-nocopy": ("VolumeOptions", "NoCopy"),
    "bind-nonrecursive": ("BindOptions", "NonRecursive"),
    "bind-create-src": ("BindOptions", "CreateMountpoint"),
}


def parse_mount(text: str) -> dict[str, Any]:
    """A --mount as the API's Mount. Raises ClientError."""
    mount = _Mount(text)
    for field in _split_csv(mount):
        key, separator, value = field.partition("=")
        mount.set(key.strip().lower(), value if separator else None)
    body = mount.body
    if not body.get("Target"):
        raise mount.fail("target is required")
    if mount.id_mapping:
        if body["Type"] not in ("bind", "volume"):
            raise mount.fail("idmap goes with type bind or volume")
        mount.options(_FAMILIES[body["Type"]])["IDMapping"] = mount.id_mapping
    for kind, family in _FAMILIES.items():
        if family in body and body["Type"] != kind:
            raise mount.fail(f"options of a {kind} do not go with type {body['Type']}")
    if body["Type"] == "bind" and "Source" in body:
        body["Source"] = _absolute(body["Source"])
    return body


def _split_csv(mount: _Mount) -> list[str]:
    """Fields between commas; a field in double quotes may hold commas, and quotes doubled."""
    fields = []
    rest = mount.text
    while True:
        if rest.startswith('"'):
            field, rest = _take_quoted(mount, rest[1:])
        else:
            field, comma, after = rest.partition(",")
            rest = comma + after
        fields.append(field)
        if not rest:
            return fields
        if not rest.startswith(","):
            raise mount.fail("after a closing quote comes a comma")
        rest = rest[1:]


def _take_quoted(mount: _Mount, rest: str) -> tuple[str, str]:
    field = ""
    while True:
        part, quote, rest = rest.partition('"')
        if not quote:
            raise mount.fail("a quote is not closed")
        field += part
        if not rest.startswith('"'):
            return field, rest
        field += '"'
        rest = rest[1:]
