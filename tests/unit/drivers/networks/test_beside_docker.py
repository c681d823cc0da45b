"""Our rules among those of others in Docker's chain."""

from orlop.drivers.networks.beside_docker import ours, render_rules

LISTING = """\
-N DOCKER-USER
-A DOCKER-USER -i orlop0 -o eth0 -j ACCEPT
-A DOCKER-USER -o orlop0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -i orlop01 -o eth0 -j ACCEPT
-A DOCKER-USER -s 192.0.2.0/24 -j DROP
-A DOCKER-USER -j RETURN
"""


def test_only_the_rules_of_this_bridge_are_ours() -> None:
    assert ours(LISTING, "orlop0") == [
        ["-i", "orlop0", "-o", "eth0", "-j", "ACCEPT"],
        ["-o", "orlop0", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
    ]
    assert ours(LISTING, "orlop") == []


def test_the_way_out_is_by_the_uplinks_only() -> None:
    rules = [" ".join(rule) for rule in render_rules("orlop0", ["eth0", "wlan0"])]
    assert rules == [
        "-o orlop0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-i orlop0 -o eth0 -j ACCEPT",
        "-i orlop0 -o wlan0 -j ACCEPT",
    ]
