"""Notes about what happened to VMs, and the tickets that they were made for."""

from collections.abc import Sequence

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.services.host.provided import HostAgents
from cairn_audit.notes import Notes
from cairn_audit.rules import KeepHeld, NoteTickets, TicketsFirst
from cairn_audit.service import AuditService


def build(node: NodeContext) -> Sequence[object]:
    notes = Notes(node.store, node.ids, node.tags)
    node.bus.serve(AuditService(node.jobs, node.tags, node.need(HostAgents)))
    node.extensions.add(KeepHeld(node.tags), name="audit")
    node.extensions.add(NoteTickets(notes), name="audit")
    node.extensions.add(TicketsFirst(node.config, node.tags), name="audit")
    node.events.subscribe("audit.crashes", {"vm.crashed"}, notes.crashed, durable=True)
    return (notes,)


MANIFEST = Manifest(
    package="cairn_audit", build=build, requires=("vm", "host", "cairn>=0.0.1"), name="audit", version="0.2.0"
)
