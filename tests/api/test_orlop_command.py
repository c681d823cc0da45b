"""The `orlop` command against a live daemon: what a machine without the docker command has."""

import json
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, orlop_command, wait_for


def spawn(daemon: LiveDaemon, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*orlop_command(), *arguments],
        env=daemon.orlop_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# run and its exit codes


def test_run_prints_the_output_of_the_program(daemon: LiveDaemon) -> None:
    done = daemon.orlop("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert daemon.orlop("ps", "-aq").stdout == "", "--rm removed it"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "exit 255"), 255),
        (("no-such-program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_run_ends_with_the_code_that_tells_what_happened(
    daemon: LiveDaemon, command: tuple[str, ...], code: int
) -> None:
    daemon.orlop("run", "--rm", "busybox", *command, code=code)
    assert daemon.orlop("ps", "-aq").stdout == "", "nothing stays of one that did not start either"


def test_run_of_an_unknown_image_says_where_images_come_from(daemon: LiveDaemon) -> None:
    done = daemon.orlop("run", "no-such-image", code=125)
    assert "orlop: there is no image 'no-such-image' here" in done.stderr
    assert "orlop load" in done.stderr


def test_run_passes_standard_input_on(daemon: LiveDaemon) -> None:
    text = "line\n" * 50_000
    done = daemon.orlop("run", "-i", "--rm", "busybox", "cat", stdin=text)
    assert done.stdout == text


def test_run_in_the_background_then_logs_stop_and_rm(daemon: LiveDaemon) -> None:
    identifier = daemon.orlop(
        "run", "-d", "--name", "app", "busybox", "sh", "-c", "echo hello; sleep 1000"
    ).stdout.strip()
    assert len(identifier) == 64
    wait_for("the log", lambda: daemon.orlop("logs", "app").stdout == "hello\n")
    assert daemon.orlop("ps", "-q", "--no-trunc").stdout.strip() == identifier
    assert daemon.orlop("stop", "-t", "0", "app").stdout == "app\n"
    assert daemon.orlop("inspect", "-f", "{{.State.ExitCode}}", "app").stdout == "137\n"
    assert daemon.orlop("rm", "app").stdout == "app\n"
    daemon.orlop("rm", "app", code=1)
    daemon.orlop("rm", "-f", "app")


def test_a_signal_to_the_command_reaches_the_program(daemon: LiveDaemon) -> None:
    script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    with spawn(daemon, "run", "--rm", "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"got it\n"
        assert process.wait(20) == 3


def test_a_program_that_ignores_signals_is_left_at_the_third(daemon: LiveDaemon) -> None:
    script = "trap 'echo no' TERM; echo ready; while :; do sleep 0.1; done"
    with spawn(daemon, "run", "--name", "app", "busybox", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == b"no\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert b"orlop kill" in process.stderr.read()
    assert daemon.orlop("inspect", "-f", "{{.State.Running}}", "app").stdout == "true\n"


def test_flags_reach_the_container(daemon: LiveDaemon, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # user 1 is to look into it
    variables = tmp_path / "variables"
    variables.write_text("# none\nFROM_FILE=1\n")
    daemon.orlop(
        *("create", "--name", "app", "-e", "A=b", "--env-file", variables, "-w", "/tmp", "-u", "1:2", "-h", "box"),
        *("-l", "owner=me", "-m", "64m", "--pids-limit", "50", "--cap-drop", "ALL", "--read-only", "--network", "none"),
        *("--tmpfs", "/scratch:size=1m", "-v", "data:/data:ro", "--mount", f"type=bind,source={tmp_path},target=/host"),
        *("--stop-signal", "INT", "--restart", "on-failure:3", "--entrypoint", "/bin/sh"),
        *("busybox", "-c", "id -u; pwd; hostname; echo $A $FROM_FILE; touch /x || touch /data/x || ls /host"),
    )
    facts = json.loads(daemon.orlop("inspect", "app").stdout)[0]
    assert facts["HostConfig"]["Memory"] == 64 << 20
    assert facts["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert facts["Config"]["Labels"]["owner"] == "me"
    done = daemon.orlop("start", "-a", "app")
    assert done.stdout == "1\n/tmp\nbox\nb 1\nvariables\n"


def test_create_with_a_flag_that_cannot_be_honoured_is_refused(daemon: LiveDaemon) -> None:
    done = daemon.orlop("run", "-p", "80:80", "busybox", code=125)
    assert "publishing ports comes later" in done.stderr
    assert daemon.orlop("ps", "-aq").stdout == ""


def test_wait_prints_the_code_of_a_killed_container(daemon: LiveDaemon) -> None:
    daemon.orlop("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    with spawn(daemon, "wait", "app") as process:
        daemon.orlop("kill", "app")
        assert process.communicate(timeout=20) == (b"137\n", b"")


# Within a container


def test_exec_gives_output_input_and_exit_code(daemon: LiveDaemon) -> None:
    daemon.orlop("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    assert daemon.orlop("exec", "app", "sh", "-c", "echo out; echo err >&2; exit 5", code=5).stderr == "err\n"
    assert daemon.orlop("exec", "-i", "app", "cat", stdin="through").stdout == "through"
    assert daemon.orlop("exec", "-e", "A=b", "-w", "/etc", "app", "sh", "-c", "echo $A; pwd").stdout == "b\n/etc\n"
    assert daemon.orlop("exec", "app", "no-such-program", code=None).returncode in (126, 127)


def test_attach_shows_what_comes_after_and_ends_with_the_exit_code(daemon: LiveDaemon) -> None:
    daemon.orlop("run", "-d", "--name", "app", "-i", "busybox", "sh", "-c", "read line; echo got $line; exit 4")
    with spawn(daemon, "attach", "app") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"word\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got word\n"
        assert process.wait(20) == 4


def test_logs_follow_until_the_end(daemon: LiveDaemon) -> None:
    daemon.orlop("run", "-d", "--name", "app", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    assert daemon.orlop("logs", "-f", "app").stdout == "1\n2\n3\n"
    assert daemon.orlop("logs", "--tail", "1", "app").stdout == "3\n"


def test_copy_both_ways(daemon: LiveDaemon, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.joinpath("sub").mkdir(parents=True)
    source.joinpath("sub/file").write_text("content")
    source.joinpath("link").symlink_to("sub/file")
    daemon.orlop("create", "--name", "app", "busybox", "true")
    daemon.orlop("cp", source, "app:/tmp")
    daemon.orlop("cp", source, "app:/tmp/renamed")
    daemon.orlop("cp", f"{source}/sub/file", "app:/tmp/other name & more")
    daemon.orlop("cp", "app:/tmp", tmp_path / "back")
    back = tmp_path / "back"
    assert back.joinpath("source/sub/file").read_text() == "content"
    assert back.joinpath("renamed/link").readlink() == Path("sub/file")
    assert back.joinpath("other name & more").read_text() == "content"
    daemon.orlop("cp", "app:/tmp/renamed/.", tmp_path / "back/source/sub")
    assert back.joinpath("source/sub/sub/file").read_text() == "content"
    assert "no such directory" in daemon.orlop("cp", "app:/tmp", tmp_path / "a/b", code=1).stderr
    assert "there is no /nothing" in daemon.orlop("cp", "app:/nothing", tmp_path, code=1).stderr
    assert "over /tmp/other name & more" in daemon.orlop("cp", source, "app:/tmp/other name & more", code=1).stderr


def test_diff_commit_and_export_show_what_a_container_wrote(daemon: LiveDaemon, tmp_path: Path) -> None:
    daemon.orlop("run", "--name", "app", "busybox", "sh", "-c", "echo x > /note; rm /etc/group")
    assert {"A /note", "D /etc/group"} <= set(daemon.orlop("diff", "app").stdout.splitlines())
    image = daemon.orlop("commit", "-c", 'CMD ["cat", "/note"]', "app", "noted:1").stdout.strip()
    assert daemon.orlop("run", "--rm", "noted:1").stdout == "x\n"
    assert daemon.orlop("images", "-q", "--no-trunc", "noted").stdout.strip() == image
    daemon.orlop("export", "-o", tmp_path / "root.tar", "app")
    with tarfile.open(tmp_path / "root.tar") as archive:
        names = {name.removeprefix("./").strip("/") for name in archive.getnames()}
    assert "note" in names
    assert "etc/group" not in names
    daemon.orlop("rmi", "noted:1")


# Images


def test_save_and_load_bring_an_image_back(daemon: LiveDaemon, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    daemon.orlop("tag", "busybox", "copy/of:it")
    before = daemon.orlop("inspect", "-f", "{{.Id}}", "copy/of:it").stdout
    daemon.orlop("save", "-o", archive, "copy/of:it")
    assert list(tmp_path.iterdir()) == [archive], "no partial file stays"
    daemon.orlop("rmi", "copy/of:it")
    assert "Loaded image: copy/of:it" in daemon.orlop("load", "-i", archive).stdout
    assert daemon.orlop("inspect", "-f", "{{.Id}}", "copy/of:it").stdout == before
    assert "Loaded image: copy/of:it" in daemon.orlop("load", stdin=archive.read_bytes()).stdout
    daemon.orlop("rmi", "copy/of:it")


def test_save_of_an_unknown_image_leaves_no_file(daemon: LiveDaemon, tmp_path: Path) -> None:
    daemon.orlop("save", "-o", tmp_path / "saved.tar", "no-such-image", code=1)
    assert not list(tmp_path.iterdir())


def test_import_applies_changes(daemon: LiveDaemon, busybox_tar: Path) -> None:
    daemon.orlop("import", "-c", "ENV A=b", "-c", 'CMD ["sh", "-c", "echo $A"]', busybox_tar, "mine:2")
    assert daemon.orlop("run", "--rm", "mine:2").stdout == "b\n"
    daemon.orlop("rmi", "mine:2")


def test_load_of_something_else_fails_with_the_reason(daemon: LiveDaemon) -> None:
    done = daemon.orlop("load", stdin=b"this is no archive", code=1)
    assert done.stderr.startswith("orlop: ")
    assert "Traceback" not in done.stderr


# Volumes


def test_volume_in_use_is_not_removed(daemon: LiveDaemon) -> None:
    assert daemon.orlop("volume", "create", "data").stdout == "data\n"
    daemon.orlop("create", "--name", "app", "-v", "data:/data", "busybox", "true")
    assert "volume is in use" in daemon.orlop("volume", "rm", "data", code=1).stderr
    daemon.orlop("rm", "app")
    assert daemon.orlop("volume", "rm", "data").stdout == "data\n"


def test_listings_as_json_are_one_object_a_line(daemon: LiveDaemon) -> None:
    daemon.orlop("volume", "create", "--label", "a=b", "one")
    daemon.orlop("volume", "create", "two")
    lines = [json.loads(line) for line in daemon.orlop("volume", "ls", "--format", "json").stdout.splitlines()]
    assert [(it["Name"], it["Labels"]) for it in lines] in (
        [("one", {"a": "b"}), ("two", {})],
        [("one", {"a": "b"}), ("two", None)],
    )
    assert daemon.orlop("volume", "ls", "-q", "--filter", "label=a").stdout == "one\n"


def test_pruning_asks_and_without_anybody_to_ask_does_nothing(daemon: LiveDaemon) -> None:
    daemon.orlop("volume", "create", "data")
    done = daemon.orlop("volume", "prune", "--all", code=1)
    assert "data" in done.stderr
    assert "--force" in done.stderr
    assert daemon.orlop("volume", "ls", "-q").stdout == "data\n"
    assert "data" in daemon.orlop("volume", "prune", "--all", "--force").stdout
    assert daemon.orlop("volume", "ls", "-q").stdout == ""


def test_a_removed_volume_is_listed_restored_and_purged(daemon: LiveDaemon) -> None:
    daemon.orlop("run", "--rm", "-v", "undone:/data", "busybox", "sh", "-c", "echo kept > /data/note")
    assert "orlop volume restore undone" in daemon.orlop("volume", "rm", "undone").stderr
    [retired] = [
        it
        for it in map(json.loads, daemon.orlop("volume", "ls", "--retired", "--format", "json").stdout.splitlines())
        if it["Name"] == "undone"
    ]
    assert daemon.orlop("volume", "restore", retired["ID"], "--as", "again").stdout == "again\n"
    assert daemon.volume_data("again").joinpath("note").read_text() == "kept\n"
    daemon.orlop("volume", "rm", "again")
    daemon.orlop("volume", "purge", "again", code=1)
    daemon.orlop("volume", "purge", "--force", "again")
    assert "no such" in daemon.orlop("volume", "restore", "again", code=1).stderr.lower()


# Facts


def test_events_tell_what_happened(daemon: LiveDaemon) -> None:
    daemon.orlop("volume", "create", "watched")
    daemon.orlop("volume", "rm", "watched")
    lines = daemon.orlop("events", "--since", "1m", "--until", "0s", "--filter", "volume=watched").stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["create", "destroy"]


def test_facts_about_the_daemon_are_printed_in_both_formats(daemon: LiveDaemon) -> None:
    assert "Storage Driver:" in daemon.orlop("info").stdout
    assert json.loads(daemon.orlop("info", "--format", "json").stdout)["Driver"]
    assert json.loads(daemon.orlop("version", "--format", "json").stdout)["Server"]["ApiVersion"]
    assert "Local Volumes" in daemon.orlop("system", "df").stdout
    assert "none" in daemon.orlop("network", "ls").stdout
    daemon.orlop("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    wait_for("its program", lambda: "sleep 1000" in daemon.orlop("top", "app").stdout)
