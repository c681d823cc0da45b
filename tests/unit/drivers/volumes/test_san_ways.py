"""Which way to a device a volume takes."""

from pathlib import Path

import pytest

from orlop.drivers.volumes import open_iscsi, san_nbd
from orlop.drivers.volumes.san_chain import SanChain
from orlop.drivers.volumes.san_nbd import SanNbd
from orlop.drivers.volumes.san_options import parse_san_options
from orlop.drivers.volumes.san_session import SanSession
from orlop.drivers.volumes.san_ways import chains_for, places, present_chain
from orlop.errors import Unsupported

ISCSI = {"portal": "10.0.0.5", "target": "iqn.2026-11.test:disk1", "lun": "1"}
NBD = {"protocol": "nbd", "host": "10.0.0.5"}


@pytest.fixture(params=["", "the kernel has none"])
def why(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for module in (open_iscsi, san_nbd):
        monkeypatch.setattr(module, "why_not_here", lambda: request.param)
    return str(request.param)


def ways(run: Path, options: dict[str, str]) -> list[type]:
    return [type(chain) for chain in chains_for(run, "id", None, "trying", parse_san_options("trying", options))]


@pytest.mark.parametrize(("options", "by_kernel"), [(ISCSI, SanSession), (NBD, SanNbd)])
def test_it_is_the_kernel_first_where_there_is_one(
    tmp_path: Path, why: str, options: dict[str, str], by_kernel: type
) -> None:
    assert ways(tmp_path, options) == ([SanChain] if why else [by_kernel, SanChain])
    assert ways(tmp_path, {**options, "via": "userspace"}) == [SanChain]
    if not why:
        assert ways(tmp_path, {**options, "via": "kernel"}) == [by_kernel]
        return
    with pytest.raises(Unsupported, match="via=kernel: the kernel has none"):
        ways(tmp_path, {**options, "via": "kernel"})


def test_what_is_attached_stays_with_its_way(tmp_path: Path) -> None:
    assert isinstance(present_chain(tmp_path, "id"), SanChain)
    for folder, kind in (("nbd", SanNbd), ("sessions", SanSession)):
        (tmp_path / folder / "id").mkdir(parents=True)
        assert isinstance(present_chain(tmp_path, "id"), kind)
    (tmp_path / "leases" / "other").mkdir(parents=True)
    assert places(tmp_path) == {"id"}
