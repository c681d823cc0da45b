"""Is the house in order? What the journal says, what lies on disk and what the kernel has, held against each other."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from support.asking import ask
from support.daemon import LiveDaemon


def disorder(daemon: LiveDaemon) -> list[str]:
    """Everything that does not fit, in words; empty when all is well. Asked while the daemon is running and idle."""
    records, told = _settled_records(daemon)
    containers, layers, volumes = records["containers"], records["layers"], records["volumes"]
    root = daemon.data_root
    found = [
        f"unfinished: {item['plan']['operation']} {item['plan']['subject']}" for item in records["operations"].values()
    ]
    noted = _states(records)
    if told != noted:
        found.append(f"states of containers are told as {told}, the journal has {noted}")

    image_layers = {item["id"] for item in layers.values()}
    writable = {item["layer_id"] for item in containers.values()}
    known = image_layers | writable | {f"{layer}-init" for layer in writable}
    on_disk = _visible(root / "overlay2") - {"l"}
    found += _difference("layer folder", known, on_disk)
    links = set(_link_targets(root / "overlay2" / "l"))
    found += _difference("short link of layer", known, links)
    found += _difference("recipe", image_layers, {Path(name).stem for name in _names(root / "orlop" / "recipes")})
    needed = {layer for image in records["images"].values() for layer in image["diff_ids"]}
    found += _difference("diff id", needed, {item["diff_id"] for item in layers.values()})
    found += [
        f"tag of no image: {tag['reference']}"
        for tag in records["tags"].values()
        if tag["image_id"] not in records["images"]
    ]

    found += _difference("container folder", set(containers), _names(root / "containers"))
    ours = {name: volume for name, volume in volumes.items() if volume["driver"] == "local"}
    found += _difference("volume folder", set(ours), _visible(root / "volumes"))
    found += _untold(root / "volumes", ours)
    found += [
        f"record of retired volume {retired_id} is not the journal's"
        for retired_id, record in records["retired"].items()
        if _read_json(root / "volumes/.retired" / retired_id / "retired.json") != record
    ]
    found += _difference("retired folder", set(records["retired"]), _names(root / "volumes" / ".retired"))
    uses = {(use["volume"], use["container_id"]) for use in records["uses"].values()}
    wanted = {
        (mount["volume"], item["id"])
        for item in containers.values()
        for mount in item["mounts"]
        if mount["kind"] == "volume"
    }
    found += _difference("hold", {f"{v} by {c}" for v, c in wanted}, {f"{v} by {c}" for v, c in uses})
    found += [f"left in incoming: {name}" for name in _names(root / "orlop" / "incoming")]
    found += [f"left in staging: {name}" for name in _names(root / "volumes" / ".staging")]
    found += [f"left in mounts: {name}" for name in _names(daemon.exec_root / "mounts")]
    enabled = {plugin["id"] for plugin in records["plugins"].values() if plugin["enabled"]}
    found += _plugins(daemon, records["plugins"], enabled)
    found += _kernel(daemon, containers, enabled)
    found += _attached(root / "volumes", containers, volumes)
    return found


def _plugins(daemon: LiveDaemon, plugins: dict[str, Any], enabled: set[str]) -> list[str]:
    root, run = daemon.data_root / "plugins", daemon.exec_root / "managed/runtime"
    found = _difference("plugin folder", set(plugins), _names(root) - {"blobs", "kept"})
    for plugin in plugins.values():
        here = {name for name in _names(root / plugin["id"]) if name.startswith("rootfs")}
        found += _difference(f"in plugin {plugin['name']}: root", {f"rootfs.{plugin['version']}"}, here)
    needed = {
        digest.removeprefix("sha256:")
        for plugin in plugins.values()
        for digest in (plugin["config_digest"], plugin["manifest_digest"], *plugin["layers"])
    }
    found += _difference("plugin blob", needed, _names(root / "blobs"))
    for part in ("containers", "state"):
        there = {entry.name for place in run.glob(f"*/{part}") for entry in place.iterdir()}
        found += _difference(f"plugin in the runtime's {part}", enabled, there)
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = {Path(line.split()[4]).parent.name for line in lines if line.split()[4].endswith("/propagated-mount")}
    return found + _difference("mount of plugin", enabled & mounted, mounted & set(plugins))


def _attached(root: Path, containers: dict[str, Any], volumes: dict[str, Any]) -> list[str]:
    """What is mounted on volumes, and who is noted as using it, against what running containers have."""
    has_content_mounted = {name for name in volumes if (root / name / "disk.img").exists()}
    has_content_mounted |= {name for name, volume in volumes.items() if "type" in (volume["options"] or {})}
    wanted = {
        mount["volume"]
        for item in containers.values()
        for mount in item["mounts"]
        if mount["kind"] == "volume" and item["status"]["state"] in ("running", "paused")
    }
    points = {Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    mounted = {name for name in volumes if root / name / "_data" in points}
    noted = {name for name in volumes if _names(root / name / "uses")}
    expected = wanted & has_content_mounted
    return _difference("mounted volume", expected, mounted) + _difference("use of volume", expected, noted)


def _untold(root: Path, volumes: dict[str, Any]) -> list[str]:
    """Volumes whose record beside the data says something else than the journal (where it lies is the journal's)."""

    def told(record: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in record.items() if key not in ("mountpoint", "problem")}

    found = []
    for name, record in volumes.items():
        beside = _read_json(root / name / "orlop.json")
        if told(beside) != told(record):
            found.append(f"record beside volume {name} says {beside}, the journal {record}")
    return found


def _settled_records(daemon: LiveDaemon) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """And the states of containers as the daemon tells them. What is made and removed is marked until the disk has it,
    a moment later; a mark that stays is an operation that is unfinished. The end of a container, which a start finds
    out again by itself, is in the journal a moment after it was told."""
    deadline = time.monotonic() + 5
    while True:
        told = {each["Id"]: each["State"] for each in json.loads(ask(daemon, "GET /containers/json?all=1")[2])}
        records = _records(daemon)
        if (not records["operations"] and told == _states(records)) or time.monotonic() > deadline:
            return records, told
        time.sleep(0.05)


def _states(records: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {container_id: item["status"]["state"] for container_id, item in records["containers"].items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    except FileNotFoundError:
        return {}


def _kernel(daemon: LiveDaemon, containers: dict[str, Any], enabled: set[str]) -> list[str]:
    running = {item["id"]: item for item in containers.values() if item["status"]["state"] in ("running", "paused")}
    mounted = {
        Path(line.split()[4])
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if line.split()[4].startswith(f"{daemon.data_root}/overlay2/")
    }
    expected = {daemon.data_root / "overlay2" / item["layer_id"] / "merged" for item in running.values()}
    found = _difference("mount", {str(path) for path in expected}, {str(path) for path in mounted})
    on_bridge = {item["id"] for item in running.values() if item["host"]["network_mode"] in ("default", "bridge")}
    found += _difference("network namespace", on_bridge, _names(daemon.exec_root / "netns"))
    supervised = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0].endswith("conmon") and any(str(daemon.exec_root) in word for word in words):
                supervised.add(words[words.index("--cid") + 1] if "--cid" in words else words[words.index("-c") + 1])
    return found + _difference("supervisor", set(running) | enabled, supervised)


def _records(daemon: LiveDaemon) -> dict[str, dict[str, Any]]:
    kinds = ("containers", "images", "layers", "tags", "volumes", "retired", "uses", "operations", "plugins")
    with closing(sqlite3.connect(f"file:{daemon.data_root}/orlop/journal.db?mode=ro", uri=True)) as database:
        return {
            kind: {row[0]: json.loads(row[1]) for row in database.execute(f"SELECT id, record FROM {kind}")}
            for kind in kinds
        }


def _link_targets(directory: Path) -> Iterator[str]:
    for link in directory.iterdir():
        with suppress(FileNotFoundError):  # it went while we looked
            yield link.readlink().parts[1]


def _names(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))
    except FileNotFoundError:
        return set()


def _visible(directory: Path) -> set[str]:
    return {name for name in _names(directory) if not name.startswith(".")}


def _difference(what: str, wanted: set[str], found: set[str]) -> list[str]:
    return [f"{what} missing: {item}" for item in sorted(wanted - found)] + [
        f"{what} of nobody: {item}" for item in sorted(found - wanted)
    ]
