"""Settings of L2 networks."""

from __future__ import annotations

from cairn.kernel.config import Setting

FIRST_VNI = Setting(
    "l2", "vxlan.firstVni", 10_000, minimum=1, maximum=16_777_214, doc="the lowest VNI that is chosen for new networks"
)
LAST_VNI = Setting(
    "l2", "vxlan.lastVni", 99_999, minimum=1, maximum=16_777_214, doc="the highest VNI that is chosen for new networks"
)
PARALLELISM = Setting(
    "l2", "realize.parallelism", 50, minimum=1, maximum=1000, doc="hosts that bridges are made on at a time"
)
