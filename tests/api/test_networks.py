"""Networks with the stock docker command: names, shared namespaces, and what outlives the daemon."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from support.daemon import LiveDaemon, wait_for


def address_of(daemon: LiveDaemon, name: str) -> str:
    address = daemon.inspect("container", name)["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert isinstance(address, str)
    return address


def answers(daemon: LiveDaemon, name: str, address: str) -> bool:
    return daemon.docker("exec", name, "ping", "-c", "1", "-W", "3", address, code=None).returncode == 0


def test_names_and_servers_of_one_s_own(docker_clients: LiveDaemon) -> None:
    wish = "--add-host db:192.0.2.7 --add-host up:host-gateway --dns 192.0.2.53 --dns-search lan.example"
    wish += " --dns-option ndots:2"
    script = "cat /etc/hosts /etc/resolv.conf; hostname -f"
    shown = docker_clients.docker(
        "run", "--rm", *wish.split(), "--hostname", "ship", "--domainname", "example.org", "busybox", "sh", "-c", script
    ).stdout.splitlines()
    gateway = docker_clients.inspect("network", "bridge")["IPAM"]["Config"][0]["Gateway"]
    assert {"192.0.2.7\tdb", f"{gateway}\tup"} <= set(shown)
    assert [line for line in shown if line.startswith(("nameserver", "search", "options"))] == [
        "nameserver 192.0.2.53",
        "search lan.example",
        "options ndots:2",
    ]
    assert shown[-1] == "ship.example.org"


def test_a_hardware_address_of_one_s_own(docker_clients: LiveDaemon) -> None:
    run = ["run", "--rm", "--mac-address", "02:42:de:ad:be:ef", "busybox", "cat", "/sys/class/net/eth0/address"]
    assert docker_clients.docker(*run).stdout == "02:42:de:ad:be:ef\n"


def test_the_bridge_is_described(daemon: LiveDaemon) -> None:
    network = daemon.inspect("network", "bridge")
    assert network["Options"]["com.docker.network.bridge.name"] == daemon.bridge
    assert (network["Driver"], network["Scope"]) == ("bridge", "local")
    assert daemon.inspect("network", "none")["Driver"] == "null"


def test_containers_share_a_network(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    daemon.docker("run", "-d", "--name", "two", "--network", "container:one", "busybox", "sleep", "1000")
    namespaces = {daemon.docker("exec", name, "readlink", "/proc/self/ns/net").stdout for name in ("one", "two")}
    assert len(namespaces) == 1
    daemon.docker("rm", "-f", "two")
    assert answers(daemon, "one", address_of(daemon, "one")), "who was joined keeps its network"
    daemon.docker("stop", "-t", "0", "one")
    refused = daemon.docker("run", "--rm", "--network", "container:one", "busybox", "true", code=125).stderr
    assert "cannot join network of a non running container" in refused


def test_a_network_outlives_the_daemon_and_is_not_given_to_another(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    address = address_of(daemon, "app")
    gateway = daemon.inspect("network", "bridge")["IPAM"]["Config"][0]["Gateway"]
    network_id = daemon.inspect("network", "bridge")["Id"]
    for end in (daemon.kill, daemon.stop):
        end()
        daemon.start()
        assert daemon.inspect("network", "bridge")["Id"] == network_id
        assert answers(daemon, "app", gateway)
        daemon.docker("run", "-d", "--name", "other", "busybox", "sleep", "1000")
        assert address_of(daemon, "other") != address
        assert answers(daemon, "other", address)
        daemon.docker("rm", "-f", "other")


def test_who_ends_while_the_daemon_is_away_leaves_the_network(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    pid = daemon.inspect("container", "app")["State"]["Pid"]
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    daemon.start()
    wait_for("the container to have ended", lambda: not daemon.inspect("container", "app")["State"]["Running"])
    assert daemon.inspect("network", "bridge")["Containers"] == {}
    assert list((daemon.exec_root / "netns").iterdir()) == []
    daemon.docker("start", "app")
    assert answers(daemon, "app", address_of(daemon, "app"))


def test_ten_at_once_have_ten_addresses(daemon: LiveDaemon) -> None:
    def start(number: int) -> str:
        daemon.docker("run", "-d", "--name", f"app{number}", "busybox", "sleep", "1000")
        return address_of(daemon, f"app{number}")

    with ThreadPoolExecutor(10) as pool:
        addresses = list(pool.map(start, range(10)))
    assert len(set(addresses)) == 10
    assert answers(daemon, "app0", addresses[9])
    members = daemon.inspect("network", "bridge")["Containers"]
    assert {member["Name"] for member in members.values()} == {f"app{number}" for number in range(10)}


def test_an_address_comes_back_after_a_restart_of_the_container(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    for _ in range(3):
        daemon.docker("restart", "-t", "0", "app")
        address = address_of(daemon, "app")
        assert address in daemon.docker("exec", "app", "cat", "/etc/hosts").stdout, "hosts is written anew"
        assert answers(daemon, "app", address)
