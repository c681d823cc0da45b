"""The rules of the house that a machine can hold: who may import whom, how names are spelt, how big a room may get.

    cli -> client                          (and, to start it, daemon.main, .recover, .lend, .lent_secrets)
         -> testing.driver_run          (orlop driver-test)
    docker -> engine -> planning, drivers' contracts, store, foreign, archive, kernel -> model -> errors
    drivers.<family> -> its own contract, model, kernel, archive, store.files, store.trees
    daemon.assemble -> everyone: the composition root

The rules are one table below; each rule is also shown a piece of code that breaks it, so that none can fall asleep.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

# Rooms a module may import from. "contracts" stands for drivers.<family>.driver and .abilities, "family" for the
# driver's own folder.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "planning": {"model", "errors", "contracts"},
    "kernel": {"model", "errors"},
    "archive": {"kernel", "model", "errors", "store.files"},
    "store": {"archive", "kernel", "model", "errors"},
    "drivers": {"family", "archive", "kernel", "model", "errors", "store.files", "store.trees"},
    "foreign": {"kernel", "model", "errors"},
    "cluster": {"store.files", "kernel", "model", "errors"},
    "engine": {"planning", "contracts", "cluster.contract", "store", "foreign", "archive", "kernel", "model", "errors"},
    "docker": {"engine", "planning", "contracts", "store", "archive", "kernel", "model", "errors"},
    "client": {"model", "errors"},
    "cli": {
        "client",
        "model",
        "errors",
        "daemon.main",
        "daemon.recover",
        "daemon.lend",
        "daemon.lent_secrets",
        "testing.driver_run",
        "testing.driver_target",
    },
    "__main__": {"cli"},
    "testing": {"contracts", "store.files", "archive", "kernel", "model", "errors"},
    "daemon": {"cluster", "engine", "docker", "planning", "contracts", "store", "archive", "kernel", "model", "errors"},
}
# The second one looks at the host for the first, while that is still being imported.
COMPOSITION_ROOTS = {"orlop.daemon.assemble", "orlop.daemon.probes"}

# `model` says what things are: no I/O, no clock, no randomness.
NOT_IN_MODEL = {
    *("os", "io", "shutil", "tempfile", "glob", "socket", "subprocess", "signal", "sqlite3", "fcntl", "stat", "mmap"),
    *("time", "random", "secrets", "uuid", "threading", "asyncio", "logging", "ctypes", "urllib", "http"),
}

# Fields of Docker's HTTP bodies; the table that turns them into ours stands in docker/ alone (the client speaks to it).
SPELT_BY_DOCKER = {
    *("HostConfig", "NetworkingConfig", "NetworkSettings", "Binds", "VolumesFrom", "PortBindings", "NetworkMode"),
    *("AutoRemove", "RestartPolicy", "DriverOpts", "Mountpoint", "GraphDriver", "VolumesDeleted", "SpaceReclaimed"),
    *("ContainersDeleted", "ExecIDs", "CapAdd", "CapDrop", "ReadonlyRootfs", "SecurityOpt", "NanoCpus", "UsageData"),
    *("RestartCount", "ResolvConfPath", "DetachKeys", "VolumeOptions", "BindOptions", "TmpfsOptions"),
}
BELOW_DOCKER = {"errors", "model", "planning", "kernel", "archive", "store", "foreign", "drivers", "cluster", "engine"}

NO_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc)$")
LINES_WANTED, LINES_ALLOWED = 450, 470


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted((SOURCE / "orlop").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path.read_text()


def imported(module: str, tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imports, also those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_allowed(module: str, target: str) -> bool:
    own, wanted = module.split("."), target.split(".")
    if module in COMPOSITION_ROOTS or len(own) == 1 or len(wanted) == 1 or wanted[1].startswith("__"):
        return True
    room, other = own[1], wanted[1]
    allowed = MAY_IMPORT.get(room)
    if allowed is None:
        return False
    if other == "drivers":
        if room == "drivers":
            return wanted[2:3] == own[2:3]
        return "contracts" in allowed and len(wanted) > 3 and wanted[3] in ("driver", "abilities")
    if other == room or other in allowed:
        return True
    return len(wanted) > 2 and f"{other}.{wanted[2]}" in allowed


def docstrings(tree: ast.AST) -> set[int]:
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def broken_rules(module: str, source: str) -> list[str]:
    """Each rule that this module breaks, in words."""
    tree = ast.parse(source)
    room = module.split(".")[1] if "." in module else ""
    broken = []
    for target in imported(module, tree):
        top = target.split(".")[0]
        if top == "orlop" and not is_allowed(module, target):
            broken.append(f"{module} imports {target}")
        if room == "model" and top in NOT_IN_MODEL:
            broken.append(f"{module} imports {target}: model does no I/O and knows no clock")
        if room == "model" and target in ("pathlib.Path", "pathlib"):
            broken.append(f"{module} imports {target}: model may use PurePosixPath only")
        if top == "ctypes" and room != "kernel":
            broken.append(f"{module} imports ctypes: kernel/ alone does")
    if room in BELOW_DOCKER:
        prose = docstrings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in SPELT_BY_DOCKER and id(node) not in prose:
                broken.append(f"{module} spells {node.value!r} as Docker does: translate it in docker/")
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_camel(node.target.id):
                broken.append(f"{module} names a field {node.target.id}: fields are spelt in lower case below docker/")
    if any(NO_NAMES.search(part) for part in module.split(".")):
        broken.append(f"{module}: a module is named for the thing it is about")
    lines = source.count("\n")
    if lines > LINES_ALLOWED:
        broken.append(f"{module} has {lines} lines: past {LINES_WANTED} it is two things")
    return broken


def is_camel(name: str) -> bool:
    """`RestartPolicy`, not `Mapping` as an alias, `T` or `LIMIT`: two humps."""
    return bool(re.fullmatch(r"(?:[A-Z][a-z0-9]+){2,}", name))


@pytest.mark.parametrize(("module", "source"), [pytest.param(*item, id=item[0]) for item in modules()])
def test_module_keeps_the_rules(module: str, source: str) -> None:
    assert not broken_rules(module, source)
    if source.count("\n") > LINES_WANTED:
        warnings.warn(f"{module} is past {LINES_WANTED} lines: is it one thing?", stacklevel=1)


def test_every_room_has_rules() -> None:
    rooms = {module.split(".")[1] for module, _ in modules() if "." in module}
    assert rooms <= {*MAY_IMPORT}, "add the room to MAY_IMPORT (and to docs/architecture.md)"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("orlop.engine.volumes", "from orlop.drivers.volumes.local import LocalVolumes"),
        ("orlop.engine.volumes", "from orlop.drivers.volumes import local"),
        ("orlop.engine.volumes", "def f():\n    import orlop.docker.wire"),
        ("orlop.drivers.volumes.local", "from orlop.engine.events import Events"),
        ("orlop.drivers.volumes.local", "from orlop.store.journal import Journal"),
        ("orlop.drivers.volumes.local", "from orlop.drivers.layers.driver import LayerDriver"),
        ("orlop.drivers.volumes.local", "from ..layers import driver"),
        ("orlop.docker.routes", "from orlop.drivers.runtimes.oci import OciRuntime"),
        ("orlop.model.volume", "import os"),
        ("orlop.model.volume", "from time import time"),
        ("orlop.model.volume", "from pathlib import Path"),
        ("orlop.model.volume", "from orlop.planning.plan import Plan"),
        ("orlop.errors", "from orlop.model.volume import Volume"),
        ("orlop.cli.main", "from orlop.engine.volumes import Volumes"),
        ("orlop.client.api", "from orlop.docker import wire"),
        ("orlop.daemon.config", "from orlop.drivers.volumes.local import LocalVolumes"),
        ("orlop.planning.containers", "from orlop.engine import faults"),
        ("orlop.store.files", "import ctypes"),
        ("orlop.engine.containers", "wish['HostConfig']['x']"),
        ("orlop.engine.containers", "class C:\n    RestartPolicy: str"),
        ("orlop.engine.utils", ""),
        ("orlop.engine.path_helpers", ""),
        ("orlop.attic.thing", "from orlop.model import volume"),
        ("orlop.engine.big", "x = 1\n" * (LINES_ALLOWED + 1)),
    ],
)
def test_a_broken_rule_is_noticed(module: str, source: str) -> None:
    assert broken_rules(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "orlop.engine.volumes",
            "from orlop.drivers.volumes.driver import VolumeDriver\nfrom orlop.store import files",
        ),
        ("orlop.drivers.volumes.local", "from orlop.drivers.volumes.driver import StoredVolume"),
        ("orlop.drivers.volumes.local", "from orlop.store.files import write_durably"),
        ("orlop.drivers.volumes.local", "from orlop.store import files"),
        ("orlop.daemon.assemble", "from orlop.drivers.volumes.local import LocalVolumes"),
        ("orlop.docker.translate", "wish['HostConfig']"),
        ("orlop.model.mount", "from pathlib import PurePosixPath"),
        ("orlop.cli.daemon", "from orlop.daemon.main import main"),
        ("orlop.engine.x", "from orlop import __version__"),
        ("orlop.planning.x", '"""Turns HostConfig."""'),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert not broken_rules(module, source)
