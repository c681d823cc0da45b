"""docker run: exit codes, what a process finds in its container, how containers end."""

import json
import re

import pytest

from support.daemon import LiveDaemon, wait_for


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "exit 42"], 42, ""),
        (["no-such-program"], 127, "executable file not found"),
        (["/etc"], 126, "permission denied"),
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, ""),
        (["sh", "-c", "kill -TERM $$; exit 0"], 0, ""),  # the first process of a container ignores it
    ],
)
def test_the_exit_code_of_run(docker_clients: LiveDaemon, command: list[str], code: int, says: str) -> None:
    assert says in docker_clients.docker("run", "--rm", "busybox", *command, code=code).stderr


def test_run_of_an_unknown_image_ends_with_125(docker_clients: LiveDaemon) -> None:
    failed = docker_clients.docker("run", "--rm", "--pull=never", "no-such-image", "true", code=125)
    assert "No such image: no-such-image:latest" in failed.stderr


def test_run_of_a_bad_mount_ends_with_125_and_leaves_no_container(docker_clients: LiveDaemon) -> None:
    mount = "type=bind,source=/no/such/folder,target=/x"
    failed = docker_clients.docker("run", "--mount", mount, "busybox", "true", code=125)
    assert "bind source path does not exist: /no/such/folder" in failed.stderr
    assert docker_clients.docker("ps", "-aq").stdout == ""


def test_a_container_that_could_not_start_stays_created_and_can_be_removed(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "broken", "busybox", "no-such-program", code=127)
    assert daemon.inspect("container", "broken")["State"]["ExitCode"] == 127
    assert daemon.docker("ps", "-a", "--format", "{{.Status}}").stdout.strip() == "Created"
    daemon.docker("rm", "broken")


def test_stdout_and_stderr_come_apart(docker_clients: LiveDaemon) -> None:
    done = docker_clients.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_a_megabyte_goes_in_and_comes_out_unchanged(docker_clients: LiveDaemon) -> None:
    sent = bytes(range(256)) * 4096
    done = docker_clients.docker("run", "--rm", "-i", "busybox", "cat", stdin=sent)
    assert done.stdout.encode(errors="surrogateescape") == sent


def test_environment_user_folder_and_host_name(docker_clients: LiveDaemon) -> None:
    script = "echo $COLOUR $(id -u):$(id -g) $(pwd) $(hostname) $HOME"
    arguments = ["-e", "COLOUR=red", "-u", "app", "-w", "/made/by/workdir", "-h", "ship"]
    done = docker_clients.docker("run", "--rm", *arguments, "busybox", "sh", "-c", script)
    assert done.stdout == "red 1000:1000 /made/by/workdir ship /home/app\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [("1000", "1000:1000"), ("app:tape", "1000:26"), ("4000", "4000:0"), ("5:6", "5:6"), ("nobody", "65534:65534")],
)
def test_users_by_name_and_number(daemon: LiveDaemon, user: str, ids: str) -> None:
    assert (
        daemon.docker("run", "--rm", "-u", user, "busybox", "sh", "-c", "echo $(id -u):$(id -g)").stdout.strip() == ids
    )


def test_an_unknown_user_is_refused(daemon: LiveDaemon) -> None:
    failed = daemon.docker("run", "--rm", "-u", "stranger", "busybox", "true", code=None)
    assert failed.returncode in (125, 126)
    assert "unable to find user stranger: no matching entries in passwd file" in failed.stderr


def test_the_image_s_own_command_entrypoint_and_environment(daemon: LiveDaemon, busybox_tar: str) -> None:
    changes = ['ENTRYPOINT ["echo","entry"]', 'CMD ["command"]', "ENV COLOUR=blue", "WORKDIR /w", "USER app"]
    daemon.docker("import", *(part for change in changes for part in ("-c", change)), busybox_tar, "told")
    assert daemon.docker("run", "--rm", "told").stdout == "entry command\n"
    assert daemon.docker("run", "--rm", "told", "other").stdout == "entry other\n"
    script = 'echo "$COLOUR $(pwd) $(id -un)"'
    done = daemon.docker("run", "--rm", "--entrypoint", "sh", "told", "-c", script)
    assert done.stdout == "blue /w app\n"
    daemon.docker("rmi", "told")


def test_rm_takes_the_container_its_layer_and_anonymous_volumes(daemon: LiveDaemon) -> None:
    layers = daemon.layer_folders()
    daemon.docker(
        "run", "--rm", "-v", "/anonymous", "-v", "named:/named", "busybox", "touch", "/anonymous/a", "/named/n"
    )
    assert daemon.docker("ps", "-aq").stdout == ""
    assert daemon.docker("volume", "ls", "-q").stdout.split() == ["named"]
    assert daemon.layer_folders() == layers


def test_a_container_s_life_by_single_steps(daemon: LiveDaemon) -> None:
    made = daemon.docker(
        "create", "--name", "one", "busybox", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done"
    )
    assert re.fullmatch("[0-9a-f]{64}", made.stdout.strip())
    status = lambda: daemon.inspect("container", "one")["State"]["Status"]  # noqa: E731
    assert status() == "created"
    daemon.docker("start", "one")
    assert status() == "running"
    daemon.docker("pause", "one")
    assert status() == "paused"
    daemon.docker("unpause", "one")
    before = daemon.inspect("container", "one")["State"]["Pid"]
    daemon.docker("restart", "-t", "5", "one")
    assert daemon.inspect("container", "one")["State"]["Pid"] != before
    daemon.docker("rename", "one", "two")
    daemon.docker("stop", "-t", "5", "two")
    state = daemon.inspect("container", "two")["State"]
    assert (state["Status"], state["ExitCode"], state["Running"], state["Pid"]) == ("exited", 3, False, 0)
    daemon.docker("start", "two")
    daemon.docker("kill", "-s", "KILL", "two")
    assert daemon.docker("wait", "two").stdout.strip() == "137"
    daemon.docker("rm", "two")
    assert "No such container: two" in daemon.docker("inspect", "--type", "container", "two", code=1).stderr


def test_stop_kills_who_does_not_listen(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    daemon.docker("stop", "-t", "1", "deaf")
    assert daemon.inspect("container", "deaf")["State"]["ExitCode"] == 137


def test_a_running_container_is_removed_by_force_only(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    refused = daemon.docker("rm", "app", code=1).stderr
    assert re.search("running container|container is running", refused)
    assert "force" in refused
    daemon.docker("rm", "-f", "app")


def test_a_name_in_use_is_refused(daemon: LiveDaemon) -> None:
    first = daemon.docker("create", "--name", "app", "busybox", "true").stdout.strip()
    refused = daemon.docker("create", "--name", "app", "busybox", "true", code=1).stderr
    assert f'The container name "/app" is already in use by container "{first}"' in refused
    assert "Invalid container name" in daemon.docker("create", "--name", "a b", "busybox", "true", code=1).stderr


def test_a_container_is_found_by_the_beginning_of_its_id(daemon: LiveDaemon) -> None:
    made = daemon.docker("create", "busybox", "true").stdout.strip()
    assert daemon.inspect("container", made[:6])["Id"] == made
    daemon.docker("rm", made[:10])


def test_ps_filters(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "up", "-l", "tier=web", "-v", "shared:/s", "busybox", "sleep", "1000")
    daemon.docker("run", "--name", "done", "-l", "tier=db", "busybox", "sh", "-c", "exit 3", code=3)
    daemon.docker("create", "--name", "new", "busybox", "true")

    def names(*filters: str) -> list[str]:
        arguments = [part for one in filters for part in ("-f", one)]
        return sorted(daemon.docker("ps", "-a", "--format", "{{.Names}}", *arguments).stdout.split())

    assert names() == ["done", "new", "up"]
    assert names("status=running") == ["up"]
    assert names("status=created", "status=exited") == ["done", "new"]
    assert names("label=tier") == ["done", "up"]
    assert names("label=tier=db") == ["done"]
    assert names("exited=3") == ["done"]
    assert names("volume=shared") == ["up"]
    assert names("name=o") == ["done"]
    assert names("ancestor=busybox") == ["done", "new", "up"]
    assert daemon.docker("ps", "--format", "{{.Names}}").stdout.split() == ["up"]
    assert daemon.docker("ps", "-a", "-n", "1", "--format", "{{.Names}}").stdout.split() == ["new"]
    assert "invalid filter" in daemon.docker("ps", "-f", "colour=red", code=1).stderr.lower()


def test_prune_takes_what_has_ended_and_nothing_else(daemon: LiveDaemon) -> None:
    running = daemon.docker("run", "-d", "--name", "up", "busybox", "sleep", "1000").stdout.strip()
    ended = daemon.docker("create", "busybox", "true").stdout.strip()
    pruned = daemon.docker("container", "prune", "-f").stdout
    assert ended in pruned
    assert running not in pruned
    assert daemon.docker("ps", "-a", "--format", "{{.Names}}").stdout.split() == ["up"]


def test_top_lists_what_runs_in_it(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "busybox", "sleep", "12345")
    wait_for("its program", lambda: "sleep 12345" in daemon.docker("top", "app").stdout)
    table = daemon.docker("top", "app").stdout.splitlines()
    assert table[0].split()[:2] == ["UID", "PID"]
    assert "sleep 12345" in table[1]
    assert (
        "is not running"
        in daemon.docker("top", daemon.docker("create", "busybox", "true").stdout.strip(), code=1).stderr
    )


def test_restart_policy_brings_it_back(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "phoenix", "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 9")
    wait_for("two restarts", lambda: daemon.inspect("container", "phoenix")["RestartCount"] == 2)
    wait_for("the end", lambda: daemon.inspect("container", "phoenix")["State"]["Status"] == "exited")
    assert daemon.inspect("container", "phoenix")["State"]["ExitCode"] == 9


def test_inspect_tells_what_was_asked_for(docker_clients: LiveDaemon) -> None:
    arguments = ["--name", "app", "-e", "A=1", "-l", "x=y", "--memory", "64m", "-v", "data:/data:ro", "--hostname", "h"]
    made = docker_clients.docker("create", *arguments, "busybox", "sleep", "5").stdout.strip()
    answer = docker_clients.inspect("container", "app")
    assert answer["Id"] == made
    assert answer["Name"] == "/app"
    assert answer["Path"], answer["Args"] == ("sleep", ["5"])
    assert answer["Image"] == json.loads(docker_clients.docker("image", "inspect", "busybox").stdout)[0]["Id"]
    assert "A=1" in answer["Config"]["Env"]
    assert answer["Config"]["Labels"] == {"x": "y"}
    assert answer["HostConfig"]["Memory"] == 64 << 20
    assert answer["HostConfig"]["Binds"] == ["data:/data:ro"]
    mount = answer["Mounts"][0]
    assert (mount["Type"], mount["Name"], mount["Destination"], mount["RW"]) == ("volume", "data", "/data", False)
    assert mount["Source"] == str(docker_clients.volume_data("data"))
