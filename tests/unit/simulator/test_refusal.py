"""The error with which a simulated agent refuses a command."""

from __future__ import annotations

from cairn.agents.protocol.wire import Failure
from cairn.simulator.refusal import Refused


def test_refusal_is_a_failure_of_the_protocol() -> None:
    refused = Refused("agent.busy", "It is in use. Stop it first.")
    assert refused.failure == Failure(code="agent.busy", message="It is in use. Stop it first.")
    assert str(refused) == "It is in use. Stop it first."
