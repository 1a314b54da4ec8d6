"""Asks a cloud all kinds of queries, again and again with other values, and says how long each kind takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from cairn.cli.bench.wire import Connection, Origin
from cairn.cli.client import Json
from cairn.cli.errors import Problem, refused

_LIMIT = "100"
Question = tuple[tuple[str, str], ...]


class Sample(Struct, frozen=True, kw_only=True):
    """What is known of one VM, to ask for it and its like."""

    vm: str
    name: str
    host: str
    cluster: str
    network: str
    address: str


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of query."""

    name: str
    path: str
    ask: Callable[[Sample], Question]


class Timed(Struct, frozen=True, kw_only=True):
    """How a kind of query fared."""

    name: str
    asked: int
    rows: int  #: on the largest page
    total: int | None  #: the largest number counted
    p50_ms: float
    p99_ms: float
    max_ms: float
    node_cpu_ms: float  #: for one
    failed: dict[str, int] = {}  #: code -> how often


def _page(*more: tuple[str, str]) -> Callable[[Sample], Question]:
    return lambda _: (("limit", _LIMIT), *more)


def _where(condition: Callable[[Sample], str], *more: tuple[str, str]) -> Callable[[Sample], Question]:
    return lambda sample: (("q", condition(sample)), ("limit", _LIMIT), *more)


def _count(*conditions: str, up_to: int | None = None) -> Callable[[Sample], Question]:
    bound = () if up_to is None else (("countUpTo", str(up_to)),)
    return lambda sample: (("count", "true"), *bound, *(("q", one.format(sample=sample)) for one in conditions))


VMS, NICS, VOLUMES, HOSTS = "/v1/vm-instances", "/v1/vm-instances/nics", "/v1/volumes", "/v1/hosts"
_CLUSTER = "host.cluster.name={sample.cluster}"
OF_ALL: Sequence[Kind] = (
    Kind(name="list VMs", path=VMS, ask=_page()),
    Kind(name="list VMs, newest first", path=VMS, ask=_page(("sort", "-createDate"))),
    Kind(name="list VMs by name", path=VMS, ask=_page(("sort", "+name"))),
    Kind(name="VM of a name", path=VMS, ask=_where(lambda one: f"name={one.name}")),
    Kind(name="VMs whose name begins so", path=VMS, ask=_where(lambda one: f"name~={one.name[:-2]}%")),
    Kind(name="VMs in a state", path=VMS, ask=_where(lambda _: "state=Stopped")),
    Kind(name="VMs of a host's name (1 join)", path=VMS, ask=_where(lambda one: f"host.name={one.host}")),
    Kind(
        name="VMs of a cluster's name (2 joins)", path=VMS, ask=_where(lambda one: f"host.cluster.name={one.cluster}")
    ),
    Kind(
        name="the same, newest first",
        path=VMS,
        ask=_where(lambda one: f"host.cluster.name={one.cluster}", ("sort", "-createDate")),
    ),
    Kind(
        name="VMs of a network's name (2 joins)",
        path=VMS,
        ask=_where(lambda one: f"vmNics.l3Network.name={one.network}"),
    ),
    Kind(name="VMs of an address (1 join)", path=VMS, ask=_where(lambda one: f"vmNics.ip={one.address}")),
    Kind(name="VMs with a user tag", path=VMS, ask=_where(lambda _: "__userTag__=team-5")),
    Kind(name="hosts that are down", path=HOSTS, ask=_where(lambda _: "status=Disconnected")),
    Kind(name="volumes on a host (2 joins)", path=VOLUMES, ask=_where(lambda one: f"vmInstance.host.name={one.host}")),
    Kind(name="count VMs", path=VMS, ask=_count()),
    Kind(name="count VMs in a state", path=VMS, ask=_count("state=Stopped")),
    Kind(name="count VMs in most VMs' state", path=VMS, ask=_count("state=Running")),
    Kind(name="the same, up to 10,000", path=VMS, ask=_count("state=Running", up_to=10_000)),
    Kind(name="count VMs of a cluster's name", path=VMS, ask=_count(_CLUSTER)),
    Kind(name="count VMs of a network's name", path=VMS, ask=_count("vmNics.l3Network.name={sample.network}")),
    Kind(name="count hosts", path=HOSTS, ask=_count()),
)
OF_ACCOUNT: Sequence[Kind] = (
    Kind(name="an account's VMs", path=VMS, ask=_page()),
    Kind(name="an account's VMs, newest first", path=VMS, ask=_page(("sort", "-createDate"))),
    Kind(name="an account's VMs in a state", path=VMS, ask=_where(lambda _: "state=Stopped")),
    Kind(
        name="an account's VMs of a network", path=VMS, ask=_where(lambda one: f"vmNics.l3Network.name={one.network}")
    ),
    Kind(name="an account's network cards", path=NICS, ask=_page()),
    Kind(name="count an account's VMs", path=VMS, ask=_count()),
    Kind(name="count an account's VMs in a state", path=VMS, ask=_count("state=Stopped")),
    Kind(name="count an account's network cards", path=NICS, ask=_count()),
)


def deep(total: int, after: str | None) -> list[Kind]:
    """Pages in the middle of all VMs: counted from the first one, and behind another."""
    kinds = [Kind(name="page in the middle, by start", path=VMS, ask=_page(("start", str(total // 2))))]
    if after is not None:
        kinds.append(Kind(name="page in the middle, by after", path=VMS, ask=_page(("after", after))))
    return kinds


class _Answer(Struct, frozen=True):
    inventories: list[msgspec.Raw] | None = None
    total: int | None = None


class Asking:
    """Asks one kind of query after the other.

    Args:
        origin: the node, with the session of who asks.
        samples: the values to ask with, in turn.
        repeat: how often each kind is asked.
        concurrency: how many queries are open at a time.
        cpu_seconds: what the node has used until now.
    """

    def __init__(
        self,
        origin: Origin,
        samples: Sequence[Sample],
        repeat: int,
        concurrency: int,
        cpu_seconds: Callable[[], float],
    ) -> None:
        self._origin = origin
        self._samples = samples
        self._repeat = repeat
        self._concurrency = min(concurrency, repeat)
        self._cpu_seconds = cpu_seconds

    async def run(self, kind: Kind) -> Timed:
        """Ask a kind of query."""
        requests = iter([self._request(kind, sample) for sample in islice(cycle(self._samples), self._repeat)])
        seen: list[tuple[float, int, bytes]] = []
        cpu = await asyncio.to_thread(self._cpu_seconds)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(self._worker(requests, seen))
        cpu = await asyncio.to_thread(self._cpu_seconds) - cpu
        return _timed(kind, seen, cpu)

    def _request(self, kind: Kind, sample: Sample) -> bytes:
        return self._origin.request("GET", f"{kind.path}?{urlencode(kind.ask(sample), quote_via=quote)}")

    async def _worker(self, requests: Iterator[bytes], seen: list[tuple[float, int, bytes]]) -> None:
        connection: Connection = await self._origin.connect()
        for request in requests:
            started = time.perf_counter()
            status, body = await connection.exchange(request)
            seen.append((time.perf_counter() - started, status, body))
        connection.close()


def _timed(kind: Kind, seen: Sequence[tuple[float, int, bytes]], cpu_seconds: float) -> Timed:
    times = sorted(seconds * 1000 for seconds, _, _ in seen)
    answers = [msgspec.json.decode(body, type=_Answer) for _, status, body in seen if status == 200]
    failed: dict[str, int] = {}
    for _, status, body in seen:
        if status != 200:
            code = msgspec.json.decode(body, type=Problem).code
            failed[code] = failed.get(code, 0) + 1
    p50, p99 = (times[max(0, -(-len(times) * percent // 100) - 1)] for percent in (50, 99))
    return Timed(
        name=kind.name,
        asked=len(seen),
        rows=max((len(one.inventories or ()) for one in answers), default=0),
        total=max((one.total for one in answers if one.total is not None), default=None),
        p50_ms=round(p50, 2),
        p99_ms=round(p99, 2),
        max_ms=round(times[-1], 2),
        node_cpu_ms=round(cpu_seconds * 1000 / len(seen), 2),
        failed=failed,
    )


def sample_of(vm: Json, names: Callable[[str, str], str]) -> Sample:
    """What a VM's inventory tells. `names`: the name of an entity with this uuid.

    Raises:
        CliError: ``bench.no-cloud``: it has neither a host nor an address.
    """
    nics = vm.get("vmNics")
    host = vm.get("hostUuid") or vm.get("lastHostUuid")
    if not isinstance(nics, list) or not nics or not host:
        raise refused(
            "The VMs of this cloud have no hosts or no addresses; nothing can be asked of them.", code="bench.no-cloud"
        )
    nic: Json = nics[0]
    return Sample(
        vm=str(vm["uuid"]),
        name=str(vm["name"]),
        host=names("Host", str(host)),
        cluster=names("Cluster", str(vm["clusterUuid"])),
        network=names("L3Network", str(nic["l3NetworkUuid"])),
        address=str(nic["ip"]),
    )
