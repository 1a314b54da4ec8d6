from __future__ import annotations

from cairn.kernel.metrics import LAG_SECONDS, LagProbe, Metrics, Series
from cairn.testing.clock import VirtualClock


def lines(metrics: Metrics, start: str) -> list[str]:
    return [line for line in metrics.render().decode().splitlines() if line.startswith(start)]


def test_histogram_counts_into_the_first_bound_that_holds() -> None:
    series = Series((1.0, 10.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        series.observe(value)
    assert series.buckets() == [("1.0", 2.0), ("10.0", 3.0), ("+Inf", 4.0)]
    assert series.total == 102.0


def test_histogram_is_rendered_with_labels_count_and_sum() -> None:
    metrics = Metrics()
    metrics.messages.of("vm.start", "ok").observe(0.25)
    assert lines(metrics, "cairn_message_seconds_sum") == [
        'cairn_message_seconds_sum{message="vm.start",outcome="ok"} 0.25'
    ]
    assert 'cairn_message_seconds_bucket{le="0.5",message="vm.start",outcome="ok"} 1.0' in lines(metrics, "cairn_mess")


def test_counter_and_gauges_are_rendered() -> None:
    metrics = Metrics()
    metrics.counter("cairn_things", "Things.", "kind").add("a", amount=2)
    own = metrics.gauge("cairn_level", "Level.", "tank")
    own.set(5, "one")
    own.add(-2, "one")
    metrics.gauge("cairn_depth", "Depth.").read_from(lambda: {(): 7.0})
    assert lines(metrics, "cairn_things_total") == ['cairn_things_total{kind="a"} 2.0']
    assert lines(metrics, "cairn_level") == ['cairn_level{tank="one"} 3.0']
    assert lines(metrics, "cairn_depth") == ["cairn_depth 7.0"]


def test_agent_calls_are_counted_with_errors_by_code() -> None:
    metrics = Metrics()
    metrics.agents.called("vm.create", 0.1, "ok")
    metrics.agents.called("vm.create", 0.2, "agent.unreachable")
    metrics.agents.asked_again("vm.create")
    assert lines(metrics, "cairn_agent_call_seconds_count") == [
        'cairn_agent_call_seconds_count{command="vm.create"} 2.0'
    ]
    assert lines(metrics, "cairn_agent_errors_total") == [
        'cairn_agent_errors_total{code="agent.unreachable",command="vm.create"} 1.0'
    ]
    assert lines(metrics, "cairn_agent_asked_again_total") == ['cairn_agent_asked_again_total{command="vm.create"} 1.0']


def test_transactions_are_counted_with_their_batch() -> None:
    metrics = Metrics()
    metrics.store.committed(6, 0.002)
    metrics.store.read(0.001)
    assert lines(metrics, "cairn_transaction_batch_sum") == ["cairn_transaction_batch_sum 6.0"]
    assert lines(metrics, "cairn_transaction_seconds_count") == [
        'cairn_transaction_seconds_count{kind="write"} 1.0',
        'cairn_transaction_seconds_count{kind="read"} 1.0',
    ]


def test_process_memory_and_cpu_are_there() -> None:
    metrics = Metrics()
    assert lines(metrics, "process_resident_memory_bytes")
    assert lines(metrics, "process_cpu_seconds_total")


def test_two_nodes_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.jobs.set(3, "running")
    assert lines(one, "cairn_jobs{") == ['cairn_jobs{state="running"} 3.0']
    assert lines(other, "cairn_jobs{") == []


async def test_loop_lag_is_how_late_the_probe_is_called() -> None:
    clock, metrics = VirtualClock(), Metrics()
    probe = LagProbe(metrics, clock)
    for seconds in (LAG_SECONDS, LAG_SECONDS + 0.25, LAG_SECONDS + 0.5):
        await probe.look()
        await clock.advance(seconds)
    await probe.look()
    assert lines(metrics, "cairn_event_loop_lag_seconds_count") == ["cairn_event_loop_lag_seconds_count 3.0"]
    assert lines(metrics, "cairn_event_loop_lag_seconds_sum") == ["cairn_event_loop_lag_seconds_sum 0.75"]


def test_what_goes_through_the_broker_is_counted_by_direction() -> None:
    metrics = Metrics()
    metrics.broker.sent(3)
    metrics.broker.received(2)
    metrics.broker.dropped("buffer-full", 4)
    rendered = metrics.render().decode()
    for line in (
        'cairn_broker_messages_total{direction="sent"} 1.0',
        'cairn_broker_envelopes_total{direction="sent"} 3.0',
        'cairn_broker_envelopes_total{direction="received"} 2.0',
        'cairn_broker_dropped_total{reason="buffer-full"} 4.0',
    ):
        assert line in rendered
