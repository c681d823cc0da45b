"""What qemu-nbd is asked for."""

import json

from orlop.drivers.volumes.san_nbd import nbd_command
from orlop.drivers.volumes.san_options import parse_san_options

NBD = {"protocol": "nbd", "host": "fd00::5", "export": "a,b=c"}


def argv(**more: str) -> tuple[str, ...]:
    return nbd_command(parse_san_options("trying", {**NBD, **more}), "qemu-nbd", "nbd3").argv


def test_it_stays_with_its_keeper_and_waits_for_a_server_that_is_away() -> None:
    found = argv()
    assert found[:4] == ("qemu-nbd", "-v", "-c", "/dev/nbd3")  # without -v it goes to the background
    node = json.loads(found[-1].removeprefix("json:"))
    assert node["file"]["export"] == "a,b=c" and node["file"]["server"]["host"] == "fd00::5"
    assert node["file"]["reconnect-delay"] > 3600


def test_what_is_only_read_is_opened_so_and_discards_go_where_they_are_wanted() -> None:
    assert "-r" in argv(**{"read-only": "true"}) and "-r" not in argv()
    assert "--discard=ignore" in argv(discard="no") and "--discard=unmap" in argv()
