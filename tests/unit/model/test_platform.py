import pytest

from orlop.errors import Malformed
from orlop.model.platform import Platform, go_architecture, parse_platform

HERE = Platform("linux", "amd64")


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("", HERE),
        ("linux", HERE),
        ("arm64", Platform("linux", "arm64")),
        ("linux/x86_64", HERE),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("Windows/AMD64", Platform("windows", "amd64")),
    ],
)
def test_platforms_are_read_whole_or_in_part(text: str, platform: Platform) -> None:
    assert parse_platform(text, HERE) == platform


@pytest.mark.parametrize("text", ["a/b/c/d", "/", "linux/", "linux//v8", "a b"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="invalid platform"):
        parse_platform(text, HERE)


def test_unames_words_become_gos() -> None:
    assert [go_architecture(word) for word in ("x86_64", "aarch64", "mips")] == ["amd64", "arm64", "mips"]


def test_what_an_image_leaves_open_fits_any_machine() -> None:
    assert HERE.runs(Platform("", ""))
    assert HERE.runs(Platform("linux", "amd64", "v3"))
    assert not HERE.runs(Platform("linux", "arm64"))
    assert not Platform("linux", "arm", "v6").runs(Platform("linux", "arm", "v7"))
