import pytest

from orlop.errors import Malformed
from orlop.kernel.signals import parse_signal, signal_name


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("9", 9),
        ("HUP", 1),
        ("RTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "NOPE", "RTMIN+40", "RTMAX+1", "9.5", "SIG"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="Invalid signal"):
        parse_signal(text)


def test_names_of_signals() -> None:
    assert signal_name(15) == "SIGTERM"
    assert signal_name(40) == "40"
