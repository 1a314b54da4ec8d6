"""The contract between the management node and the agents on managed machines.

Everything that crosses the wire is declared here and nowhere else; the real agents, the simulator and
the management node all import this package, so the three cannot drift apart.

The exchange
    The management node sends ``POST {base}/v1/commands`` with a `Request`. The agent answers

    * ``200`` with a `Reply` when the work was done within a moment (`Request.wait_seconds`), or
    * ``202`` with an empty JSON object, and later ``POST {callback}`` with the same `Reply`.

    ``GET {base}/v1/tasks/{task}`` answers ``200`` with the `Reply` of a finished task, ``202`` while it is
    being worked on, ``404`` when the agent has never heard of it (or was restarted since).
    ``GET {base}/v1/ping`` answers a `Pong`.

Taking back
    ``DELETE {base}/v1/tasks/{task}`` cancels a task and waits for the end of its clean-up. It answers ``200`` with the
    task's `Reply`: ``agent.cancelled``, or how it ended if it was done before; ``202`` when the clean-up takes long
    (ask again); ``404`` when the agent has never heard of the task. A task that comes after it was taken back is
    refused as ``agent.cancelled``, so that a request still on its way begins nothing. Safe to repeat.

Idempotence
    A task id is run at most once for as long as the agent lives: the same task sent again is answered
    with the same `Reply`. In addition, every command is idempotent by itself (ensure, not create), so that a
    task repeated after the agent was restarted does no harm.

Fences
    A `Request` says in whose turn it is given, and in which epoch the node took that (`Request.fences`). An agent remembers
    the highest epoch by resource, also over its own restarts, and fails a task of a lower one with ``agent.stale-epoch``: its
    node has lost the work, or the machine, to another one. Without fences nothing is refused. An agent that does not know of
    them passes over them.

Reports
    Events on a machine that no command caused are told by ``POST {report_url}`` with a `Report`.

Trust
    Real agents speak TLS 1.2 or later with certificates of the cloud's own authority in both directions. The
    simulator speaks plain HTTP on loopback.
"""
