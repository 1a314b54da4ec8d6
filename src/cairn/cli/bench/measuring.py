"""What all measurements have in common: the cloud that is measured, and the processes that work for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from cairn.cli import output
from cairn.cli.bench.around import Local, Meter, around, listeners
from cairn.cli.bench.gauge import Gauge, Process, own_peak_bytes
from cairn.cli.bench.load import Ended
from cairn.cli.bench.wire import Origin
from cairn.cli.client import Client
from cairn.cli.context import Context
from cairn.cli.errors import refused
from cairn.cli.http import HttpClient
from cairn.kernel.files import open_more

_OTHER_FILES = 100


class Cloud(Struct, frozen=True, kw_only=True):
    """The cloud that was measured."""

    store: str
    durable: bool | None  #: None: the node does not say
    bus: str
    nodes: int
    hosts: int
    vms: int


class Measuring:
    """Looks at a cloud before and after a run.

    Args:
        context: of the command line.
    """

    def __init__(self, context: Context) -> None:
        client = context.client
        self.client = client
        self.session = client.session_uuid()
        self.origin = Origin(client.url, self.session, context.ca_file)
        self._gauge = Gauge(client.http, context.data_dir, headers={"Authorization": f"OAuth {self.session}"})
        self.local = around([client.url, *others(client)])
        self.begin()

    def begin(self) -> None:
        """Count what processes use from now on."""
        self._meter = Meter(self.local)
        self._own = time.process_time()

    @property
    def nodes(self) -> list[Local]:
        """The nodes on this machine."""
        return [one for one in self.local if one.name.partition("-")[0] == "node"]

    def metrics(self) -> str:
        """The metrics of all nodes that answer, one after the other."""
        headers = {"Authorization": f"OAuth {self.session}"}
        answers = [self.client.http.request("GET", "/metrics", headers=headers)]
        for url in others(self.client):
            http = HttpClient(url)
            try:
                answers.append(http.request("GET", "/metrics", headers=headers))
            finally:
                http.close()
        return "\n".join(answer.body.decode() for answer in answers)

    def cloud(self) -> Cloud:
        """The cloud as it is now."""
        said = self._gauge.read()
        return Cloud(
            store=said.store,
            durable=said.durable,
            bus=said.bus,
            nodes=total(self.client, "ManagementNode") or 1,
            hosts=total(self.client, "Host"),
            vms=total(self.client, "VmInstance"),
        )

    @property
    def entry(self) -> set[int]:
        """The processes that listen on the address that calls go to."""
        return set(listeners([self.client.url]))

    def all_time(self) -> list[Process]:
        """What each process on this machine has used since it was started; the load's own is the last."""
        return [*Meter(self.local, since_start=True).read(), self._bench()]

    def processes(self) -> list[Process]:
        """What each process on this machine has used since this object was made; the load's own is the last."""
        return [*self._meter.read(), self._bench()]

    def _bench(self) -> Process:
        cpu = round(time.process_time() - self._own, 2)
        return Process(name="bench", cpu_seconds=cpu, peak_memory_bytes=own_peak_bytes())


def total(client: Client, entity: str, *conditions: str) -> int:
    """How many of a kind there are."""
    return client.query(entity, conditions, options=(("count", "true"),)).total or 0


def others(client: Client) -> list[str]:
    """The addresses of the cloud's nodes that are not the client's own."""
    scheme = client.url.partition(":")[0]
    rows = client.query("ManagementNode", []).inventories
    urls = [f"{scheme}://{row['hostName']}:{row['port']}" for row in rows if row.get("hostName")]
    return [url for url in urls if url != client.url.rstrip("/")]


def check_files(connections: int) -> None:
    """Raise the limit of files that so many connections need (exit code 1 if that is not allowed)."""
    files = open_more(connections + _OTHER_FILES)
    if files < connections + _OTHER_FILES:
        raise refused(
            f"{connections} connections take as many files, and this process may have {files}. Raise the limit (ulimit -n), or "
            f"have {max(files - _OTHER_FILES, 1)} in flight.",
            code="bench.few-files",
        )


def errors(ended: Iterable[Ended]) -> dict[str, int]:
    """code -> how often."""
    return dict(Counter(one.error for one in ended if one.error is not None))


def show(cloud: Cloud, processes: Iterable[Process]) -> dict[str, object]:
    """The lines that tell of the cloud and its processes."""
    durable = {True: "durable", False: "not durable", None: "durability unknown"}[cloud.durable]
    lines: dict[str, object] = {
        "cloud": f"{cloud.hosts} hosts, {cloud.vms} VMs; {cloud.nodes} nodes, {cloud.store} ({durable}), bus: {cloud.bus}"
    }
    for one in processes:
        lines[one.name] = f"{one.cpu_seconds:.2f} s of CPU, at most {output.human_bytes(one.peak_memory_bytes)}"
    return lines


def milliseconds(*values: float | None) -> str:
    """Times in a row, for people."""
    return " / ".join("-" if value is None else f"{value:.1f} ms" for value in values)
