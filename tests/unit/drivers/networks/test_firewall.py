"""The rules of a bridge, as nft reads them."""

from ipaddress import IPv4Network

from orlop.drivers.networks.firewall import render_rules

RULES = render_rules("orlop0", IPv4Network("172.17.0.0/16"))


def test_the_table_is_replaced_whole() -> None:
    assert RULES.startswith("add table ip orlop-orlop0\ndelete table ip orlop-orlop0\ntable ip orlop-orlop0 {")


def test_only_what_leaves_the_subnet_elsewhere_is_masqueraded() -> None:
    assert 'ip saddr 172.17.0.0/16 oifname != "orlop0" masquerade' in RULES


def test_the_outside_may_answer_and_nothing_more() -> None:
    into = [line.strip() for line in RULES.splitlines() if 'oifname "orlop0"' in line]
    assert into == [
        'iifname "orlop0" oifname "orlop0" accept',
        'oifname "orlop0" ct state established,related accept',
        'oifname "orlop0" drop',
    ]
