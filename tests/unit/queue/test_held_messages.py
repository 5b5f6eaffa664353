"""What a process knows of the messages that it holds."""

from imagefleet_worker.queue.claim_listener import ClaimListener
from imagefleet_worker.queue.held_messages import HeldMessages


def test_a_claim_is_on_its_way_until_its_message_is_read_or_gone() -> None:
    """A drain that did not wait for it would leave its message with a worker that ends."""
    held = HeldMessages(listener=ClaimListener(), wake=lambda: None)
    assert held.wait_until_read(0)
    held.claiming("read")
    held.claiming("gone")
    assert not held.wait_until_read(0)
    held.note_job("read", "a job")
    assert not held.wait_until_read(0)
    held.forget("gone")
    assert held.wait_until_read(0)
    assert held.waiting_tokens() == ["read"]


def test_each_message_is_given_back_by_the_drain_or_by_who_read_it_too_late() -> None:
    """By both, the messages would not keep their order."""
    held = HeldMessages(listener=ClaimListener(), wake=lambda: None)
    held.claiming("in time")
    held.claiming("late")
    assert held.note_job("in time", "a job")
    assert held.take_waiting(0) == ["in time"]
    assert not held.note_job("late", "another")


def test_no_claim_begins_after_the_drain_has_begun() -> None:
    """Its message would go back in front of the ones that the drain has taken back."""
    held = HeldMessages(listener=ClaimListener(), wake=lambda: None)
    assert held.claiming("before")
    held.stop_claiming()
    assert not held.claiming("after")
    assert held.tokens() == ["before"]
