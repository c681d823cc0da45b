"""The bridge on a host whose Docker drops what it does not know. All of it in a network namespace of its own."""

import os
import secrets
import shutil
import subprocess
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from orlop.drivers.networks.bridge import BridgeDriver
from orlop.kernel.namespaces import CLONE_NEWNET, in_own_thread, unshare
from orlop.model.network import Network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo script/test")

WORLD = "10.217.0.2"


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def reaches(sandbox: str, address: str) -> bool:
    command = ["nsenter", f"--net={sandbox}", "ping", "-c1", "-W2", address]
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0


def be_a_host_with_docker(world: str) -> None:
    """This thread's new namespace gets a way out to the namespace `world`, and Docker's policy and chain."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", world)
    run("ip", "addr", "add", "10.217.0.1/24", "dev", "up0")
    run("ip", "link", "set", "up0", "up")
    run("ip", "route", "add", "default", "via", WORLD)
    run("ip", "-n", world, "addr", "add", f"{WORLD}/24", "dev", "eth0")
    run("ip", "-n", world, "link", "set", "eth0", "up")
    run("iptables", "-P", "FORWARD", "DROP")
    run("iptables", "-N", "DOCKER-USER")
    run("iptables", "-A", "DOCKER-USER", "-j", "RETURN")
    run("iptables", "-I", "FORWARD", "-j", "DOCKER-USER")


@pytest.mark.skipif(not shutil.which("iptables"), reason="no iptables on this machine")
def test_containers_get_out_and_docker_s_chain_is_left_as_it_was(tmp_path: Path) -> None:
    world = f"okw{secrets.token_hex(4)}"

    def scene() -> None:
        unshare(CLONE_NEWNET)
        be_a_host_with_docker(world)
        before = run("iptables", "-S", "DOCKER-USER")
        driver = BridgeDriver("orlopx0", tmp_path / "netns", IPv4Interface("10.218.0.1/24"))
        driver.open(Network("bridge", "ab" * 32, "bridge", 1))
        try:
            attachment = driver.join("c1")
            assert reaches(attachment.sandbox_path, WORLD)
            again = BridgeDriver("orlopx0", tmp_path / "netns")
            again.open(driver.network())
            again.restore([("c1", attachment)])
            assert run("iptables", "-S", "DOCKER-USER").count("orlopx0") == 2, "once, however often it is asked"
            assert reaches(attachment.sandbox_path, WORLD)
        finally:
            driver.remove()
        assert run("iptables", "-S", "DOCKER-USER") == before

    run("ip", "netns", "add", world)
    try:
        in_own_thread(scene)
    finally:
        run("ip", "netns", "del", world)
