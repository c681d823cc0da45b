"""Options of JuiceFS volumes: what is refused, and that no password gets into an address."""

import pytest

from orlop.drivers.volumes.juicefs import JuicefsBackend
from orlop.drivers.volumes.juicefs_meta import parse_meta
from orlop.errors import Malformed

META = {"meta": "redis://127.0.0.1:6379/1", "name": "tree"}


@pytest.mark.parametrize(
    ("address", "password", "url", "kept"),
    [
        ("redis://127.0.0.1:6379/1", "", "redis://127.0.0.1:6379/1", ""),
        ("redis://127.0.0.1:6379/1", "word", "redis://127.0.0.1:6379/1", "word"),
        ("redis://:p%40ss@db:6379/1", "", "redis://:@db:6379/1", "p@ss"),
        ("rediss://me:word@one,two:6379/1", "", "rediss://me:@one,two:6379/1", "word"),
        ("postgres://me@db:5432/jfs?sslmode=disable", "word", "postgres://me:@db:5432/jfs?sslmode=disable", "word"),
        ("postgres://me@db/jfs", "", "postgres://me@db/jfs", ""),
        ("mysql://me:p%40@ss@(db:3306)/jfs", "", "mysql://me:@(db:3306)/jfs", "p%40@ss"),
        ("sqlite3:///var/lib/a@b:c.db", "", "sqlite3:///var/lib/a@b:c.db", ""),
        ("unix:///run/redis.sock?db=1", "word", "unix:///run/redis.sock?db=1", "word"),
    ],
)
def test_a_password_leaves_the_address(address: str, password: str, url: str, kept: str) -> None:
    found = parse_meta("create tree", address, password)
    assert (found.url, found.password) == (url, kept)
    assert str(found) == url and "word" not in repr(found)


@pytest.mark.parametrize(
    ("address", "password", "said"),
    [
        ("", "", "no address"),
        ("127.0.0.1:6379", "", "no address"),
        ("http://127.0.0.1/", "", "no address"),
        ("sqlite3://tree.db", "", "no absolute path"),
        ("redis://:planted@db/1", "other", "another in meta-password"),
        ("postgres://me@db/jfs?password=planted", "", "behind the question mark"),
    ],
)
def test_an_address_that_cannot_be_is_refused_without_repeating_it(address: str, password: str, said: str) -> None:
    with pytest.raises(Malformed, match=said) as refused:
        parse_meta("create tree", address, password)
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"meta": ""}, 'missing required option: "meta"'),
        ({"name": ""}, 'missing required option: "name"'),
        ({"name": "Tree"}, "name is 'Tree'"),
        ({"name": "-a-"}, "name is '-a-'"),
        ({"colour": "red"}, 'invalid option: "colour"'),
        ({"format": "always"}, "format is 'always'"),
        ({"subdir": "a/../.."}, "subdir leads upwards"),
        ({"cache-size": "much"}, "invalid size"),
        ({"read-only": "perhaps"}, "read-only is 'perhaps'"),
        ({"secret-key": "planted"}, "no bucket for it"),
        ({"bucket": "relative/path"}, "no absolute path"),
        ({"metadata-cache": "1s"}, "metadata-cache is '1s'"),
        ({"bucket": "/data", "trash-days": "many"}, "trash-days is 'many'"),
    ],
)
def test_options_that_could_never_work_are_refused(more: dict[str, str], said: str) -> None:
    with pytest.raises(Malformed, match=said) as refused:
        JuicefsBackend().check("create tree", META | more)
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        META,
        {"meta": "sqlite3:///tree.db", "format": "never"},
        META | {"bucket": "http://127.0.0.1:8333/tree", "access-key": "a", "secret-key": "b"},
        META | {"bucket": "/mnt/nas/tree", "cache-size": "10g", "subdir": "/a/b", "read-only": "true"},
    ],
)
def test_options_that_can_work_pass(options: dict[str, str]) -> None:
    JuicefsBackend().check("create tree", options)
