"""Drivers that others installed are found, and what is wrong with one of them is its own trouble."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.volumes import abilities, installed
from orlop.drivers.volumes.abilities import ABILITIES, Removal, Retirement
from orlop.drivers.volumes.driver import DriverContext, VolumeDriver
from orlop.drivers.volumes.installed import Installed, load_installed
from orlop.errors import HostFailure, NotFound, Unavailable
from support.installed import install

SHELF = """
from orlop.drivers.volumes.driver import StoredVolume
from orlop.errors import NotFound

class Shelf:
    name, scope = "shelf", "local"
    def __init__(self, context): self.context = context
    def check(self, name, options): pass
    def create(self, name, options, metadata): return StoredVolume(name, "", 1)
    def discard(self, name): raise KeyError(name)
    def get(self, name): raise NotFound(f"volume {name}", "there is none of that name")
    def list_volumes(self): return (each for each in ())
    def attach(self, name, use_id): raise OSError(5, "Input/output error")
    def detach(self, name, use_id): pass
    def remove(self, name): pass
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield tmp_path / "site"
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def load(place: Path, taken: tuple[str, ...] = ("local",)) -> Installed:
    def make_context(name: str) -> DriverContext:
        return DriverContext(name, place, place, dict, logging.getLogger(name))

    return load_installed(taken, make_context)


def test_an_installed_driver_is_made_with_its_context(site: Path) -> None:
    install(site, "shelf-volumes", {"shelf_volumes": SHELF}, {"shelf": "shelf_volumes:Shelf"})
    found = load(site)
    assert found.warnings == ()
    driver = found.drivers["shelf"]
    assert (driver.name, driver.scope) == ("shelf", "local")
    assert driver.create("data", {}, "").name == "data"
    assert isinstance(driver, Removal) and not isinstance(driver, Retirement), "the abilities that it has, and no other"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere' "),
        ("this is no python", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (SHELF.replace("self.context = context", "context.nothing"), "has no attribute 'nothing'"),
        (SHELF.replace("def detach", "def other"), "Shelf has no detach: every volume driver has name, scope, check"),
        (SHELF.replace('name, scope = "shelf"', 'name, scope = "other"'), "says that its name is 'other'"),
        (SHELF.replace('"local"', '"here"'), "says that its scope is 'here'"),
        ("class Other: ...", "has no attribute 'Shelf'"),
    ],
)
def test_a_broken_driver_is_named_with_its_package_and_its_volumes_are_unknown(
    site: Path, source: str, said: str
) -> None:
    install(site, "shelf-volumes", {"shelf_volumes": source}, {"shelf": "shelf_volumes:Shelf"})
    install(site, "sound-volumes", {"sound_volumes": SHELF.replace('"shelf"', '"sound"')},
            {"sound": "sound_volumes:Shelf"})  # fmt: skip
    found = load(site)
    (warning,) = found.warnings
    assert warning.startswith("volume driver shelf of shelf-volumes 1.0 is not loaded: ") and said in warning
    for ask in (found.drivers["shelf"].list_volumes, lambda: found.drivers["shelf"].get("data")):
        with pytest.raises(Unavailable, match="the volume driver shelf is not loaded: "):
            ask()
    found.drivers["shelf"].detach("data", "0" * 64)
    assert found.drivers["sound"].create("data", {}, "").name == "data"


def test_a_driver_that_never_comes_to_an_end_is_not_waited_for(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "LOAD_SECONDS", 0.2)
    source = "import threading\nthreading.Event().wait(30)\n"
    install(site, "slow-volumes", {"slow_volumes": source}, {"slow": "slow_volumes:Slow"})
    found = load(site)
    assert "slow of slow-volumes 1.0 is not loaded: it did not come to an end" in found.warnings[0]


def test_the_name_of_a_built_in_driver_is_refused(site: Path) -> None:
    install(site, "shelf-volumes", {"shelf_volumes": "raise SystemExit"}, {"local": "shelf_volumes:Shelf"})
    found = load(site)
    assert found.drivers == {}
    assert "local of shelf-volumes 1.0 is refused: a driver of that name is built in" in found.warnings[0]


def test_of_two_packages_with_one_name_neither_is_used(site: Path) -> None:
    for package in ("one-volumes", "two-volumes"):
        module = package.replace("-", "_")
        install(site, package, {module: SHELF}, {"shelf": f"{module}:Shelf"})
    found = load(site)
    assert "one-volumes 1.0" in found.warnings[0] and "two-volumes 1.0" in found.warnings[0]
    with pytest.raises(Unavailable, match="several packages"):
        found.drivers["shelf"].check("data", {})


def test_a_name_that_would_lead_out_of_the_root_is_refused(site: Path) -> None:
    install(site, "shelf-volumes", {"shelf_volumes": SHELF}, {"../shelf": "shelf_volumes:Shelf"})
    assert "letters, digits" in load(site).warnings[0]


def test_a_defect_becomes_an_error_with_the_drivers_name(site: Path) -> None:
    install(site, "shelf-volumes", {"shelf_volumes": SHELF}, {"shelf": "shelf_volumes:Shelf"})
    driver = load(site).drivers["shelf"]
    with pytest.raises(HostFailure, match=r"volume driver shelf: it failed in discard: KeyError: 'data' \(.*:10\)"):
        driver.discard("data")
    with pytest.raises(HostFailure, match="it answered list_volumes with generator, and not with a Sequence"):
        driver.list_volumes()
    with pytest.raises(NotFound):
        driver.get("data")
    with pytest.raises(OSError, match="Input/output error"):
        driver.attach("data", "0" * 64)


def test_nothing_is_imported_where_no_driver_is_installed(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "other-1.0.dist-info").mkdir(parents=True)
    (site / "other-1.0.dist-info/entry_points.txt").write_text("[console_scripts]\nother = other:main\n")
    monkeypatch.setattr(sys, "path", [str(site), str(tmp_path / "absent"), __file__])
    monkeypatch.setitem(sys.modules, "importlib.metadata", None)  # importing it would fail
    assert load(site) == Installed({})


def test_every_ability_of_the_contract_is_looked_for() -> None:
    assert {Removal, Retirement, abilities.Fleeting, abilities.LastingUses} <= set(ABILITIES)
    assert VolumeDriver not in ABILITIES and len(ABILITIES) > 15


def test_the_page_for_authors_names_every_ability() -> None:
    page = (Path(__file__).parents[4] / "docs/writing-a-driver.md").read_text()
    assert [each.__name__ for each in ABILITIES if f"`{each.__name__}`" not in page] == []
