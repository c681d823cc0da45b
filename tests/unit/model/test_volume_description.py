"""What a volume says of itself in an archive comes back as it was said; secrets stay behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.volume import Volume
from orlop.model.volume_description import (
    VolumeDescription,
    describe_volume,
    parse_description,
    render_description,
)

texts = st.text(st.characters(blacklist_categories=("Cs",)))
maps = st.none() | st.dictionaries(texts, texts, max_size=4)


@given(texts, texts, maps, maps, st.lists(texts, max_size=3).map(tuple))
def test_it_comes_back_as_it_was_said(
    name: str,
    driver: str,
    labels: dict[str, str] | None,
    options: dict[str, str] | None,
    omitted: tuple[str, ...],
) -> None:
    description = VolumeDescription(name, driver, labels, options, omitted)
    text = render_description(description)
    assert parse_description(text) == description
    assert "\n" not in text and text.isascii()


def test_secrets_stay_behind_and_are_named() -> None:
    options = {"o": "username=me,password=hush", "device": "//user:hush@host/share", "size": "1g", "secret_key": "hush"}
    description = describe_volume(Volume("data", "1" * 64, "local", 0, "", {"a": "b"}, options))
    assert "hush" not in render_description(description)
    assert set(description.omitted_options) == {"o", "device", "secret_key"}
    assert description.options == {"size": "1g"} and description.labels == {"a": "b"}


@pytest.mark.parametrize("text", ["", "made by somebody else", "orlop.volume", "{}"])
def test_other_peoples_comments_say_nothing(text: str) -> None:
    assert parse_description(text) == VolumeDescription()


@pytest.mark.parametrize(
    "damaged",
    ["", "{", "[]", "3", '{"name": 3}', '{"labels": []}', '{"labels": {"a": 1}}', '{"omitted_options": 3}', "[" * 9999],
)
def test_a_damaged_one_is_refused(damaged: str) -> None:
    with pytest.raises(Malformed, match="damaged"):
        parse_description("orlop.volume/1 " + damaged)
