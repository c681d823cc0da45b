import random

import pytest

from orlop.errors import Malformed
from orlop.model.names import is_id_prefix, parse_container_name, pick_name


@pytest.mark.parametrize("name", ["app", "/app", "a1", "web_1", "x.y-z"])
def test_good_names_lose_their_slash(name: str) -> None:
    assert parse_container_name(name) == name.lstrip("/")


@pytest.mark.parametrize("name", ["", "a", "-x", "_x", ".x", "a b", "a/b", "//a", "ä1", "x\n"])
def test_bad_names_are_refused_in_dockers_words(name: str) -> None:
    with pytest.raises(Malformed, match=r"Invalid container name"):
        parse_container_name(name)


def test_a_picked_name_is_free_and_good() -> None:
    taken: set[str] = set()
    source = random.Random(1)
    for _ in range(500):
        name = pick_name(source.choice, taken.__contains__, lambda: source.randrange(10**6))
        assert name not in taken
        assert parse_container_name(name) == name
        taken.add(name)


def test_id_prefixes() -> None:
    assert is_id_prefix("0af")
    assert not is_id_prefix("0ag")
    assert not is_id_prefix("")
