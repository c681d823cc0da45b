"""overlay2 and vfs show the same tree for the same layers: one lets the kernel merge, the other copies and removes."""

import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.archive.source import ArchiveSource
from orlop.drivers.layers.driver import LayerDriver
from orlop.drivers.layers.overlay2 import Overlay2Layers
from orlop.drivers.layers.vfs import VfsLayers
from orlop.errors import Malformed
from orlop.testing.archives import TestMember, make_tar
from orlop.testing.layer_scenes import new_id, snapshot

KINDS = [tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]
names = st.sampled_from(["a", "a", "b", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@st.composite
def members(draw: st.DrawFn) -> TestMember:
    kind = draw(st.sampled_from(KINDS))
    data = draw(st.sampled_from([b"1", b"2"])) if kind == tarfile.REGTYPE else b""
    link = draw(paths) if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    return TestMember(draw(paths), data, kind, draw(st.sampled_from([0o755, 0o1700])), link=link)


layers = st.lists(members(), max_size=8)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, needs_root: None) -> Path:
    return tmp_path_factory.mktemp("layers")


def shown(driver: LayerDriver, layers: list[list[TestMember]], scratch: Path) -> dict[str, object] | None:
    """The merged tree and its changes against the image; None for layers that are refused."""
    parent = ""
    made = []
    try:
        for chosen in layers:
            layer_id = new_id()
            driver.create(layer_id, parent)
            made.append(layer_id)
            (scratch / "t").write_bytes(make_tar(*chosen))
            driver.apply(layer_id, ArchiveSource(scratch / "t"), scratch / "recipe")
            parent = layer_id
        layer_id = new_id()
        driver.create_writable(layer_id, parent)
        made.append(layer_id)
        root = driver.mount(layer_id)
        try:
            assert list(driver.changes(layer_id)) == []
            found = snapshot(root)
        finally:
            driver.unmount(layer_id)
    except Malformed:
        return None
    finally:
        for layer_id in made:
            driver.remove(layer_id)
    # An overlay counts a file's names of other layers too.
    return {path: (*facts[:5], facts[6]) for path, facts in found.items()}  # type: ignore[index]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(layers, min_size=1, max_size=3))
def test_both_drivers_show_the_same_tree(disk: Path, stack: list[list[TestMember]]) -> None:
    place = disk / secrets.token_hex(4)
    makers: list[Callable[[Path], LayerDriver]] = [Overlay2Layers, VfsLayers]
    drivers = [make(place / name) for make, name in zip(makers, ("overlay2", "vfs"), strict=True)]
    one, other = (shown(driver, stack, place) for driver in drivers)
    assert one == other
    for driver in drivers:
        driver.cleanup()
