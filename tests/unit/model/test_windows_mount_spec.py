r"""The grammar of -v for Windows containers, against the examples that Docker's own clients rely on."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.windows_mount_spec import (
    LAYERS,
    VOLUMES,
    Found,
    WindowsMount,
    WindowsMountKind,
    check_windows_mount,
    clean_windows_path,
    parse_windows_bind,
    parse_windows_mount_kind,
    refuse_windows_tmpfs,
    windows_volume_data,
    wrong_windows_volume_name,
)

BIND, VOLUME, PIPE = WindowsMountKind.BIND, WindowsMountKind.VOLUME, WindowsMountKind.NAMED_PIPE

# What is on the host of these examples.
HOST = {
    "c:\\": Found.DIRECTORY,
    "\\\\?\\c:\\windows": Found.DIRECTORY,
    "c:\\windows": Found.DIRECTORY,
    "c:\\windows\\system32\\ntdll.dll": Found.OTHER,
}


def look(path: str) -> Found:
    return HOST.get(path, Found.NOTHING)


ACCEPTED = [
    *("d:\\", "d:", "d:\\path", "d:\\path with space", "c:\\:d:\\", "c:\\windows\\:d:", "c:\\windows:d:\\s p a c e"),
    *("c:\\windows:d:\\s p a c e:RW", "c:\\program files:d:\\s p a c e i n h o s t d i r", "0123456789name:d:"),
    *("MiXeDcAsEnAmE:d:", "name:D:", "name:D::rW", "name:D::RW", "name:D::RO", "c:/:d:/forward/slashes/are/good/too"),
    *("c:/:d:/including with/spaces:ro", "c:\\Windows", "c:\\Program Files (x86)", "\\\\?\\c:\\windows\\:d:"),
    *("c:\\windows\\:\\\\?\\d:\\", "\\\\.\\pipe\\foo:\\\\.\\pipe\\foo", "//./pipe/foo://./pipe/foo"),
    *("test-aux-volume:d:", "test-com1:d:", "c:\\windows:d:"),
]
REFUSED = {
    "": "invalid volume specification: ''",
    ".": "invalid volume specification: '.'",
    "..\\": "invalid volume specification: '..\\'",
    "c:\\:..\\": "invalid volume specification: 'c:\\:..\\'",
    "c:\\:d:\\:xyzzy": "invalid volume specification: 'c:\\:d:\\:xyzzy'",
    "c:": "cannot be 'c:'",
    "c:\\": "cannot be 'c:'",
    "c:\\windows:c:\\": "cannot be 'c:'",
    "c:\\notexist:d:": "bind source path does not exist: c:\\notexist",
    "c:\\windows\\system32\\ntdll.dll:d:": "source path must be a directory",
    "d:\\pathandmode:rw": "invalid volume specification",
    "d:\\pathandmode:ro": "invalid volume specification",
    "\\\\server\\share:d:": "invalid volume specification",
    "\\\\.\\pipe\\foo:c:\\pipe": "'c:\\pipe' is not a valid pipe path",
    "c:\\windows\\system32\\ntdll.dll": "Only directories can be mapped",
    **{f"name{character}:d:": "invalid volume specification" for character in '<>:"\\*|?/'},
    **{
        f"{word}:d:": "cannot be a reserved word for Windows filenames"
        for word in ("con", "PRN", "aUx", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10)))
    },
}


@pytest.mark.parametrize("spec", ACCEPTED)
def test_what_docker_accepts_is_accepted(spec: str) -> None:
    parse_windows_bind(spec, lambda path: HOST.get(path, Found.DIRECTORY))


@pytest.mark.parametrize(("spec", "text"), REFUSED.items())
def test_what_docker_refuses_is_refused_in_its_words(spec: str, text: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_windows_bind(spec, look)
    assert text in refused.value.why
    assert refused.value.why.startswith(f"invalid volume specification: '{spec}'")


@pytest.mark.parametrize(
    ("spec", "mount"),
    [
        ("C:\\Windows\\:D:", WindowsMount(BIND, "c:\\windows", "d:")),
        ("c:/:d:/Forward/x:RO", WindowsMount(BIND, "c:\\", "d:\\forward\\x", True, "ro")),
        ("Name:D:\\", WindowsMount(VOLUME, "name", "d:\\")),
        ("name:d::rW", WindowsMount(VOLUME, "name", "d:", False, "rw")),
        ("d:\\Path\\", WindowsMount(VOLUME, "", "d:\\path")),
        ("\\\\?\\c:\\windows\\:\\\\?\\d:\\", WindowsMount(BIND, "\\\\?\\c:\\windows", "\\\\?\\d:\\")),
        ("//./pipe/Foo://./pipe/Bar", WindowsMount(PIPE, "\\\\.\\pipe\\foo", "\\\\.\\pipe\\bar")),
        ("c:\\windows\\system32\\..:d:\\a\\.\\..\\b", WindowsMount(BIND, "c:\\windows", "d:\\b")),
    ],
)
def test_everything_is_folded_to_one_spelling(spec: str, mount: WindowsMount) -> None:
    assert parse_windows_bind(spec, look) == mount


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        (WindowsMount(BIND, "c:\\windows", ""), "field Target must not be empty"),
        (WindowsMount(BIND, "", "d:"), "field Source must not be empty"),
        (WindowsMount(BIND, "c:\\windows", "d:", propagation="rslave"), "invalid propagation mode: rslave"),
        (WindowsMount(BIND, "windows", "d:"), "invalid mount path: 'windows' mount path must be absolute"),
        (WindowsMount(BIND, "c:\\windows", "x"), "invalid mount path: 'x' mount path must be absolute"),
        (WindowsMount(BIND, "c:\\none", "d:"), "bind source path does not exist: c:\\none"),
        (WindowsMount(BIND, "c:\\windows", "C:/."), "destination path cannot be 'c:' or 'c:\\'"),
        (WindowsMount(BIND, "c:\\windows", "\\\\?\\c:\\"), "destination path cannot be 'c:' or 'c:\\'"),
        (WindowsMount(VOLUME, "COM7", "d:"), "volume name 'com7' cannot be a reserved word for Windows filenames"),
        (WindowsMount(PIPE, "", "\\\\.\\pipe\\x"), "field Source must not be empty"),
        (WindowsMount(PIPE, "//./pipe/x", "//./pipe/x", True), "field ReadOnly must not be specified"),
        (WindowsMount(PIPE, "c:\\x", "//./pipe/x"), "'c:\\x' is not a valid pipe path"),
        (WindowsMount(PIPE, "//./pipe/x", "d:"), "'d:' is not a valid pipe path"),
    ],
)
def test_a_wrong_mount_is_refused_with_what_is_wrong(mount: WindowsMount, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        check_windows_mount(mount, look)
    assert refused.value.why == f'invalid mount config for type "{mount.kind}": {reason}'


@pytest.mark.parametrize("kind", ["tmpfs", "image", "cluster", "floppy"])
def test_kinds_that_windows_containers_have_not_are_unknown(kind: str) -> None:
    with pytest.raises(Malformed, match="mount type unknown"):
        parse_windows_mount_kind(kind)
    with pytest.raises(Malformed, match="windows does not support tmpfs"):
        refuse_windows_tmpfs()
    assert parse_windows_mount_kind("npipe") is PIPE


def test_data_lies_where_docker_keeps_it() -> None:
    assert str(VOLUMES) == "C:\\ProgramData\\Docker\\volumes"
    assert str(LAYERS) == "C:\\ProgramData\\Docker\\windowsfilter"
    assert str(windows_volume_data("Data")) == "C:\\ProgramData\\Docker\\volumes\\data\\_data"


def test_only_whole_names_are_reserved() -> None:
    assert wrong_windows_volume_name("com0") == wrong_windows_volume_name("console") == ""
    assert wrong_windows_volume_name("Lpt9") and wrong_windows_volume_name("a/b") and wrong_windows_volume_name("")


letters = st.text('cdCD:\\/.?*<>|" \nnamepirow1', max_size=30)


@example("c:\\" + "a\\" * 5000 + ":")  # a pattern that tries everything twice would never end
@example("c:" + "\\a" * 5000 + "<")
@given(letters | st.text(max_size=40))
def test_any_text_is_parsed_or_refused_and_what_is_parsed_is_clean(spec: str) -> None:
    try:
        mount = parse_windows_bind(spec, lambda path: Found.DIRECTORY)
    except Malformed as refused:
        assert refused.why
        return
    assert clean_windows_path(mount.destination) == mount.destination == mount.destination.lower()
    assert "/" not in mount.destination
    written = ":".join(part for part in (mount.source, mount.destination, mount.mode) if part)
    assert parse_windows_bind(written, lambda path: Found.DIRECTORY) == mount


@given(letters)
def test_cleaning_twice_changes_nothing(path: str) -> None:
    once = clean_windows_path(path)
    assert clean_windows_path(once) == once
