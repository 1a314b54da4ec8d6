from __future__ import annotations

import pytest
from msgspec.structs import replace

from cairn.agents.protocol.vm import DestroyVm
from cairn.agents.protocol.wire import Done
from cairn.kernel.bus.message import decode_message, encode_message
from cairn.kernel.error import CairnError
from cairn.kernel.machine.calls import AgentAnswer, CallAgent, answer_of, packed, unpacked

MESSAGE = packed("Host", "h1", DestroyVm(vm="v" * 32), timeout_seconds=3.0, idle=True)


def test_a_command_arrives_on_the_machines_node_as_it_was_sent() -> None:
    arrived = decode_message(encode_message(MESSAGE))
    assert isinstance(arrived, CallAgent)
    assert unpacked(arrived) == DestroyVm(vm="v" * 32)
    assert (arrived.machine, arrived.entity, arrived.timeout_seconds, arrived.idle) == ("h1", "Host", 3.0, True)


def test_what_the_agent_answers_comes_back_in_the_commands_own_type() -> None:
    assert answer_of(DestroyVm(vm="v" * 32), AgentAnswer(body=b"{}")) == Done()


@pytest.mark.parametrize("message", [replace(MESSAGE, command="no.such"), replace(MESSAGE, body=b'{"vm":1}')])
def test_a_command_that_this_node_does_not_have_is_refused(message: CallAgent) -> None:
    with pytest.raises(CairnError, match="bring all to the same one") as caught:
        unpacked(message)
    assert caught.value.code == "machine.unknown-command"
