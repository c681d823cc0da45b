"""Volumes through the stock docker command: what is kept, what is refused, what is seen from the host."""

import json
from pathlib import Path

import pytest

from support.daemon import LiveDaemon


def run_in(daemon: LiveDaemon, *arguments: str, code: int = 0) -> str:
    return daemon.docker("run", "--rm", *arguments, code=code).stdout


def test_create_list_inspect_remove(docker_clients: LiveDaemon) -> None:
    docker = docker_clients.docker
    assert docker("volume", "create", "--label", "tier=db", "data").stdout == "data\n"
    volume = docker_clients.inspect("volume", "data")
    assert (volume["Name"], volume["Driver"], volume["Scope"]) == ("data", "local", "local")
    assert volume["Labels"] == {"tier": "db"}
    assert volume["Mountpoint"] == str(docker_clients.volume_data("data"))
    assert Path(volume["Mountpoint"]).is_dir()
    assert docker("volume", "ls", "--format", "{{.Driver}} {{.Name}}").stdout == "local data\n"
    docker("volume", "create", "data")  # once more is the same wish
    assert docker("volume", "rm", "data").stdout == "data\n"
    assert "no such volume" in docker("volume", "inspect", "data", code=1).stderr.lower()
    assert "no such volume" in docker("volume", "rm", "data", code=1).stderr.lower()
    docker("volume", "rm", "-f", "data")


def test_an_anonymous_volume_has_a_name_of_64_digits(daemon: LiveDaemon) -> None:
    name = daemon.docker("volume", "create").stdout.strip()
    assert len(name) == 64
    assert set(name) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", ["a", "../up", ".hidden", "white space", "sla/sh", "tab\t"])
def test_a_bad_name_is_refused(daemon: LiveDaemon, name: str) -> None:
    refused = daemon.docker("volume", "create", name, code=1).stderr
    assert "invalid characters" in refused or "too short" in refused
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_a_bad_option_is_refused_and_nothing_is_made(daemon: LiveDaemon) -> None:
    assert "invalid option" in daemon.docker("volume", "create", "-o", "colour=red", "data", code=1).stderr
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_an_unknown_driver_is_refused(daemon: LiveDaemon) -> None:
    refused = daemon.docker("volume", "create", "-d", "no-such-driver", "data", code=1).stderr
    assert 'plugin "no-such-driver" not found' in refused


def test_two_containers_share_a_volume_at_once(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "reader", "-v", "data:/r", "busybox", "sleep", "1000")
    run_in(daemon, "-v", "data:/w", "busybox", "sh", "-c", "echo hello > /w/note")
    assert daemon.docker("exec", "reader", "cat", "/r/note").stdout == "hello\n"


def test_a_read_only_mount_cannot_be_written(docker_clients: LiveDaemon) -> None:
    for mount in (["-v", "data:/d:ro"], ["--mount", "type=volume,source=data,target=/d,readonly"]):
        failed = docker_clients.docker("run", "--rm", *mount, "busybox", "touch", "/d/x", code=1)
        assert "Read-only file system" in failed.stderr


def test_bind_mounts_by_both_spellings(docker_clients: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("from the host\n")
    for mount in (["-v", f"{tmp_path}:/d"], ["--mount", f"type=bind,source={tmp_path},target=/d"]):
        assert run_in(docker_clients, *mount, "busybox", "cat", "/d/note") == "from the host\n"
    run_in(docker_clients, "-v", f"{tmp_path}:/d", "busybox", "sh", "-c", "echo from the container > /d/note")
    assert (tmp_path / "note").read_text() == "from the container\n"
    run_in(docker_clients, "-v", f"{tmp_path}/note:/file:ro", "busybox", "cat", "/file")


def test_a_bind_source_that_is_missing_is_made_by_v_and_refused_by_mount(daemon: LiveDaemon, tmp_path: Path) -> None:
    run_in(daemon, "-v", f"{tmp_path}/new/folder:/d", "busybox", "touch", "/d/x")
    assert (tmp_path / "new/folder/x").exists()
    mount = f"type=bind,source={tmp_path}/other,target=/d"
    assert "does not exist" in daemon.docker("run", "--rm", "--mount", mount, "busybox", "true", code=125).stderr


def test_tmpfs_by_both_spellings(docker_clients: LiveDaemon) -> None:
    script = "grep ' /t ' /proc/mounts"
    assert "tmpfs" in run_in(docker_clients, "--tmpfs", "/t:size=1m", "busybox", "sh", "-c", script)
    mounted = run_in(docker_clients, "--mount", "type=tmpfs,target=/t,tmpfs-size=1m", "busybox", "sh", "-c", script)
    assert "size=1024k" in mounted


def test_the_image_s_content_is_copied_into_a_volume_once(daemon: LiveDaemon) -> None:
    assert "root:x:0" in run_in(daemon, "-v", "data:/etc", "busybox", "cat", "/etc/passwd")
    daemon.volume_data("data").joinpath("passwd").write_text("mine\n")
    assert run_in(daemon, "-v", "data:/etc", "busybox", "cat", "/etc/passwd") == "mine\n"


def test_nothing_is_copied_where_nocopy_says_so(docker_clients: LiveDaemon) -> None:
    for mount in ("-v", "data:/etc/:nocopy"), ("--mount", "type=volume,source=other,target=/etc,volume-nocopy"):
        listing = run_in(docker_clients, *mount, "busybox", "sh", "-c", "ls /etc").split()
        assert "os-release" not in listing


def test_copied_content_keeps_owners_modes_times_and_links(daemon: LiveDaemon) -> None:
    script = (
        "mkdir /d; echo x > /d/f; chown 1000:26 /d/f; chmod 4750 /d/f; ln /d/f /d/hard; ln -s f /d/soft; chmod 1777 /d"
    )
    daemon.docker("run", "--name", "maker", "busybox", "sh", "-c", script)
    daemon.docker("commit", "maker", "made")
    run_in(daemon, "-v", "data:/d", "made", "true")
    data = daemon.volume_data("data")
    status = (data / "f").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o4750, 1000, 26)
    assert (data / "hard").stat().st_ino == status.st_ino
    assert str((data / "soft").readlink()) == "f"
    assert data.stat().st_mode & 0o7777 == 0o1777
    daemon.docker("rm", "maker")
    daemon.docker("rmi", "made")


def test_volume_of_an_image_makes_an_anonymous_volume(daemon: LiveDaemon, busybox_tar: Path) -> None:
    daemon.docker("import", "-c", "VOLUME /var/lib/db", busybox_tar, "db")
    daemon.docker("create", "--name", "app", "db", "true")
    mount = daemon.inspect("container", "app")["Mounts"][0]
    assert (mount["Type"], mount["Destination"], len(mount["Name"])) == ("volume", "/var/lib/db", 64)
    daemon.docker("rm", "app")
    assert daemon.docker("volume", "ls", "-q").stdout.split() == [mount["Name"]], "rm without -v keeps it"
    daemon.docker("volume", "rm", mount["Name"])
    daemon.docker("create", "--name", "app", "-v", "named:/var/lib/db", "db", "true")
    assert [mount["Name"] for mount in daemon.inspect("container", "app")["Mounts"]] == ["named"]
    daemon.docker("rm", "-v", "app")
    assert daemon.docker("volume", "ls", "-q").stdout.split() == ["named"], "rm -v takes anonymous volumes only"
    daemon.docker("rmi", "db")


def test_volumes_from_another_container(daemon: LiveDaemon) -> None:
    daemon.docker("create", "--name", "keeper", "-v", "data:/data", "busybox", "true")
    run_in(daemon, "--volumes-from", "keeper", "busybox", "touch", "/data/x")
    assert daemon.volume_data("data").joinpath("x").exists()
    failed = daemon.docker("run", "--rm", "--volumes-from", "keeper:ro", "busybox", "touch", "/data/y", code=1)
    assert "Read-only" in failed.stderr


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_a_volume_in_use_is_refused_also_by_force_and_names_the_holder(daemon: LiveDaemon, state: str) -> None:
    arguments = ["--name", "app", "-v", "data:/data", "busybox", "sleep", "0" if state == "exited" else "1000"]
    daemon.docker(*{"created": ["create"], "running": ["run", "-d"], "exited": ["run"]}[state], *arguments)
    holder = daemon.inspect("container", "app")["Id"]
    for force in ([], ["-f"]):
        refused = daemon.docker("volume", "rm", *force, "data", code=1).stderr
        assert f"remove data: volume is in use - [{holder}]" in refused
    daemon.docker("rm", "-f", "app")
    daemon.docker("volume", "rm", "data")


def test_list_filters(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "--label", "tier=db", "one")
    daemon.docker("volume", "create", "two")
    daemon.docker("create", "-v", "two:/x", "busybox", "true")

    def names(*filters: str) -> list[str]:
        arguments = [part for one in filters for part in ("-f", one)]
        return sorted(daemon.docker("volume", "ls", "-q", *arguments).stdout.split())

    assert names("dangling=true") == ["one"]
    assert names("dangling=false") == ["two"]
    assert names("label=tier=db") == ["one"]
    assert names("label=tier") == ["one"]
    assert names("name=tw") == ["two"]
    assert names("driver=local") == ["one", "two"]
    assert "invalid filter" in daemon.docker("volume", "ls", "-f", "colour=red", code=1).stderr.lower()


def test_prune_takes_anonymous_volumes_that_nobody_holds(daemon: LiveDaemon) -> None:
    free = daemon.docker("volume", "create").stdout.strip()
    daemon.docker("create", "--name", "app", "-v", "/held", "busybox", "true")
    held = daemon.inspect("container", "app")["Mounts"][0]["Name"]
    daemon.docker("volume", "create", "named")
    pruned = daemon.orlop("volume", "prune", "-f").stdout
    assert free in pruned
    assert "named" not in pruned
    assert sorted(daemon.docker("volume", "ls", "-q").stdout.split()) == sorted([held, "named"])
    daemon.orlop("volume", "prune", "-a", "-f")
    assert daemon.docker("volume", "ls", "-q").stdout.split() == [held]


def test_prune_by_an_old_client_takes_named_volumes_too(daemon: LiveDaemon) -> None:
    """Until 1.41 of the API prune knew no difference between named and anonymous ones."""
    daemon.docker("volume", "create", "named")
    daemon.docker_version = "1.41"
    try:
        assert daemon.docker("volume", "prune", "-f").stdout.splitlines()[:2] == ["Deleted Volumes:", "named"]
    finally:
        daemon.docker_version = ""


def test_removing_retires_and_restoring_brings_back(daemon: LiveDaemon) -> None:
    run_in(daemon, "-v", "data:/d", "busybox", "sh", "-c", "echo precious > /d/note")
    daemon.docker("volume", "rm", "data")
    run_in(daemon, "-v", "data:/d", "busybox", "sh", "-c", "echo another > /d/note")  # the name is free at once
    refused = daemon.orlop("volume", "restore", "data", code=None)
    assert refused.returncode != 0
    assert daemon.volume_data("data").joinpath("note").read_text() == "another\n", "nothing was overwritten"
    daemon.docker("volume", "rm", "data")
    lines = daemon.orlop("volume", "ls", "--retired", "--format", "json").stdout.splitlines()
    assert [json.loads(line)["Name"] for line in lines].count("data") >= 2
    daemon.orlop("volume", "restore", "data")
    assert daemon.volume_data("data").joinpath("note").read_text() == "another\n", "the latest of that name"


def test_what_rm_v_and_run_rm_removed_can_be_restored_too(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "app", "-v", "/d", "busybox", "sh", "-c", "echo precious > /d/note")
    name = daemon.inspect("container", "app")["Mounts"][0]["Name"]
    daemon.docker("rm", "-v", "app")
    assert daemon.docker("volume", "ls", "-q").stdout == ""
    daemon.orlop("volume", "restore", name)
    assert daemon.volume_data(name).joinpath("note").read_text() == "precious\n"


def test_purge_is_what_destroys(daemon: LiveDaemon) -> None:
    run_in(daemon, "-v", "doomed:/d", "busybox", "sh", "-c", "echo secret > /d/note")
    daemon.docker("volume", "rm", "doomed")
    retired = daemon.data_root / "volumes" / ".retired"
    kept = [path for path in retired.rglob("note") if path.read_text() == "secret\n"]
    assert len(kept) == 1
    daemon.orlop("volume", "purge", "--force", "doomed")
    assert not kept[0].exists()
    assert daemon.orlop("volume", "restore", "doomed", code=None).returncode != 0
