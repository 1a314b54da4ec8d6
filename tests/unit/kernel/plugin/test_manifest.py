from __future__ import annotations

import pytest

from cairn.kernel.flow.engine import FlowEngine
from cairn.kernel.plugin.manifest import Manifest, Parts


def test_what_a_manifest_does_not_say_is_nothing() -> None:
    manifest = Manifest(name="x", doc="nothing", build=lambda parts: None)

    nothing = [manifest.requires, manifest.records, manifest.api, manifest.settings, manifest.tags, manifest.workflows]
    assert not any(nothing)
    assert manifest.workflow_file is manifest.migrations is None


def test_flows_are_there_once_all_steps_are_known() -> None:
    parts = Parts.__new__(Parts)
    parts._flows = None
    later = parts.lazy_flows()
    with pytest.raises(AssertionError, match="after all services are built"):
        later()

    engine = FlowEngine.__new__(FlowEngine)
    parts.complete(engine)

    assert later() is engine
