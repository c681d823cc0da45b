"""The driver that `orlop driver-test` is asked to try: a class of a module, and what it is made with."""

import importlib
import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from pathlib import Path
from types import ModuleType
from typing import Any

from orlop.drivers.volumes.driver import DriverContext, VolumeDriver, members_of, why_no_driver
from orlop.errors import HostFailure, Malformed, NotFound
from orlop.model.secret import resolve_secrets
from orlop.model.value import dataclass

Make = Callable[[DriverContext], Any]

TRAITS: Mapping[str, str] = {
    "memory": "outlives_its_uses",
    "elsewhere": "holds_its_bytes",
    "no-undo": "undoes_creation",
}


@dataclass(frozen=True, slots=True)
class Target:
    """`make` is the class, or whatever the entry point will name; `file` is where it stands."""

    make: Make
    file: str
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    traits: Collection[str] = ()

    def options_of(self, name: str) -> dict[str, str]:
        """`{name}` in a value stands for the volume's name."""
        return {key: value.replace("{name}", name) for key, value in self.options.items()}

    def open(self, place: Path) -> VolumeDriver:
        """As a daemon that starts makes it. Raises HostFailure where it gives no driver."""
        name = getattr(self.make, "name", "")
        name = name if isinstance(name, str) and name else "tried"
        data, run = place / "data", place / "run"
        for folder in (data, run):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = logging.getLogger(f"orlop.volume_drivers.{name}")
        made = self.make(DriverContext(name, data, run, self._resolve, log))
        why = why_no_driver(made)
        if why:
            raise HostFailure(f"driver of {self.file}", why)
        driver: VolumeDriver = made
        return driver

    def _resolve(self, options: Mapping[str, str]) -> dict[str, str]:
        return resolve_secrets(options, self._secret)

    def _secret(self, name: str) -> str:
        if name not in self.secrets:
            raise NotFound(f"secret {name}", "there is none of that name", f"Give one: --secret {name}=FILE")
        return self.secrets[name]


def find_make(words: str) -> tuple[Make, str]:
    """MODULE[:CLASS], or FILE.py[:CLASS], and the file. Raises NotFound, Malformed, HostFailure."""
    module_name, _, attribute = words.partition(":")
    module = _load(module_name)
    make = _named(module, attribute) if attribute else _only(module)
    return make, str(module.__file__ or module_name)


def _load(name: str) -> ModuleType:
    subject = f"module {name}"
    if not name:
        raise Malformed("orlop driver-test", "no module is named", "For example: orlop driver-test my_package.shelf")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does
    try:
        return _load_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name
            and (name == error.name or name.startswith(error.name))
        ):
            hint = "Install its package, or start from the folder that it is in; or name its file"
            raise NotFound(subject, "there is no such module", hint) from error
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise HostFailure(subject, f"importing it failed: {type(error).__name__}: {error}{where}") from error


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # its name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _named(module: ModuleType, attribute: str) -> Make:
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if callable(found):
        make: Make = found
        return make
    raise NotFound(f"driver {module.__name__}:{attribute}", "there is nothing of that name that can be called")


def _only(module: ModuleType) -> Make:
    """The class of the module that has every method of a driver."""
    wanted = [member for member in members_of(VolumeDriver) if member not in ("name", "scope")]
    own = [each for _, each in inspect.getmembers(module, inspect.isclass) if each.__module__ == module.__name__]
    drivers = [each for each in own if all(hasattr(each, member) for member in wanted)]
    if len(drivers) == 1:
        make: Make = drivers[0]
        return make
    if drivers:
        names = ", ".join(each.__name__ for each in drivers)
        raise Malformed(f"module {module.__name__}", f"several classes are drivers: {names}", "Say which: MODULE:CLASS")
    missing = {each.__name__: [member for member in wanted if not hasattr(each, member)] for each in own}
    nearest = min(missing, key=lambda name: len(missing[name]), default="")
    why = "no class in it is a volume driver"
    if nearest and len(missing[nearest]) < len(wanted):
        why += f"; {nearest} has no {', '.join(missing[nearest])}"
    hint = "Every driver has " + ", ".join(members_of(VolumeDriver)) + ". A function that makes one: MODULE:FUNCTION"
    raise NotFound(f"module {module.__name__}", why, hint)
