"""Adding a KVM host: the step that remembers how to log in."""

from __future__ import annotations

from msgspec import Struct

from cairn.kernel.deploy.installer import AgentInstaller
from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.plugins.kvm.model import KvmHost


class RecordKvmInput(Struct, frozen=True, kw_only=True):
    """How to log in."""

    host_uuid: str
    username: str
    password: str | None
    private_key: str | None
    ssh_port: int


class RecordKvm(TransactionStep[RecordKvmInput, Nothing]):
    """Write down how to log in."""

    name = "kvm.record-login"
    title = "writing down how to log in"

    def __init__(self, installer: AgentInstaller) -> None:
        self._installer = installer

    def do(self, tx: Tx, given: RecordKvmInput) -> Nothing:
        """Insert."""
        tx.insert(
            KvmHost(
                uuid=given.host_uuid,
                username=given.username,
                password=given.password,
                private_key=given.private_key,
                ssh_port=given.ssh_port,
            )
        )
        return NOTHING

    def undo(self, tx: Tx, given: RecordKvmInput, made: Nothing | None) -> None:
        """Forget it, and the key that was pinned."""
        tx.delete(KvmHost, given.host_uuid)
        tx.after_commit(lambda: self._installer.forget(given.host_uuid))
