import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.changes import apply_changes
from orlop.model.image import ImageConfig

EMPTY = ImageConfig()


def changed(*changes: str, config: ImageConfig = EMPTY) -> ImageConfig:
    return apply_changes(config, changes)


def test_exec_form_is_taken_word_for_word() -> None:
    assert changed('CMD ["echo", "$HOME", "a b"]').command == ("echo", "$HOME", "a b")


def test_shell_form_is_run_by_the_images_shell() -> None:
    assert changed("cmd echo $HOME").command == ("/bin/sh", "-c", "echo $HOME")
    bash = replace(EMPTY, shell=("/bin/bash", "-c"))
    assert changed("CMD echo hi", config=bash).command == ("/bin/bash", "-c", "echo hi")


def test_new_entrypoint_drops_the_command_of_the_old_one() -> None:
    before = replace(EMPTY, command=("old",))
    assert changed('ENTRYPOINT ["/bin/x"]', config=before).command is None
    after = changed('CMD ["new"]', 'ENTRYPOINT ["/bin/x"]', config=before)
    assert (after.entrypoint, after.command) == (("/bin/x",), ("new",))


def test_env_replaces_in_place_and_expands_what_was_there_before() -> None:
    before = replace(EMPTY, env=("PATH=/bin", "A=1"))
    after = changed('ENV PATH=$PATH:/opt A="two words" B=${A}${NONE:-d}${A:+set}', "ENV C the rest", config=before)
    assert after.env == ("PATH=/bin:/opt", "A=two words", "B=1dset", "C=the rest")


def test_quotes_and_backslashes_keep_words_together() -> None:
    assert changed(r"""LABEL a='$x y' b=one\ word c="say \"hi\"" """).labels == {
        "a": "$x y",
        "b": "one word",
        "c": 'say "hi"',
    }


def test_expose_knows_ranges_and_protocols() -> None:
    assert changed("EXPOSE 80 8000-8002/udp").exposed_ports == ("80/tcp", "8000/udp", "8001/udp", "8002/udp")


def test_workdir_builds_on_the_one_before() -> None:
    assert changed("WORKDIR /srv", "WORKDIR app", "WORKDIR ../www").workdir == "/srv/www"


def test_volumes_add_up_in_both_forms() -> None:
    assert changed("VOLUME /a /b", 'VOLUME ["/c d"]').volumes == ("/a", "/b", "/c d")


def test_user_stopsignal_onbuild_are_kept() -> None:
    after = changed("USER 1000:1000", "STOPSIGNAL SIGQUIT", "ONBUILD RUN make")
    assert (after.user, after.stop_signal, after.on_build) == ("1000:1000", "SIGQUIT", ("RUN make",))


def test_healthcheck_is_kept_as_docker_writes_it() -> None:
    after = changed("HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f localhost")
    assert json.loads(after.healthcheck) == {
        "Test": ["CMD-SHELL", "curl -f localhost"],
        "Interval": 90_000_000_000,
        "Retries": 3,
    }
    assert json.loads(changed("HEALTHCHECK NONE").healthcheck) == {"Test": ["NONE"]}


def test_comments_and_continued_lines_are_understood() -> None:
    assert changed("# nothing\nENV A=1 \\\n  B=2").env == ("A=1", "B=2")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("RUN make", "run is not a valid change command"),
        ("nonsense", "nonsense is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "can't find = in"),
        ("LABEL =x", "names can not be blank"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
        ("EXPOSE 9-8", "invalid containerPort"),
        ("USER a b", "exactly one argument"),
        ('VOLUME [""]', "can not be an empty string"),
        ("STOPSIGNAL a b", "Invalid signal"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FROM x", "isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK TCP 80", "unknown type"),
        ("HEALTHCHECK CMD", "Missing command"),
        ("HEALTHCHECK --interval=x CMD y", "invalid duration"),
        ("HEALTHCHECK --port=1 CMD y", "unknown flag"),
        ("HEALTHCHECK --retries=-1 CMD y", "whole number"),
        ('ENV A="x', "unexpected end of statement"),
        ("ENV A=${x", "unexpected end of statement"),
        ("ENV A=${x%y}", "unsupported modifier"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(change: str, why: str) -> None:
    with pytest.raises(Malformed) as refused:
        changed(change)
    assert why in refused.value.message


instruction = st.sampled_from(
    ["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"]
)


@given(instruction, st.text(max_size=30))
def test_any_text_is_either_applied_or_malformed(name: str, text: str) -> None:
    try:
        apply_changes(EMPTY, [f"{name} {text}"])
    except Malformed as error:
        assert error.message
