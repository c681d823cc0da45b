"""What of a volume's options may be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import sampled_from, text

from orlop.errors import Malformed
from orlop.model.volume import HIDDEN, hide_in_device, hide_secret_words, hide_secrets, keep_secrets


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("", ""),
        ("rw,uid=5", "rw,uid=5"),
        ("addr=h,username=u,password=hush,ro", f"addr=h,username=u,password={HIDDEN},ro"),
        ("PASS=x,password2=y,passwd=z", f"PASS={HIDDEN},password2={HIDDEN},passwd={HIDDEN}"),
        ("passive,compass=n", "passive,compass=n"),
        ("rw,,password=hush", f"rw,,password={HIDDEN}"),
        ("password=a,,b,,c,ro", f"password={HIDDEN},ro"),
        ("password=a,,", f"password={HIDDEN}"),
        (
            "smb_pass=x,accountkey=y,name=admin,secret=z",
            f"smb_pass={HIDDEN},accountkey={HIDDEN},name=admin,secret={HIDDEN}",
        ),
        ("username=me%hush,uid=5", f"username=me%{HIDDEN},uid=5"),
        ("secretfile=/etc/x,credentials=/etc/y", "secretfile=/etc/x,credentials=/etc/y"),
    ],
)
def test_mount_options_are_shown_without_their_secrets(words: str, shown: str) -> None:
    assert hide_secret_words(words) == shown


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        ("//host/share", "//host/share"),
        ("//me:hush@host/share", f"//me:{HIDDEN}@host/share"),
        ("https://me:hu@sh@host/x", f"https://me:{HIDDEN}@host/x"),
        ("//me@host/a:b", "//me@host/a:b"),
        ("s3://bucket?secret=hush&region=eu", f"s3://bucket?secret={HIDDEN}&region=eu"),
        ("host:/export", "host:/export"),
        ("[fe80::1]:/export", "[fe80::1]:/export"),
    ],
)
def test_devices_are_shown_without_their_secrets(device: str, shown: str) -> None:
    assert hide_in_device(device) == shown


def test_driver_options_are_shown_without_their_secrets() -> None:
    options = {
        "type": "cifs",
        "device": "//h/share",
        "o": "username=u,password=hush",
        "access_key": "AK",
        "s3-secret": "x",
        "token": "t",
        "endpoint": "https://me:hush@host/x",
        "key": "hush",
        "host-key": "shown",
    }
    shown = hide_secrets(options)
    assert "hush" not in str(shown)
    assert shown["o"] == f"username=u,password={HIDDEN}"
    assert (shown["access_key"], shown["s3-secret"], shown["token"]) == (HIDDEN, HIDDEN, HIDDEN)
    assert shown["endpoint"] == f"https://me:{HIDDEN}@host/x"
    assert (shown["type"], shown["device"], shown["host-key"]) == ("cifs", "//h/share", "shown")


_WORDS = st.lists(
    st.tuples(
        st.sampled_from(["password", "pass2", "username", "user", "ro", "", "addr", "secret", "x"]),
        st.sampled_from(["", "=", "=a", "=a,,b", "=me%hush", "=//me:hu@sh@h/x?secret=y&z=1", "=,", f"={HIDDEN}"]),
    ).map("".join)
).map(",".join)
_OPTIONS = st.dictionaries(st.sampled_from(["o", "device", "token", "endpoint", "type"]), _WORDS)


@given(_OPTIONS)
def test_what_comes_back_as_it_was_shown_stays_what_it_was(options: dict[str, str]) -> None:
    assert keep_secrets(hide_secrets(options), options) == options


@given(_OPTIONS, _OPTIONS)
def test_what_is_hidden_is_never_taken_for_a_value(wanted: dict[str, str], stored: dict[str, str]) -> None:
    try:
        kept = keep_secrets(wanted, stored)
    except Malformed:
        return
    for key, value in kept.items():
        assert HIDDEN not in value or HIDDEN in stored[key]


@pytest.mark.parametrize(
    ("key", "stored", "wanted", "kept"),
    [
        ("o", "username=u,password=hush", f"password={HIDDEN},username=v,ro", "password=hush,username=v,ro"),
        ("o", "password=a,,b,ro", f"rw,password={HIDDEN}", "rw,password=a,,b"),
        ("o", "username=me%hush,ro", f"username=me%{HIDDEN}", "username=me%hush"),
        ("o", "password=hush", "password=new", "password=new"),
        ("device", "https://me:hush@old/x", f"https://me:{HIDDEN}@new/y", "https://me:hush@new/y"),
        ("device", "s3://b?secret=hush&region=eu", f"s3://b?secret={HIDDEN}&region=us", "s3://b?secret=hush&region=us"),
        ("token", "hush", HIDDEN, "hush"),
    ],
)
def test_the_rest_of_an_option_may_change_around_its_secret(key: str, stored: str, wanted: str, kept: str) -> None:
    assert keep_secrets({key: wanted}, {key: stored}) == {key: kept}


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [("", f"password={HIDDEN}"), ("username=me%hush", f"username=you%{HIDDEN}"), ("ro", f"//me:{HIDDEN}@h/x")],
)
def test_a_hidden_value_without_a_stored_one_is_refused(stored: str, wanted: str) -> None:
    with pytest.raises(Malformed, match="there is no stored one to keep"):
        keep_secrets({"o": wanted}, {"o": stored})


@given(
    text(min_size=6).map(lambda value: f"hush-{value}"),
    sampled_from(["password", "pass", "PASSWD", "secret", "smb_token", "access-key", "pwd"]),
    sampled_from(["", "rw,", "username=me,uid=5,", ",,"]),
)
def test_whatever_a_password_is_like_it_is_not_shown(secret: str, key: str, before: str) -> None:
    """A comma in it is doubled, as for cifs."""
    words = f"{before}{key}={secret.replace(',', ',,')},ro"
    shown = hide_secret_words(words)
    assert "hush-" not in shown
    assert shown == f"{before}{key}={HIDDEN},ro"


@given(text(alphabet="abcXYZ019:@%!?&=;,.-_~/+ ", min_size=4).map(lambda value: f"hush{value}"))
def test_whatever_a_password_in_an_address_is_like_it_is_not_shown(secret: str) -> None:
    assert hide_in_device(f"https://me:{secret}@host/path") == f"https://me:{HIDDEN}@host/path"
