"""What stands beside a volume's data is what the journal says, after everything that can be done to a volume: so that
nothing is lost with the journal."""

import json
from collections.abc import Callable

import pytest

from crash.house import disorder
from support.bolt_files import write_database
from support.daemon import LiveDaemon


@pytest.fixture(scope="module")
def daemon(our_daemon: LiveDaemon) -> LiveDaemon:
    return our_daemon


def make(daemon: LiveDaemon, *options: str) -> None:
    daemon.docker("volume", "create", "--label", "a=1", *options, "data")
    (daemon.volume_data("data") / "note").write_text("kept\n")


def in_a_container(daemon: LiveDaemon) -> None:
    daemon.docker("create", "--name", "user", "-v", "data:/d", "-v", "/anonymous", "-v", "other:/o", "busybox", "true")


def restore_as_another(daemon: LiveDaemon) -> None:
    make(daemon)
    daemon.docker("volume", "rm", "data")
    assert disorder(daemon) == []
    daemon.orlop("volume", "restore", "data", "--as", "back")


def rename_and_back(daemon: LiveDaemon) -> None:
    make(daemon)
    daemon.orlop("volume", "rename", "data", "other")
    assert disorder(daemon) == []
    daemon.orlop("volume", "rename", "other", "third", "--no-alias")
    assert disorder(daemon) == []
    daemon.docker("volume", "rm", "data")  # lets go of the name that it had
    assert disorder(daemon) == []
    daemon.orlop("volume", "rename", "third", "data")


def update(daemon: LiveDaemon) -> None:
    make(daemon)
    daemon.orlop("volume", "update", "data", "--label", "b=2", "--label-rm", "a", "--opt", "o=uid=5")
    assert disorder(daemon) == []
    daemon.orlop("volume", "update", "data", "--opt-rm", "o")


def copy(daemon: LiveDaemon) -> None:
    make(daemon)
    daemon.orlop("volume", "cp", "data", "second")


def export_and_import(daemon: LiveDaemon) -> None:
    make(daemon)
    archive = daemon.home / "data.tar"
    daemon.orlop("volume", "export", "data", "-o", archive)
    daemon.orlop("volume", "import", "second", archive)


def copy_up(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--rm", "--network", "none", "-v", "seeded:/etc", "busybox", "true")


def taken_in_by_create(daemon: LiveDaemon) -> None:
    (daemon.data_root / "volumes/by-hand/_data").mkdir(parents=True)
    daemon.docker("volume", "create", "--label", "a=1", "by-hand")


def taken_in_at_start(daemon: LiveDaemon) -> None:
    (daemon.data_root / "volumes/by-hand/_data").mkdir(parents=True)
    options = {"MountType": "tmpfs", "MountOpts": "size=1m", "MountDevice": "tmpfs"}
    (daemon.data_root / "volumes/by-hand/opts.json").write_text(json.dumps(options))
    daemon.restart()
    daemon.docker("volume", "inspect", "by-hand")


def adopt(*how: str) -> Callable[[LiveDaemon], None]:
    def act(daemon: LiveDaemon) -> None:
        volumes = daemon.home / f"docker{len(how)}" / "volumes"
        (volumes / "theirs/_data").mkdir(parents=True)
        record = {"Name": "theirs", "Driver": "local", "Labels": {"a": "1"}}
        tree = {b"volumes": {b"theirs": json.dumps(record).encode()}}
        (volumes / "metadata.db").write_bytes(write_database(tree))
        daemon.orlop("adopt", volumes.parent, *how)

    return act


def system_prune(daemon: LiveDaemon) -> None:
    in_a_container(daemon)
    daemon.docker("rm", "user")
    daemon.docker("volume", "prune", "--force", "--all")


DEEDS: dict[str, Callable[[LiveDaemon], None]] = {
    "create": make,
    "create with options": lambda daemon: make(daemon, "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m"),
    "create with an owner": lambda daemon: make(daemon, "-o", "o=uid=5,gid=6,mode=0770"),
    "create a container": in_a_container,
    "copy-up": copy_up,
    "restore": restore_as_another,
    "rename": rename_and_back,
    "update": update,
    "cp": copy,
    "export and import": export_and_import,
    "taken in by create": taken_in_by_create,
    "taken in at start": taken_in_at_start,
    "adopt": adopt(),
    "adopt --copy": adopt("--copy"),
    "prune": system_prune,
}


@pytest.mark.parametrize("deed", DEEDS)
def test_every_deed_is_told_to_both(deed: str, daemon: LiveDaemon) -> None:
    DEEDS[deed](daemon)
    assert disorder(daemon) == []
    daemon.clear()
    assert disorder(daemon) == []
