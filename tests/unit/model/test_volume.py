"""What of a volume's options may be shown."""

import pytest

from orlop.model.volume import HIDDEN, hide_in_device, hide_secret_words, hide_secrets


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
        "key": "shown",
    }
    shown = hide_secrets(options)
    assert "hush" not in str(shown)
    assert shown["o"] == f"username=u,password={HIDDEN}"
    assert (shown["access_key"], shown["s3-secret"], shown["token"]) == (HIDDEN, HIDDEN, HIDDEN)
    assert shown["endpoint"] == f"https://me:{HIDDEN}@host/x"
    assert (shown["type"], shown["device"], shown["key"]) == ("cifs", "//h/share", "shown")
