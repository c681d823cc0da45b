import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.reference import (
    MAX_NAME_LENGTH,
    Reference,
    is_image_id,
    matches_pattern,
    parse_id_prefix,
    parse_reference,
    parse_tag_target,
)

DIGEST = "sha256:" + "0a" * 32

word = st.text("abcdefghij0123456789", min_size=1, max_size=6)
component = st.lists(word, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "--"]).map(lambda mark: mark.join(words))
)
paths = st.lists(component, min_size=1, max_size=3).map("/".join)
domains = st.sampled_from(["docker.io", "localhost", "localhost:5000", "registry.example:443", "[::1]:80", "Upper"])
tags = st.one_of(st.just(""), st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=20)).filter(
    lambda tag: not tag.startswith((".", "-"))
)
references = st.builds(Reference, domains, paths, tags, st.sampled_from(["", DIGEST]))


@given(references)
def test_canonical_form_is_read_back_as_the_same_reference(reference: Reference) -> None:
    if reference.domain == "docker.io" and "/" not in reference.path:
        reference = Reference("docker.io", "library/" + reference.path, reference.tag, reference.digest)
    assert parse_reference(reference.canonical) == reference


@given(references)
def test_familiar_form_means_the_same_as_the_canonical_one(reference: Reference) -> None:
    read = parse_reference(reference.canonical)
    assert parse_reference(read.familiar) == read


@given(st.text(max_size=40))
def test_any_text_is_either_a_reference_or_malformed(text: str) -> None:
    try:
        read = parse_reference(text)
    except Malformed as error:
        assert error.message
    else:
        assert parse_reference(read.familiar) == read


@pytest.mark.parametrize(
    ("typed", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
        ("me/app", "docker.io/me/app", "me/app"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("my.host/a/b/c", "my.host/a/b/c", "my.host/a/b/c"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"a:t@{DIGEST}", f"docker.io/library/a:t@{DIGEST}", f"a:t@{DIGEST}"),
        ("sha256:abc", "docker.io/library/sha256:abc", "sha256:abc"),
    ],
)
def test_names_have_a_canonical_and_a_familiar_form(typed: str, canonical: str, familiar: str) -> None:
    reference = parse_reference(typed)
    assert (reference.canonical, reference.familiar) == (canonical, familiar)


@pytest.mark.parametrize(
    "text",
    ["", ":tag", "a:", "a@", "a//b", "/a", "a/", "-a", "a-", "a..b", "a:b:c", "a b", "a\n", "ä", "a:-x", "a@sha256:1"],
)
def test_what_is_no_name_is_an_invalid_reference_format(text: str) -> None:
    with pytest.raises(Malformed, match="invalid reference format"):
        parse_reference(text)


def test_upper_case_in_a_repository_is_refused_in_dockers_words() -> None:
    with pytest.raises(Malformed) as refused:
        parse_reference("BusyBox:1")
    assert refused.value.message == "invalid reference format: repository name (library/BusyBox) must be lowercase"


def test_sixty_four_hexadecimal_digits_are_an_id_and_no_name() -> None:
    with pytest.raises(Malformed, match="cannot specify 64-byte hexadecimal strings"):
        parse_reference("ab" * 32)
    assert is_image_id("ab" * 32)
    assert is_image_id("sha256:" + "ab" * 32)
    assert not is_image_id("ab" * 31)


def test_longest_name_is_accepted_and_one_more_is_not() -> None:
    assert parse_reference("h.io/" + "a" * MAX_NAME_LENGTH).path == "a" * MAX_NAME_LENGTH
    with pytest.raises(Malformed, match="must not be more than 255 characters"):
        parse_reference("h.io/" + "a" * (MAX_NAME_LENGTH + 1))


def test_longest_tag_is_accepted_and_one_more_is_not() -> None:
    assert parse_reference("a:" + "t" * 128).tag == "t" * 128
    with pytest.raises(Malformed):
        parse_reference("a:" + "t" * 129)


@pytest.mark.parametrize(
    ("text", "digits"), [("abc", "abc"), ("sha256:0f", "0f"), ("xyz", ""), ("", ""), ("a" * 65, "")]
)
def test_beginnings_of_ids_are_recognised(text: str, digits: str) -> None:
    assert parse_id_prefix(text) == digits


def test_tag_target_gets_the_default_tag() -> None:
    assert parse_tag_target("me/app", "").familiar == "me/app:latest"
    assert parse_tag_target("me/app:1", "2").familiar == "me/app:2"


@pytest.mark.parametrize(
    ("repository", "tag", "why"),
    [
        (f"a@{DIGEST}", "", "refusing to create a tag with a digest reference"),
        ("a", "b c", "invalid tag format"),
        ("sha256", "1", "refusing to create an ambiguous tag"),
        ("A", "1", "must be lowercase"),
    ],
)
def test_what_cannot_be_tagged_is_refused(repository: str, tag: str, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        parse_tag_target(repository, tag)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("busybox", "busybox:1", True),
        ("busybox:1", "busybox:1", True),
        ("busy*", "busybox:1", True),
        ("busy*", "me/busybox:1", False),
        ("*/busybox", "me/busybox:1", True),
        ("busybo?", "busybox:1", True),
        ("[a-c]usybox", "busybox:1", True),
        ("[^a-c]usybox", "busybox:1", False),
        (r"busy\*", "busybox:1", False),
        ("busybox.", "busybox:1", False),
    ],
)
def test_reference_filter_is_a_shell_pattern(pattern: str, name: str, matches: bool) -> None:
    assert matches_pattern(pattern, parse_reference(name)) is matches


@given(st.text(max_size=12))
def test_any_pattern_is_either_understood_or_malformed(pattern: str) -> None:
    try:
        matches_pattern(pattern, parse_reference("busybox:1"))
    except Malformed as error:
        assert "invalid filter" in error.message
