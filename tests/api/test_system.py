"""What is asked of the daemon as a whole: version, info, events, limits, networks, what it refuses."""

import ipaddress
import json
import os
import re
import resource
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.asking import ask
from support.daemon import LiveDaemon, read_until, run_command, wait_for


def test_version_and_info(docker_clients: LiveDaemon) -> None:
    version = json.loads(docker_clients.docker("version", "--format", "{{json .Server}}").stdout)
    assert tuple(map(int, version["ApiVersion"].split("."))) >= (1, 41)
    assert version["Os"] == "linux"
    info = json.loads(docker_clients.docker("info", "--format", "{{json .}}").stdout)
    assert info["DockerRootDir"] == str(docker_clients.data_root)
    assert info["Driver"] in ("overlay2", "vfs")
    assert "local" in info["Plugins"]["Volume"]
    assert info["Images"] == 1


def test_versions_of_the_api_from_1_24_on(daemon: LiveDaemon) -> None:
    status, headers, text = ask(daemon, "GET /_ping")
    assert (status, text) == (200, "OK")
    newest = headers["api-version"]
    assert tuple(map(int, newest.split("."))) >= (1, 52)
    assert headers["ostype"] == "linux"
    for version in ("1.24", "1.30", "1.41", newest):
        assert ask(daemon, f"GET /v{version}/containers/json")[0] == 200
    status, _, text = ask(daemon, "GET /v1.23/info")
    assert status == 400
    assert "client version 1.23 is too old" in text
    status, _, text = ask(daemon, "GET /v9.99/info")
    assert status == 400
    assert "client version 9.99 is too new" in text


@pytest.mark.parametrize(
    ("request_line", "body", "status", "says"),
    [
        ("GET /v1.41/no/such/page", "", 404, "page not found"),
        ("GET /v1.41/containers/ghost/json", "", 404, "No such container: ghost"),
        ("GET /v1.41/images/ghost/json", "", 404, "No such image: ghost"),
        ("GET /v1.41/volumes/ghost", "", 404, "no such volume"),
        ("POST /v1.41/containers/create", "{not json", 400, "invalid"),
        ("POST /v1.41/containers/create", '{"Image": 7}', 400, ""),
        ("POST /v1.41/containers/create", '{"Image":"busybox"} {"more":1}', 400, ""),
        ("POST /v1.41/containers/create?name=a%2Fb", '{"Image":"busybox","Cmd":["x"]}', 400, "Invalid container name"),
        ("POST /v1.41/volumes/create", '{"Name":"../x"}', 400, "invalid characters"),
        ("GET /v1.41/volumes?filters=nonsense", "", 400, "invalid filter"),
        ("GET /v1.41/containers/json?filters={%22status%22:[%22odd%22]}", "", 400, "odd"),
        (
            "POST /v1.41/containers/create",
            '{"Image":"busybox","Cmd":["x"],"HostConfig":{"Binds":["relative:x"]}}',
            400,
            "x",
        ),
    ],
)
def test_bad_requests_are_answered_with_a_reason(
    daemon: LiveDaemon, request_line: str, body: str, status: int, says: str
) -> None:
    got, headers, text = ask(daemon, request_line, body)
    assert got == status, text
    assert headers["content-type"].startswith("application/json")
    message = json.loads(text)["message"]
    assert says in message
    assert "Traceback" not in message


def test_json_keys_in_any_case(daemon: LiveDaemon) -> None:
    status, _, text = ask(daemon, "POST /v1.41/volumes/create", '{"nAME": "data", "lABELS": {"Kept": "AsIs"}}')
    assert status == 201, text
    assert daemon.inspect("volume", "data")["Labels"] == {"Kept": "AsIs"}


def test_a_body_that_is_not_json_is_refused(daemon: LiveDaemon) -> None:
    status, _, text = ask(daemon, "POST /v1.41/volumes/create", '{"Name":"x1"}', content_type="text/plain")
    assert (status, "unsupported Content-Type" in text) == (400, True)


def test_garbage_on_the_socket_harms_nobody(daemon: LiveDaemon) -> None:
    for garbage in (b"\0" * 1000, b"GET\r\n\r\n", b"POST /v1.41/volumes/create HTTP/1.1\r\nContent-Length: -5\r\n\r\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(daemon.socket))
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    daemon.docker("version")


def test_events_tell_the_life_of_a_container_and_its_volume(docker_clients: LiveDaemon) -> None:
    first = f"first-{secrets.token_hex(4)}"
    docker_clients.docker("volume", "create", first)
    since = docker_clients.inspect("volume", first)["CreatedAt"]
    wish = ["events", "--since", since, "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}"]
    with docker_clients.spawned(*wish, stdout=-1) as listener:
        assert listener.stdout
        # The test before ours may lie in the same second: what comes after this volume is ours.
        read_until(listener.stdout, f"volume create {first}\n".encode())
        docker_clients.docker("run", "--rm", "-v", "data:/data", "busybox", "true")
        docker_clients.docker("volume", "rm", "data")
        lines = read_until(listener.stdout, b"volume destroy data\n").decode().splitlines()
    said = [line.rpartition(" ")[0] for line in lines]
    wanted = [
        "container create",
        "volume mount",
        "container start",
        "container die",
        "container destroy",
        "volume destroy",
    ]
    found = [line for line in said if line in wanted]
    assert found[-1] == "volume destroy"
    assert set(found) == set(wanted)
    assert "volume unmount" in said


def test_events_of_the_past_with_filters(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "app", "-l", "x=y", "busybox", "sh", "-c", "exit 3", code=3)
    daemon.docker("run", "--name", "other", "busybox", "true")

    def events(*filters: str) -> list[dict[str, object]]:
        arguments = [part for one in filters for part in ("-f", one)]
        done = daemon.docker("events", "--since", "1h", "--until", "0s", "--format", "{{json .}}", *arguments)
        return [json.loads(line) for line in done.stdout.splitlines()]

    # "0s" is the beginning of this second: what has just happened shows up with the next one.
    wait_for("the events", lambda: events("container=other", "event=die"))
    died = events("container=app", "event=die")
    assert len(died) == 1
    assert died[0]["Actor"]["Attributes"]["exitCode"] == "3"  # type: ignore[index]
    assert {one["Type"] for one in events("type=container")} == {"container"}
    assert len(events("label=x=y", "event=create")) == 1


def test_limits_reach_the_kernel(daemon: LiveDaemon) -> None:
    arguments = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"]
    daemon.docker("run", "-d", "--name", "app", *arguments, "busybox", "sleep", "1000")
    pid = daemon.inspect("container", "app")["State"]["Pid"]
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())

    def limit(controller: str, name: str, name_v2: str) -> str:
        for controllers, path in groups.items():
            if controller in controllers.split(","):
                return Path(f"/sys/fs/cgroup/{controller}{path}/{name}").read_text().strip()
        return Path(f"/sys/fs/cgroup{groups['']}/{name_v2}").read_text().strip()

    assert limit("memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit("pids", "pids.max", "pids.max") == "50"
    assert limit("cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"


def test_who_takes_too_much_memory_is_killed_and_told_so(daemon: LiveDaemon) -> None:
    script = "head -c 100m /dev/zero | tail"
    daemon.docker(
        "run", "--name", "app", "--memory", "24m", "--memory-swap", "24m", "busybox", "sh", "-c", script, code=None
    )
    state = daemon.inspect("container", "app")["State"]
    assert state["OOMKilled"]


def test_ulimits_are_clamped_to_what_the_host_allows(daemon: LiveDaemon) -> None:
    def limits(wish: str) -> list[str]:
        script = "ulimit -n; ulimit -Hn"
        return daemon.docker("run", "--rm", "--ulimit", wish, "busybox", "sh", "-c", script).stdout.split()

    assert limits("nofile=100:200") == ["100", "200"]
    allowed = str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert limits("nofile=900000000:900000000") == [allowed, allowed]


def test_capabilities_masks_and_privileges(daemon: LiveDaemon) -> None:
    def status(*arguments: str) -> str:
        done = daemon.docker(
            "run", "--rm", *arguments, "busybox", "grep", "-E", "CapEff|Seccomp:|NoNewPrivs", "/proc/self/status"
        )
        return " ".join(done.stdout.split())

    assert "CapEff: 00000000a80425fb" in status()
    assert "Seccomp: 2" in status()
    assert "CapEff: 0000000000000000" in status("--cap-drop", "ALL")
    assert "CapEff: 0000000000001000" in status("--cap-drop", "ALL", "--cap-add", "NET_ADMIN")
    assert "NoNewPrivs: 1" in status("--security-opt", "no-new-privileges")
    assert "Seccomp: 0" in status("--security-opt", "seccomp=unconfined")
    daemon.docker("run", "--rm", "busybox", "sh", "-c", "echo x > /proc/sys/kernel/hostname", code=1)
    assert (
        daemon.docker("run", "--rm", "busybox", "sh", "-c", "cat /proc/kcore | head -c 1 | wc -c").stdout.strip() == "0"
    )
    assert "read-only" in daemon.docker("run", "--rm", "--read-only", "busybox", "touch", "/x", code=1).stderr.lower()


def test_the_bridge_gives_an_address_names_and_a_way_out(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "-h", "ship", "busybox", "sleep", "1000")
    network = daemon.inspect("container", "app")["NetworkSettings"]["Networks"]["bridge"]
    address, gateway = network["IPAddress"], network["Gateway"]
    assert address in daemon.docker("exec", "app", "ip", "-4", "addr", "show", "eth0").stdout
    assert f"default via {gateway}" in daemon.docker("exec", "app", "ip", "route").stdout
    hosts = daemon.docker("exec", "app", "cat", "/etc/hosts").stdout
    assert re.search(rf"{re.escape(address)}\s+ship", hosts)
    assert daemon.docker("exec", "app", "cat", "/etc/hostname").stdout == "ship\n"
    assert "nameserver" in daemon.docker("exec", "app", "cat", "/etc/resolv.conf").stdout
    other = daemon.docker("run", "--rm", "busybox", "ping", "-c", "1", "-W", "5", address)
    assert "1 packets received" in other.stdout


SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], 4242)) as server:
    print("ready", flush=True)
    connection, peer = server.accept()
    print(peer[0], flush=True)
    connection.sendall(b"hello\\n")
    connection.close()
"""


@dataclass(frozen=True)
class Outside:
    namespace: str
    here: str  # the host's address on the wire
    there: str


@pytest.fixture
def outside() -> Iterator[Outside]:
    """A network namespace that the host has a wire to, and that knows no way to the bridge's addresses. Other tests on
    this host may have one of their own: names and addresses (of those set aside for trials) are this process's."""
    name = f"orlop-outside-{os.getpid()}"
    wire = f"oo{os.getpid()}"
    network = ipaddress.ip_address("198.18.0.0") + os.getpid() % 2**15 * 4
    here, there = str(network + 1), str(network + 2)
    commands = [
        f"ip netns add {name}",
        f"ip link add {wire} type veth peer name eth0 netns {name}",
        f"ip addr add {here}/30 dev {wire}",
        f"ip link set {wire} up",
        f"ip -n {name} addr add {there}/30 dev eth0",
        f"ip -n {name} link set eth0 up",
    ]
    try:
        for command in commands:
            run_command(command.split())
        yield Outside(name, here, there)
    finally:
        run_command(["ip", "netns", "delete", name])


def test_the_bridge_hides_containers_behind_the_host_s_address(daemon: LiveDaemon, outside: Outside) -> None:
    command = ["ip", "netns", "exec", outside.namespace, sys.executable, "-c", SERVER, outside.there]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout
        read_until(server.stdout, b"ready\n")
        said = daemon.docker("run", "--rm", "busybox", "nc", "-w", "10", outside.there, "4242", code=None)
        came_from = b"" if said.returncode else read_until(server.stdout, b"\n")
        server.kill()
    assert said.stdout == "hello\n", said.stderr
    assert came_from == f"{outside.here}\n".encode()


def test_no_network_and_the_host_s(daemon: LiveDaemon) -> None:
    names = daemon.docker("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net").stdout.split()
    assert names == ["lo"]
    ours = daemon.docker("run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net").stdout.strip()
    assert ours == str(Path("/proc/self/ns/net").readlink())
    refused = daemon.docker("run", "--rm", "--network", "nowhere", "busybox", "true", code=125).stderr
    assert "network nowhere not found" in refused


def test_networks_and_nothing_of_them_stays_behind(daemon: LiveDaemon) -> None:
    ports = Path(f"/sys/class/net/{daemon.bridge}/brif")  # of our bridge: other daemons have interfaces of their own
    daemon.docker("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    (port,) = ports.iterdir()
    daemon.docker("rm", "-f", "app")
    wait_for("the interface to go", lambda: not any(ports.iterdir()))
    assert not Path(f"/sys/class/net/{port.name}").exists()
    assert {"bridge", "host", "none"} <= set(daemon.docker("network", "ls", "--format", "{{.Name}}").stdout.split())


def test_df_counts_what_is_there(docker_clients: LiveDaemon) -> None:
    docker_clients.docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "head -c 100000 /dev/zero > /d/f")
    table = docker_clients.docker("system", "df", "-v").stdout
    assert re.search(r"data\s+0\s+100kB", table)
