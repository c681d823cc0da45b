"""Options of every driver's volumes that no driver is told of."""

import pytest

from orlop.errors import Malformed
from orlop.model.on_hang import HangPolicy, OnHang, for_driver, parse_hang_policy, policy_of


def test_drivers_are_told_of_their_own_options_only() -> None:
    assert for_driver({"on-hang": "kill", "hang-timeout": "5", "type": "s3"}) == {"type": "s3"}
    assert for_driver(None) == {}


def test_nothing_said_is_to_wait() -> None:
    assert parse_hang_policy("", None) == HangPolicy(OnHang.WAIT, 60)
    assert parse_hang_policy("", {"on-hang": "kill", "hang-timeout": "0"}) == HangPolicy(OnHang.KILL, 0)


@pytest.mark.parametrize("seconds", ["", "-1", "1.5", "10s", "٣", "99999999"])
def test_a_time_that_is_none_is_refused(seconds: str) -> None:
    with pytest.raises(Malformed, match="hang-timeout is"):
        parse_hang_policy("", {"on-hang": "kill", "hang-timeout": seconds})


def test_what_is_not_understood_waits() -> None:
    assert policy_of({"on-hang": "of-a-later-version"}) == HangPolicy()
