"""Commands against a daemon of cardboard: what they ask, what they print, what they end with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orlop.cli.main import run
from orlop.cli.progress import Progress, render_progress
from support.fake_daemon import FakeDaemon, Run, raw_answer

VOLUMES = {
    "Volumes": [{"Name": "b", "Driver": "local", "Labels": None}, {"Name": "a", "Driver": "x"}],
    "Warnings": None,
}
RETIRED = {
    "Retired": [
        {"ID": "aa" * 32, "Name": "data", "Driver": "local", "RetiredAt": "2026-01-01T00:00:00Z",
         "PurgeAt": "2999-01-02T00:00:00Z", "Reason": "volume rm"},
        {"ID": "ab" * 32, "Name": "data", "Driver": "local", "RetiredAt": "2026-01-03T00:00:00Z",
         "PurgeAt": "2999-01-04T00:00:00Z", "Reason": "rm -v"},
    ]
}  # fmt: skip


def test_volumes_are_sorted_in_docker_columns(orlop: Run) -> None:
    outcome = orlop("volume", "ls", answers={"GET /volumes": VOLUMES})
    assert outcome.out == "DRIVER    VOLUME NAME\nx         a\nlocal     b\n"
    assert orlop("volume", "ls", "-q", answers={"GET /volumes": VOLUMES}).out == "a\nb\n"


def test_an_update_sends_the_whole_maps_and_only_those_that_change(orlop: Run) -> None:
    now = {"Name": "data", "Labels": {"a": "1", "b": "2"}, "Options": {"o": "password=********"}}
    answers = {"GET /volumes/data": now, "PUT /volumes/data": now}
    outcome = orlop("volume", "update", "--label", "c=3", "--label-rm", "a", "data", answers=answers)
    assert (outcome.out, outcome.err) == ("data\n", "")
    assert outcome.fake.last.json == {"Labels": {"b": "2", "c": "3"}}
    outcome = orlop("volume", "update", "--size", "20g", "--opt", "device=x", "data", answers=answers)
    assert outcome.fake.last.json == {"DriverOpts": {"o": "password=********", "size": "20g", "device": "x"}}
    assert outcome.err == "orlop: device: from the next mount on, once no container uses the volume\n"


@pytest.mark.parametrize(("options", "waits"), [(None, False), ({"size": "1g"}, True), ({"type": "tmpfs"}, True)])
def test_an_update_says_what_waits_for_the_next_mount(orlop: Run, options: dict[str, str] | None, waits: bool) -> None:
    now = {"Name": "data", "Labels": None, "Options": options}
    answers = {"GET /volumes/data": now, "PUT /volumes/data": now}
    told = orlop("volume", "update", "--opt", "mode=0700", "data", answers=answers).err
    assert ("mode: from the next mount" in told) == waits


def test_an_update_of_nothing_asks_nobody(orlop: Run) -> None:
    outcome = orlop("volume", "update", "data")
    assert outcome.status == 125
    assert "say what to change" in outcome.err


@pytest.mark.parametrize(("flags", "alias"), [([], True), (["--no-alias"], False)])
def test_a_rename_keeps_the_old_name_unless_told_otherwise(orlop: Run, flags: list[str], alias: bool) -> None:
    answers = {"POST /orlop/v1/volumes/old/rename": {"Name": "new"}}
    outcome = orlop("volume", "rename", *flags, "old", "new", answers=answers)
    assert outcome.fake.last.json == {"Name": "new", "Alias": alias}
    assert outcome.out == ""


def test_filters_are_sent_as_the_api_wants_them(orlop: Run) -> None:
    outcome = orlop(
        "volume",
        "ls",
        "-f",
        "label=a=b",
        "--filter",
        "label=c",
        "-f",
        "dangling=true",
        answers={"GET /volumes": VOLUMES},
    )
    assert json.loads(outcome.fake.last.query["filters"][0]) == {"label": ["a=b", "c"], "dangling": ["true"]}
    assert orlop("volume", "ls", "-f", "nonsense").status == 125


def test_an_unknown_format_says_which_there_are(orlop: Run) -> None:
    outcome = orlop("volume", "ls", "--format", "{{.Name}}")
    assert outcome.status == 125
    assert "table or json" in outcome.err


def test_each_failure_of_several_is_told_and_the_others_are_done(orlop: Run) -> None:
    answers = {"POST /containers/a/stop": 204, "POST /containers/b/stop": (404, {"message": "No such container: b"}),
               "POST /containers/c/stop": 304}  # fmt: skip
    outcome = orlop("stop", "-t", "3", "a", "b", "c", answers=answers)
    assert (outcome.status, outcome.out, outcome.err) == (1, "a\nc\n", "orlop: No such container: b\n")
    assert [asked.query for asked in outcome.fake.asked] == [{"t": ["3"]}] * 3


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("volume", "rm"), 1, "VOLUME"),
        (("ps", "--nonsense"), 125, "No such option"),
        (("nonsense",), 1, "No such command 'nonsense'"),
        (("volume", "nonsense"), 1, "orlop volume --help"),
        (("ps", "-n", "many"), 125, "many"),
        (("rename", "a"), 1, "NEW_NAME"),
        (("cp", "a", "b"), 1, "CONTAINER:PATH"),
        (("cp", "a:/x", "b:/y"), 1, "container to container"),
        (("logs", "--since", "yesterday", "app"), 125, "--since"),
        (("inspect", "-f", "{{range .}}", "app"), 125, "--format"),
        (("volume", "purge"), 1, "--all"),
        (("load", "-i", "/no/such/file"), 1, "/no/such/file: No such file"),
    ],
)
def test_mistakes_are_one_line_and_a_status(orlop: Run, arguments: tuple[str, ...], status: int, text: str) -> None:
    outcome = orlop(*arguments)
    assert outcome.status == status, outcome.err
    assert text in outcome.err
    assert outcome.err.startswith("orlop: ")
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""


def test_no_daemon_says_how_to_start_one(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["--host", f"unix://{tmp_path}/nobody", "ps"]) == 1
    assert "orlop daemon" in capfd.readouterr().err


def test_a_defect_is_one_line_too(orlop: Run) -> None:
    outcome = orlop("volume", "ls", answers={"GET /volumes": {"Volumes": 3}})
    assert outcome.status == 1
    assert "a defect of this command, TypeError" in outcome.err
    assert "ORLOP_DEBUG=1" in outcome.err


def test_removing_a_volume_says_until_when_it_can_be_restored(orlop: Run) -> None:
    answers = {"DELETE /volumes/data": 204, "GET /orlop/v1/volumes/retired": RETIRED}
    outcome = orlop("volume", "rm", "data", answers=answers)
    assert outcome.out == "data\n"
    assert "until 2999-01-0" in outcome.err
    assert "orlop volume restore data" in outcome.err
    assert orlop("volume", "rm", "-q", "data", answers=answers).err == ""
    dockers = orlop("volume", "rm", "data", answers={"DELETE /volumes/data": 204})
    assert (dockers.status, dockers.err) == (0, ""), "a daemon that keeps nothing promises nothing"


def test_removed_volumes_are_listed_the_latest_first(orlop: Run) -> None:
    lines = orlop("volume", "ls", "--retired", answers={"GET /orlop/v1/volumes/retired": RETIRED}).out.splitlines()
    assert lines[0].split()[:3] == ["ID", "VOLUME", "NAME"]
    assert [line.split()[0] for line in lines[1:]] == ["ab" * 6, "aa" * 6]


def test_a_restore_names_the_volume_and_its_new_name(orlop: Run) -> None:
    answers = {"POST /orlop/v1/volumes/retired/data/restore": {"Name": "again"}}
    outcome = orlop("volume", "restore", "data", "--as", "again", answers=answers)
    assert outcome.out == "again\n"
    assert outcome.fake.last.json == {"Name": "again"}


def test_a_purge_shows_what_it_will_destroy_and_does_not_without_a_yes(orlop: Run) -> None:
    answers = {"GET /orlop/v1/volumes/retired": RETIRED, f"DELETE /orlop/v1/volumes/retired/{'ab' * 32}": {}}
    outcome = orlop("volume", "purge", "data", answers=answers)
    assert outcome.status == 1
    assert "data (id abababababab" in outcome.err
    assert [asked.method for asked in outcome.fake.asked] == ["GET"]
    forced = orlop("volume", "purge", "--force", "data", answers=answers)
    assert (forced.status, forced.fake.last.method) == (0, "DELETE"), "the latest of that name"
    assert "more than one" in orlop("volume", "purge", "-f", "a", answers=answers).err
    assert "no such removed volume" in orlop("volume", "purge", "-f", "x", answers=answers).err


def test_a_prune_of_anonymous_volumes_is_refused_where_the_daemon_cannot_tell_them(orlop: Run) -> None:
    outcome = orlop("volume", "prune", "--force", api_version="1.41")
    assert outcome.status == 1
    assert not outcome.fake.asked
    answers = {"POST /volumes/prune": {"VolumesDeleted": None, "SpaceReclaimed": 0}}
    newer = orlop("volume", "prune", "--force", "--all", answers=answers)
    assert json.loads(newer.fake.last.query["filters"][0]) == {"all": ["true"]}


def test_inspect_finds_each_kind_and_tells_what_it_did_not_find(orlop: Run) -> None:
    answers = {"GET /volumes/data": {"Name": "data", "Labels": None}, "GET /containers/app/json": {"Name": "/app"}}
    outcome = orlop("inspect", "app", "nothing", "data", answers=answers)
    assert outcome.status == 1
    assert [item["Name"] for item in json.loads(outcome.out)] == ["/app", "data"]
    assert outcome.err == "orlop: No such object: nothing\n"
    assert orlop("inspect", "-f", "{{.Name}}", "data", answers=answers).out == "data\n"
    assert orlop("inspect", "-f", "{{json .Labels}}", "data", answers=answers).out == "null\n"
    assert "'Size'" in orlop("inspect", "-f", "{{.Size}}", "data", answers=answers).err


CONTAINER = {
    "Id": "c" * 64, "Image": "sha256:" + "d" * 64, "Command": "sh -c 'sleep 1000; echo'", "Created": 1_700_000_000,
    "Status": "Up 2 hours", "Names": ["/app"], "Labels": {},
    "Ports": [{"PrivatePort": 80, "Type": "tcp"},
              {"IP": "0.0.0.0", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"}],
}  # fmt: skip


def test_containers_are_listed_in_docker_columns(orlop: Run) -> None:
    heading, line = orlop("ps", "-a", answers={"GET /containers/json": [CONTAINER]}).out.splitlines()
    assert heading.split("   ")[0] == "CONTAINER ID"
    cells = [cell.strip() for cell in line.split("   ") if cell.strip()]
    assert cells[:3] == ["c" * 12, "d" * 12, '"sh -c \'sleep 1000; …"']
    assert cells[3].endswith(" ago")
    assert cells[4:] == ["Up 2 hours", "0.0.0.0:8081->81/tcp, 80/tcp", "app"]
    outcome = orlop("ps", "-l", "-q", "--no-trunc", answers={"GET /containers/json": [CONTAINER]})
    assert outcome.out == "c" * 64 + "\n"
    assert outcome.fake.last.query == {"all": ["1"], "limit": ["1"]}


def test_images_stand_once_for_each_name(orlop: Run) -> None:
    image = {"Id": "sha256:" + "1" * 64, "RepoTags": ["a:1", "host:5000/b:2"], "Created": 1, "Size": 1_980_000}
    nameless = {"Id": "sha256:" + "2" * 64, "RepoTags": None, "Created": 2, "Size": 5}
    lines = orlop("images", answers={"GET /images/json": [image, nameless]}).out.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["<none>", "<none>", "2" * 12], ["a", "1", "1" * 12], ["host:5000/b", "2", "1" * 12],
    ]  # fmt: skip
    assert lines[2].endswith("1.98MB")


def test_load_shows_what_was_loaded_and_raises_the_streams_error(orlop: Run, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"x" * 100_000)
    lines = b'{"status":"Loading","progressDetail":{"current":1},"id":"a"}\r\n{"stream":"Loaded image: a:1\\n"}\r\n'
    answer = raw_answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + lines)
    outcome = orlop("load", "-i", str(archive), answers={"POST /images/load": answer})
    assert (outcome.status, outcome.out, outcome.err) == (0, "Loaded image: a:1\n", ""), (
        "no progress outside of a terminal"
    )
    assert outcome.fake.last.body == archive.read_bytes()
    error = raw_answer(b"HTTP/1.1 200 OK\r\n\r\n" + lines + b'{"errorDetail":{"message":"bad"},"error":"bad"}\r\n')
    outcome = orlop("load", "-i", str(archive), answers={"POST /images/load": error})
    assert (outcome.status, outcome.err) == (1, "orlop: bad\n")


def test_an_archive_that_comes_only_in_part_leaves_no_file(orlop: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    cut = raw_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    outcome = orlop("save", "-o", str(folder / "x.tar"), "busybox", answers={"GET /images/get": cut})
    assert outcome.status == 1
    assert not list(folder.iterdir())


def test_version_tells_of_the_command_also_without_a_daemon(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["--host", f"unix://{tmp_path}/nobody", "version", "--format", "json"]) == 1
    assert json.loads(capfd.readouterr().out)["Server"] is None


def test_output_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    many = {"Volumes": [{"Name": f"volume-{number}", "Driver": "local"} for number in range(20_000)], "Warnings": None}
    program = f"import sys; sys.path[:0] = {sys.path!r}; from orlop.cli.main import main; main()"
    with FakeDaemon(tmp_path, {"GET /volumes": many}) as fake:
        command = [sys.executable, "-c", program, "--host", fake.host, "volume", "ls"]
        # Unbuffered, Python itself overlooks that a pipe took only a part.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(20) == 141


def test_progress_is_a_bar_where_the_end_is_known() -> None:
    assert render_progress("sending", 50, 100, 1) == "sending [============>           ] 50B/100B 50B/s"
    assert render_progress("sending", 100, 100, 1) == "sending [========================] 100B/100B 100B/s"
    assert render_progress("receiving", 5_000_000, 0, 2) == "receiving 5MB 2.5MB/s"


def test_progress_draws_nothing_outside_of_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress("sending", 100) as progress:
        for _ in range(100):
            progress.advance(1)
        progress.show("step")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_draws_one_line_over_and_over_in_a_terminal_and_takes_it_away(quiet: bool) -> None:
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from orlop.cli import progress
progress._REDRAW_SECONDS = 0
with progress.Progress("sending", 100, {quiet}) as drawn:
    drawn.advance(50)
    drawn.show("a step " + "x" * 500)
"""
    master, slave = os.openpty()
    with os.fdopen(master, "rb", buffering=0) as terminal:
        subprocess.run([sys.executable, "-c", program], stderr=slave, check=True)
        os.close(slave)
        said = b""
        try:
            while piece := terminal.read(4096):
                said += piece
        except OSError:  # all of it was read, and nobody holds the other end any more
            pass
    lines = said.split(b"\r\x1b[K")
    if quiet:
        assert said == b""
        return
    assert b"sending [============>           ] 50B/100B" in lines[1]
    assert lines[2].startswith(b"a step x")
    assert len(lines[2]) <= 80, "a line that wraps could not be drawn over"
    assert lines[3] == b""
