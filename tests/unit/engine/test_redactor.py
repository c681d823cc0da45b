"""What was noted is in no error, no answer and no line of the log."""

import io
import logging
import sys

import pytest

from orlop.engine.redactor import Redactor, redact_log
from orlop.errors import Unavailable


@pytest.fixture
def redactor() -> Redactor:
    found = Redactor()
    found.note(["planted"])
    return found


def test_an_error_keeps_its_kind_and_its_sentence(redactor: Redactor) -> None:
    with pytest.raises(Unavailable) as raised, redactor.hiding():
        raise Unavailable("mount of planted", "no planted here", "Try planted")
    assert raised.value.message == "mount of ********: no ******** here. Try ********"
    assert "planted" not in repr(raised.value)


def test_answers_are_searched_to_the_bottom(redactor: Redactor) -> None:
    assert redactor.hide_in({"a": [{"planted": "x-planted"}], "n": 1}) == {"a": [{"********": "x-********"}], "n": 1}


def test_what_is_noted_later_is_hidden_too(redactor: Redactor) -> None:
    redactor.note(["another"])
    assert redactor.hide("planted and another") == "******** and ********"


def test_the_log_and_its_tracebacks_are_searched(redactor: Redactor, monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    redact_log(redactor)
    try:
        raise OSError("planted in it")
    except OSError:
        logging.getLogger("a").warning("it says %s", "planted", exc_info=sys.exc_info())
    assert said.getvalue().startswith("WARNING it says ********\nTraceback") and "planted" not in said.getvalue()
