"""The metrics of one node, for Prometheus. Each node has a registry of its own; nothing is global.

Observing happens on the hottest paths, some thirty times for each VM, so counts are kept in plain lists here and turned
into Prometheus families only when somebody asks for them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from threading import Lock

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from cairn.kernel.clock import Clock

#: Upper bounds in seconds, from a local message to a long download.
SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0)
#: How often a `LagProbe` looks.
LAG_SECONDS = 1.0
#: Upper bounds for numbers of things handled at once.
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Series:
    """One histogram: observe it often, read it seldom."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value` in its bucket and add it to the sum."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated counts by upper bound, as Prometheus wants them."""
        found: list[tuple[str, float]] = []
        cumulated = 0
        for bound, number in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            cumulated += number
            found.append((bound, float(cumulated)))
        return found


class Histogram:
    """Histograms by labels. Keep what `of` returns: looking it up costs more than observing."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...], bounds: tuple[float, ...] = SECONDS) -> None:
        self._name, self._help, self._labels, self._bounds = name, help_text, labels, bounds
        self._series: dict[tuple[str, ...], Series] = {}

    def of(self, *labels: str) -> Series:
        """The histogram with these labels."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Series(self._bounds)
        return series

    def family(self) -> Metric:
        """The values as a Prometheus family."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for labels, series in self._series.items():
            family.add_metric(labels, series.buckets(), series.total)
        return family


class Counter:
    """Counts by labels; they only grow."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...]) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._values: dict[tuple[str, ...], float] = {}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Raise the count of these labels by `amount`."""
        self._values[labels] = self._values.get(labels, 0) + amount

    def value(self, *labels: str) -> float:
        """The count so far; 0 if there was none."""
        return self._values.get(labels, 0)

    def family(self) -> Metric:
        """The values as a Prometheus family."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class Gauge:
    """A value by labels that goes up and down, set or read when somebody asks."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._values: dict[tuple[str, ...], float] = {}
        self._read: Callable[[], dict[tuple[str, ...], float]] | None = None

    def set(self, value: float, *labels: str) -> None:
        """Set the value of these labels."""
        self._values[labels] = value

    def add(self, amount: float, *labels: str) -> None:
        """Raise the value of these labels by `amount`, or lower it by a negative one."""
        self._values[labels] = self._values.get(labels, 0) + amount

    def value(self, *labels: str) -> float:
        """The value now; 0 if it was never set."""
        return self.values().get(labels, 0)

    def read_from(self, read: Callable[[], dict[tuple[str, ...], float]]) -> None:
        """Ask `read` for all values (by labels) whenever metrics are rendered, instead of being told."""
        self._read = read

    def values(self) -> dict[tuple[str, ...], float]:
        """All values now, by labels."""
        return self._read() if self._read is not None else dict(self._values)

    def family(self) -> Metric:
        """The values as a Prometheus family."""
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for labels, value in self.values().items():
            family.add_metric(labels, value)
        return family


class Metrics(Collector):
    """All metrics of one node."""

    def __init__(self) -> None:
        self._families: list[Histogram | Counter | Gauge] = []
        self.messages = self.histogram(
            "cairn_message_seconds", "Handling of messages, by tag and outcome (ok, error).", "message", "outcome"
        )
        self.events = self.histogram("cairn_event_seconds", "Handling of events by subscribers.", "event", "subscriber")
        self.queue_running = self.gauge("cairn_queue_running", "Work running in resource queues.", "kind")
        self.queue_waiting = self.gauge("cairn_queue_waiting", "Work waiting in resource queues.", "kind")
        self.queue_keys = self.gauge("cairn_queues", "Resource queues that are not empty.", "kind")
        self.queue_wait = self.histogram("cairn_queue_wait_seconds", "Waiting for a turn in a resource queue.", "kind")
        self.jobs = self.gauge("cairn_jobs", "Jobs by state (running, waiting).", "state")
        self.jobs_waiting = self.gauge("cairn_jobs_waiting", "Jobs that wait for their turn, by API.", "api")
        self.job_oldest_wait = self.gauge("cairn_job_oldest_wait_seconds", "How long the oldest of them has waited.")
        self.certificates = self.gauge(
            "cairn_certificate_end_timestamp_seconds",
            "When the first certificate ends of the authority, the node, and each kind of machine, in seconds since the epoch.",
            "certificate",
        )
        self.certificates_ending = self.gauge(
            "cairn_certificates_ending", "Certificates that should have been renewed by now.", "certificate"
        )
        self.agents = AgentCounts(self)
        self.pings = self.counter(
            "cairn_pings", "Pings of machines, by kind and outcome (ok, failed).", "kind", "outcome"
        )
        self.ping_wait = self.histogram(
            "cairn_ping_wait_seconds", "How long pings of machines that answer waited for their place.", "kind"
        )
        self.store = StoreCounts(self)
        self.broker = BrokerCounts(self)
        self.loop_failures = self.counter(
            "cairn_loop_failures", "Rounds of background loops that failed, by loop.", "loop"
        )
        self.loop_success = self.gauge(
            "cairn_loop_last_success_seconds", "Time since a background loop last did its work.", "loop"
        )
        self.loop_lag = self.histogram("cairn_event_loop_lag_seconds", "How late the event loop runs what is due.")
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def histogram(self, name: str, help_text: str, *labels: str, bounds: tuple[float, ...] = SECONDS) -> Histogram:
        """A new histogram of this node; for plugins, too."""
        family = Histogram(name, help_text, labels, bounds)
        self._families.append(family)
        return family

    def counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """A new counter of this node."""
        family = Counter(name, help_text, labels)
        self._families.append(family)
        return family

    def gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        """A new gauge of this node."""
        family = Gauge(name, help_text, labels)
        self._families.append(family)
        return family

    def collect(self) -> Iterable[Metric]:
        """All families, for Prometheus' registry."""
        return [family.family() for family in self._families]

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class AgentCounts:
    """Counts calls to agents: how long they took, which failed, which had to be asked about."""

    def __init__(self, metrics: Metrics) -> None:
        self.seconds = metrics.histogram("cairn_agent_call_seconds", "Calls to agents, by command.", "command")
        self.errors = metrics.counter(
            "cairn_agent_errors", "Failed calls to agents, by command and code.", "command", "code"
        )
        self.repeats = metrics.counter(
            "cairn_agent_asked_again", "Calls whose answer did not come by itself, by command.", "command"
        )

    def called(self, command: str, seconds: float, outcome: str) -> None:
        """A call has ended; `outcome` is ``ok`` or the error's code."""
        self.seconds.of(command).observe(seconds)
        if outcome != "ok":
            self.errors.add(command, outcome)

    def asked_again(self, command: str) -> None:
        """The answer to a call did not come by itself."""
        self.repeats.add(command)


class StoreCounts:
    """Counts transactions. Called from the store's threads, so it locks."""

    def __init__(self, metrics: Metrics) -> None:
        seconds = metrics.histogram("cairn_transaction_seconds", "Commits and reads (write, read).", "kind")
        self.writes, self.reads = seconds.of("write"), seconds.of("read")
        self.batch = metrics.histogram("cairn_transaction_batch", "Transactions in one commit.", bounds=SIZES).of()
        self._lock = Lock()

    def committed(self, transactions: int, seconds: float) -> None:
        """One commit made that many transactions durable."""
        with self._lock:
            self.writes.observe(seconds)
            self.batch.observe(transactions)

    def read(self, seconds: float) -> None:
        """One read took that long."""
        with self._lock:
            self.reads.observe(seconds)


class BrokerCounts:
    """Counts what goes to other nodes and comes from them through a broker. Without one there are no values."""

    def __init__(self, metrics: Metrics) -> None:
        self._envelopes = metrics.counter(
            "cairn_broker_envelopes",
            "Calls, answers and events that went to other nodes (sent, received).",
            "direction",
        )
        self._messages = metrics.counter(
            "cairn_broker_messages", "Messages of the broker, each with many envelopes.", "direction"
        )
        self._dropped = metrics.counter(
            "cairn_broker_dropped",
            "Envelopes that found no room (buffer-full) or were refused; calls are repeated.",
            "reason",
        )
        self.waiting = metrics.gauge("cairn_broker_waiting_bytes", "Bytes that the broker does not have yet.")
        self.connected = metrics.gauge("cairn_broker_connected", "Whether the broker is connected (1) or not (0).")

    def sent(self, envelopes: int) -> None:
        """A message has arrived at the broker."""
        self._messages.add("sent")
        self._envelopes.add("sent", amount=envelopes)

    def received(self, envelopes: int) -> None:
        """A message has come in."""
        self._messages.add("received")
        self._envelopes.add("received", amount=envelopes)

    def dropped(self, reason: str, envelopes: int) -> None:
        """Envelopes do not arrive."""
        self._dropped.add(reason, amount=envelopes)


class LagProbe:
    """Measures how late the event loop runs what is due. `look` is called every `LAG_SECONDS`."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._lag = metrics.loop_lag.of()
        self._clock = clock
        self._due: float | None = None

    async def look(self) -> None:
        """Note how late this call is."""
        now = self._clock.monotonic()
        if self._due is not None:
            self._lag.observe(max(0.0, now - self._due))
        self._due = now + LAG_SECONDS
