"""Settings of the audit plugin."""

from __future__ import annotations

from cairn.kernel.config import Setting

REQUIRE_TICKET = Setting(
    "audit", "requireTicket", False, doc="whether a VM is refused whose tags do not name the ticket it is made for"
)
HOSTS_FOR_TICKETS = Setting(
    "audit",
    "hostsForTickets",
    "",
    doc="the beginning of the names of hosts that take only VMs with a ticket; empty: there are none",
    longest=255,
)
