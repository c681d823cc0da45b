"""How options name secrets."""

import pytest

from orlop.errors import Malformed
from orlop.model.secret import check_secret_name, is_reference, names_of_secrets, resolve_secrets
from orlop.model.volume import hide_secrets, keep_secrets

VALUES = {"nas": "hunter2", "key.v1": "a,b=c"}


def test_a_name_stands_for_its_value_alone_and_within_a_longer_one() -> None:
    options = {"o": "username=me,password=secret://nas,ro", "secret-key": "secret://key.v1", "device": "//h/s"}
    assert names_of_secrets(options) == ("nas", "key.v1")
    assert resolve_secrets(options, VALUES.__getitem__) == {
        "o": "username=me,password=hunter2,ro",
        "secret-key": "a,b=c",
        "device": "//h/s",
    }


def test_a_value_that_looks_like_a_name_is_not_resolved_again() -> None:
    assert resolve_secrets({"a": "secret://x"}, lambda name: "secret://nas") == {"a": "secret://nas"}


def test_a_name_is_shown_and_a_value_is_not() -> None:
    options = {"secret-key": "secret://s3", "o": "password=secret://nas", "password": "plain"}
    shown = hide_secrets(options)
    assert shown == {"secret-key": "secret://s3", "o": "password=secret://nas", "password": "********"}
    assert keep_secrets(shown, options) == options


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../x", "a b", "x" * 129, "-x"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        check_secret_name(name)


@pytest.mark.parametrize("options", [{"a": "secret://"}, {"a": "secret://.x"}])
def test_options_that_name_what_cannot_be_a_secret_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        names_of_secrets(options)


@pytest.mark.parametrize(
    ("value", "is_one"), [("secret://a", True), ("secret://a,b", False), ("a", False), ("", False)]
)
def test_only_a_name_and_nothing_else_is_a_reference(value: str, is_one: bool) -> None:
    assert is_reference(value) is is_one
