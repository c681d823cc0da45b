from orlop.engine.events import KEPT, Events
from orlop.model.event import Event


def test_listeners_hear_what_comes_and_since_gives_what_was() -> None:
    events, heard = Events(), list[Event]()
    events.publish("volume", "create", "a")
    token, past = events.subscribe(heard.append, since_ns=0)
    events.publish("volume", "destroy", "a", {"driver": "local"})
    assert [event.action for event in past] == ["create"]
    assert [(event.action, dict(event.attributes)) for event in heard] == [("destroy", {"driver": "local"})]
    events.unsubscribe(token)
    events.publish("volume", "create", "b")
    assert len(heard) == 1


def test_only_so_many_are_kept() -> None:
    events = Events()
    for number in range(KEPT + 10):
        events.publish("volume", "create", str(number))
    _, past = events.subscribe(lambda event: None, since_ns=0)
    assert (len(past), past[0].subject) == (KEPT, "10")


def test_without_since_nothing_of_the_past_is_told() -> None:
    events = Events()
    events.publish("volume", "create", "a")
    assert events.subscribe(lambda event: None)[1] == []
