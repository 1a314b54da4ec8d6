"""Wrong input: an error that names the field, what was found and what would fit; and nothing is changed."""

from __future__ import annotations

from typing import cast

import pytest
from msgspec import Struct
from tests.flows.world import differences, snapshot

from cairn.testing.cloud import Cloud, Json

NOBODY = "0" * 32


class Wrong(Struct, frozen=True):
    """A call that is refused.

    ``$vm`` and the like in a path or a value stand for what the site has. `code` may be of the job, where the call was accepted.
    """

    verb: str
    path: str
    body: Json | None
    status: int
    code: str
    field: str | None = None


def _vm(**fields: object) -> Json:
    good: Json = {
        "name": "web",
        "imageUuid": "$image",
        "l3NetworkUuids": ["$l3"],
        "cpuNum": 1,
        "memorySize": 64 << 20,
    }
    return {"params": {name: value for name, value in {**good, **fields}.items() if value != "$gone"}}


def _create(status: int, code: str, field: str | None, **fields: object) -> Wrong:
    return Wrong("POST", "/vm-instances", _vm(**fields), status, code, field)


def _post(status: int, path: str, code: str, field: str | None, **params: object) -> Wrong:
    return Wrong("POST", path, {"params": params}, status, code, field)


def _put(status: int, path: str, action: str, code: str, field: str | None, **params: object) -> Wrong:
    return Wrong("PUT", f"{path}/actions", {action: params}, status, code, field)


def _range(status: int, code: str, field: str | None, start: str, end: str) -> Wrong:
    ends = {"startIp": start, "endIp": end, "netmask": "255.255.0.0", "gateway": "10.89.0.1"}
    return _post(status, "/l3-networks/$l3/ip-ranges", code, field, name="range", **ends)


INVALID = "api.invalid-field"
WRONG = [
    # Fields that nobody knows, that are missing, of another type, out of range.
    _create(400, INVALID, "nmae", nmae="web"),
    _create(400, INVALID, "name", name="$gone"),
    _create(400, INVALID, "name", name=""),
    _create(400, INVALID, "name", name="x" * 256),
    _create(400, INVALID, "name", name=5),
    _create(400, INVALID, "cpuNum", cpuNum="one"),
    _create(400, INVALID, "cpuNum", cpuNum=0),
    _create(400, INVALID, "cpuNum", cpuNum=1.5),
    _create(400, INVALID, "cpuNum", cpuNum=100_000),
    _create(400, INVALID, "memorySize", memorySize=1),
    _create(400, INVALID, "memorySize", memorySize=-1),
    _create(400, INVALID, "l3NetworkUuids", l3NetworkUuids="$l3"),
    _create(400, INVALID, "l3NetworkUuids", l3NetworkUuids=[]),
    _create(400, INVALID, "imageUuid", imageUuid="no uuid"),
    _create(400, INVALID, "strategy", strategy="Sometime"),
    _create(400, INVALID, "resourceUuid", resourceUuid="short"),
    _post(400, "/zones", INVALID, "isDefault", name="z", isDefault="perhaps"),
    _post(400, "/clusters", INVALID, "hypervisorType", name="c", zoneUuid="$zone", hypervisorType="VAX"),
    _post(400, "/l2-networks/vxlan", INVALID, "vni", name="l", zoneUuid="$zone", vni=0),
    _post(400, "/l2-networks/vxlan", INVALID, "vni", name="l", zoneUuid="$zone", vni=1 << 24),
    # Things that are not there.
    _create(422, "image.not-found", "imageUuid", imageUuid=NOBODY),
    _create(422, "l3.not-found", "l3NetworkUuids", l3NetworkUuids=[NOBODY]),
    _create(422, "host.not-found", "hostUuid", hostUuid=NOBODY),
    _create(422, "cluster.not-found", "clusterUuid", clusterUuid=NOBODY),
    _create(422, "zone.not-found", "zoneUuid", zoneUuid=NOBODY),
    _create(
        422,
        "instance-offering.not-found",
        "instanceOfferingUuid",
        instanceOfferingUuid=NOBODY,
        cpuNum="$gone",
        memorySize="$gone",
    ),
    _put(404, f"/vm-instances/{NOBODY}", "startVmInstance", "vm.not-found", "uuid"),
    _put(404, f"/hosts/{NOBODY}", "reconnectHost", "host.not-found", "uuid"),
    Wrong("GET", f"/zones/{NOBODY}", None, 404, "zone.not-found"),
    _post(422, "/clusters", "zone.not-found", "zoneUuid", name="c", zoneUuid=NOBODY, hypervisorType="KVM"),
    # Calls that do not fit.
    _put(400, "/vm-instances/$vm", "dance", "api.no-action", None),
    Wrong("POST", "/vm-instances", {"parameters": {}}, 400, INVALID, "parameters"),
    Wrong("POST", "/no-such-things", {"params": {}}, 404, "api.unknown-path"),
    Wrong("DELETE", "/vm-instances", None, 405, "api.wrong-verb"),
    # States that do not allow it.
    _put(0, "/vm-instances/$vm", "expungeVmInstance", "vm.wrong-state", None),
    _put(0, "/vm-instances/$stopped", "rebootVmInstance", "vm.wrong-state", None),
    _put(0, "/vm-instances/$vm", "updateVmInstance", "vm.wrong-state", None, cpuNum=2),
    Wrong("DELETE", "/zones/$zone", None, 0, "zone.in-use"),
    Wrong("DELETE", "/clusters/$cluster", None, 0, "cluster.in-use"),
    Wrong("DELETE", "/hosts/$host-1", None, 0, "host.in-use"),
    Wrong("DELETE", "/l3-networks/$l3", None, 0, "l3.in-use"),
    Wrong("DELETE", "/l2-networks/$l2", None, 0, "l2.in-use"),
    Wrong("DELETE", "/primary-storage/$storage", None, 0, "primary-storage.in-use"),
    _put(
        0, "/global-configurations/host/ping.interval", "updateGlobalConfig", "config.bad-value", "value", value="soon"
    ),
    _put(0, "/global-configurations/host/ping.interval", "updateGlobalConfig", "config.bad-value", "value", value="0"),
    _put(0, "/global-configurations/host/nothing", "updateGlobalConfig", "config.not-found", "name", value="1"),
    # Values that contradict others, or what there is.
    _create(0, "vm.disk-too-small", "rootDiskSize", rootDiskSize=1 << 20),
    _create(0, "tag.unknown", "systemTags", systemTags=["colour::red"]),
    _create(0, "tag.bad-value", "systemTags", systemTags=["hostname::no host name"]),
    _create(400, "vm.size-missing", "cpuNum", cpuNum="$gone", memorySize="$gone"),
    _create(400, "vm.size-missing", "memorySize", memorySize="$gone"),
    _create(400, "vm.two-sizes", "cpuNum", instanceOfferingUuid=NOBODY),
    _create(400, "vm.network-twice", "l3NetworkUuids", l3NetworkUuids=["$l3", "$l3"]),
    _create(400, "vm.default-network", "defaultL3NetworkUuid", defaultL3NetworkUuid=NOBODY),
    _post(0, "/l2-networks/vxlan", "l2.vni-taken", None, name="l", zoneUuid="$zone", vni=1001),
    _range(0, "ip-range.overlaps", None, "10.89.0.50", "10.89.0.60"),
    _range(400, "l3.bad-address", "startIp", "10.89.0.600", "10.89.0.60"),
    _post(0, "/images", "image.wrong-url", "url", name="i", url="gopher://x/y", backupStorageUuids=["$backup"]),
    Wrong("GET", "/vm-instances?q=colour=red", None, 400, "query.unknown-field"),
    Wrong("GET", "/vm-instances?q=state", None, 400, "query.no-operator"),
    Wrong("GET", "/vm-instances?q=cpuNum=many", None, 400, "query.bad-value"),
    Wrong("GET", "/vm-instances?sort=colour", None, 400, "query.bad-sort"),
    Wrong("GET", "/vm-instances?limit=-1", None, 400, INVALID, "limit"),
]


def _filled(value: object, site: dict[str, str]) -> object:
    """The value with the site's uuids in it."""
    if isinstance(value, dict):
        return {name: _filled(inner, site) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, site) for inner in value]
    return site.get(value[1:], value) if isinstance(value, str) and value.startswith("$") else value


async def _answer(cloud: Cloud, wrong: Wrong) -> tuple[int, Json]:
    """How the call, or its job, is refused."""
    path = "/".join(str(_filled(part, cloud.site)) for part in wrong.path.split("/"))
    body = None if wrong.body is None else _filled(wrong.body, cloud.site)
    status, answer = await cloud.request(wrong.verb, f"/v1{path}", body)
    if status != 202:
        return status, answer
    for _ in range(100):
        _, job = await cloud.request("GET", f"/v1/api-jobs/{answer['uuid']}?wait=60")
        if job["state"] in ("Failed", "Succeeded"):
            return 202, cast("Json", job.get("error") or {})
    raise AssertionError("the job does not end")


async def test_what_is_wrong_is_refused_by_name_and_changes_nothing(cloud: Cloud) -> None:
    cloud.site["vm"] = str((await cloud.create_vm("web", host_uuid=cloud.site["host-1"]))["uuid"])
    stopped = await cloud.create_vm("idle")
    cloud.site["stopped"] = str((await cloud.call("StopVmInstance", uuid=stopped["uuid"]))["uuid"])
    before = snapshot(cloud)
    complaints = []
    for wrong in WRONG:
        status, problem = await _answer(cloud, wrong)
        told = (status if wrong.status else 0, problem.get("code"))
        fields = cast("Json", problem.get("fields") or {})
        if told != (wrong.status, wrong.code) or (wrong.field is not None and wrong.field not in fields):
            complaints.append((wrong.verb, wrong.path, wrong.code, wrong.field, status, problem))
        if changed := differences(before, snapshot(cloud)):
            complaints.append((wrong.verb, wrong.path, wrong.code, wrong.field, 0, {"changed": changed}))
            before = snapshot(cloud)
    assert complaints == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"params": []}', b'{"params": {}} more']
)
async def test_body_that_is_no_call_is_refused(cloud: Cloud, body: bytes) -> None:
    status, problem = await cloud.send_raw("POST", "/v1/zones", body)
    assert status == 400
    assert str(problem["code"]).startswith("api.")
    assert problem["detail"]
