"""A node that plays its part over real HTTP on loopback: schema, login, collections, jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from msgspec import Struct

Json = dict[str, object]
UUID = "a" * 32
VM, IMAGE, NET, ZONE = ("1" * 32, "2" * 32, "3" * 32, "4" * 32)


def _param(name: str, type_: str, **more: object) -> Json:
    return {"name": name, "type": type_, "required": False, **more}


def _api(name: str, cli: str, verb: str, path: str, *params: Json, **more: object) -> Json:
    return {
        "name": name,
        "cliName": cli,
        "doc": f"{name} does it.\n\nAt length.",
        "verb": verb,
        "path": path,
        "key": "params" if verb == "POST" else None,
        "isJob": True,
        "access": "account",
        "entity": "VmInstance",
        "params": list(params),
        **more,
    }


def _field(name: str, kind: str = "text", **more: object) -> Json:
    return {"name": name, "kind": kind, "doc": f"its {name}", "unit": "", "choices": [], "shown": True, **more}


def _entity(
    name: str, path: str, fields: list[Json], joins: list[Json] | None = None, columns: tuple[str, ...] = ()
) -> Json:
    return {
        "columns": list(columns),
        "name": name,
        "doc": f"A {name}.",
        "path": path,
        "key": "uuid",
        "subtypes": {},
        "fields": [_field("uuid", "id"), _field("name"), *fields],
        "joins": joins or [],
    }


def _uuid(name: str, refers: str | None = None, **more: object) -> Json:
    return _param(name, "uuid", **({"refers": refers} if refers else {}), **more)


SCHEMA: Json = {
    "version": "v1",
    "settings": [],
    "apis": [
        _api(
            "CreateVmInstance",
            "create-vm-instance",
            "POST",
            "/v1/vm-instances",
            _param("name", "text", required=True, doc="what people call it", fits="text of 1 to 255 characters"),
            _uuid("imageUuid", "Image", required=True),
            _uuid("l3NetworkUuids", "L3Network", required=True, many=True),
            _param("cpuNum", "integer", fits="a whole number from 1 to 1024"),
            _param("memorySize", "integer", doc="bytes"),
            _param("strategy", "enum", enum=["InstantStart", "CreateStopped"], default="InstantStart"),
            _param("virtio", "boolean", default=True),
            _param("systemTags", "text", many=True, default=[]),
            _param("disks", "object", many=True, fields=[_param("size", "integer")]),
            _uuid("resourceUuid"),
        ),
        _api("StopVmInstance", "stop-vm-instance", "PUT", "/v1/vm-instances/{uuid}/actions",
             _uuid("uuid", "VmInstance", required=True, inPath=True), _param("type", "enum", enum=["grace", "cold"]),
             key="stopVmInstance"),
        _api("DestroyVmInstance", "destroy-vm-instance", "DELETE", "/v1/vm-instances/{uuid}",
             _uuid("uuid", required=True, inPath=True),
             _param("deleteMode", "enum", enum=["Permissive", "Enforcing"], default="Permissive"), entity=None),
        _api("AddKVMHost", "add-kvm-host", "POST", "/v1/hosts/kvm",
             _param("name", "text", required=True), _param("password", "text", secret=True)),
        _api("AttachNetworkServiceToL3Network", "attach-network-service-to-l3-network", "POST",
             "/v1/l3-networks/{l3NetworkUuid}/network-services",
             _uuid("l3NetworkUuid", "L3Network", required=True, inPath=True),
             _param("networkServices", "map", fits="an object whose values are each a list, each text")),
        *[_api(f"{verb}ManagementNode", f"{verb.lower()}-management-node", "PUT", "/v1/management-nodes/{uuid}/actions",
               _uuid("uuid", "ManagementNode", required=True, inPath=True), key=f"{verb.lower()}ManagementNode")
          for verb in ("Drain", "Resume")],
        _api("RemoveManagementNode", "remove-management-node", "DELETE", "/v1/management-nodes/{uuid}",
             _uuid("uuid", required=True, inPath=True)),
        _api("GetCurrentTime", "get-current-time", "PUT", "/v1/management-nodes/actions", key="getCurrentTime", isJob=False),
        _api("GetIpAddressCapacity", "get-ip-address-capacity", "GET", "/v1/ip-capacity",
             _uuid("zoneUuids", "Zone", many=True), _param("all", "boolean", default=False), isJob=False, entity=None),
    ],
    "entities": [
        _entity(
            "VmInstance",
            "/v1/vm-instances",
            [
                _field("state", "enum", choices=["Running", "Stopped"], operators=["=", "!=", "?="]),
                _field("memorySize", "int", unit="bytes"),
                _field("cpuNum", "int"),
                _field("createDate", "time"),
            ],
            [{"name": "vmNics", "entity": "VmNic", "many": True}],
            ("name", "uuid", "state", "vmNics.ip", "cpuNum", "memorySize", "hostUuid", "createDate"),
        ),
        _entity("VmNic", "/v1/vm-instances/nics", [_field("ip")],
                [{"name": "l3Network", "entity": "L3Network", "many": False}]),
        _entity("Image", "/v1/images", [_field("state")]),
        _entity("L3Network", "/v1/l3-networks", []),
        _entity("Zone", "/v1/zones", []),
        _entity("Host", "/v1/hosts", [_field("status", "enum", choices=["Connected", "Disconnected"])]),
        _entity("ManagementNode", "/v1/management-nodes", [_field("state")]),
        _entity("Job", "/v1/jobs", [_field("api"), _field("state"), _field("createDate", "time")]),
        _entity("Cluster", "/v1/clusters", []),
        _entity("SimulatorHost", "/v1/hosts/simulators", [_field("url")]),
        _entity("GlobalConfig", "/v1/global-configurations", [_field("value")]),
        _entity("WorkflowRun", "/v1/workflow-runs", []),
        _entity("ManagementNode", "/v1/management-nodes", []),
    ],
}  # fmt: skip


class Seen(Struct, frozen=True):
    """A request that came."""

    verb: str
    path: str
    query: dict[str, list[str]]
    body: Json | None
    headers: dict[str, str]


class FakeNode:
    """What the node knows, and what it was asked.

    `jobs` says how jobs go: each look at any job takes the next of these, the last one for good.
    """

    def __init__(self) -> None:
        self.url = ""
        self.password = "secret"
        self.sessions: set[str] = set()
        self.logins = 0
        self.most = 1000  #: rows on a page
        self.rows: dict[str, list[Json]] = {
            "/v1/vm-instances": [
                {"uuid": VM, "name": "web", "state": "Running", "memorySize": 128 << 20, "vmNics": [{"ip": "10.0.0.2"}]}
            ],
            "/v1/images": [{"uuid": IMAGE, "name": "tiny", "state": "Enabled"}],
            "/v1/l3-networks": [{"uuid": NET, "name": "flat"}, {"uuid": "5" * 32, "name": "other"}],
            "/v1/zones": [{"uuid": ZONE, "name": "zone"}],
        }
        self.jobs: list[Json] = [{"state": "Succeeded", "result": {"inventory": {"uuid": VM, "name": "web"}}}]
        self.answers: dict[tuple[str, str], tuple[int, Json]] = {}
        self.seen: list[Seen] = []
        self.metrics = ""
        self.events: list[Json] = []
        self.closing: Json | None = None  #: the last words of a stream of events

    def handle(self, request: Seen) -> tuple[int, bytes]:
        """Answer one request."""
        self.seen.append(request)
        if request.path in ("/v1/schema", "/metrics", "/readyz"):
            return 200, {"/v1/schema": msgspec.json.encode(SCHEMA), "/metrics": self.metrics.encode()}.get(
                request.path, b"{}"
            )
        if request.path == "/v1/accounts/login":
            return self._login(request)
        if request.headers.get("authorization", "").removeprefix("OAuth ") not in self.sessions:
            return _problem(401, "auth.expired", "The session has expired.")
        return self._known(request)

    def calls(self) -> list[Seen]:
        """What was asked to be changed."""
        return [one for one in self.seen if one.verb != "GET" and not one.path.startswith("/v1/accounts")]

    def _known(self, request: Seen) -> tuple[int, bytes]:
        answer = self.answers.get((request.verb, request.path))
        if answer is not None:
            return answer[0], msgspec.json.encode(answer[1])
        if request.path == "/v1/events":
            lines = [b"event: x\ndata: %s\n\n" % msgspec.json.encode(event) for event in self.events]
            if self.closing is not None:
                lines.append(b"event: closed\ndata: %s\n\n" % msgspec.json.encode(self.closing))
            return 200, b"".join(lines)
        if request.path.startswith("/v1/api-jobs/"):
            job = self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]
            return 200, msgspec.json.encode({"uuid": request.path.rpartition("/")[2], "api": "CreateVmInstance", **job})
        if request.verb == "GET":
            return 200, msgspec.json.encode(self._page(request))
        job_uuid = request.headers.get("x-job-uuid", UUID)
        return 202, msgspec.json.encode({"uuid": job_uuid, "location": "", "state": "Waiting"})

    def _login(self, request: Seen) -> tuple[int, bytes]:
        given = request.body["logInByAccount"] if request.body else None
        if not isinstance(given, dict) or given["password"] != self.password:
            return _problem(401, "auth.wrong-password", "The account or the password is wrong.")
        self.logins += 1
        session = f"{self.logins:032x}"
        self.sessions.add(session)
        return 200, msgspec.json.encode({"inventory": {"uuid": session}})

    def _page(self, request: Seen) -> Json:
        rows = self.rows.get(request.path, [])
        for condition in request.query.get("q", []):
            field, _, value = condition.partition("=")
            rows = [row for row in rows if field not in row or str(row[field]) == value]
        if request.query.get("count") == ["true"]:
            return {"total": len(rows)}
        begin = int(request.query.get("after", ["0"])[0])
        end = begin + min(int(request.query.get("limit", ["1000"])[0]), self.most)
        return {"inventories": rows[begin:end], **({"next": str(end)} if end < len(rows) else {})}


def _problem(status: int, code: str, detail: str) -> tuple[int, bytes]:
    return status, msgspec.json.encode({"title": "No", "status": status, "code": code, "detail": detail})


@contextmanager
def served(node: FakeNode) -> Iterator[FakeNode]:
    """The node, listening."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length) if length else b""
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = msgspec.json.decode(raw, type=dict[str, object]) if raw else None
            request = Seen(self.command, unquote(parts.path), parse_qs(parts.query), body, headers)
            status, content = node.handle(request)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do  # noqa: N815 - the base class looks for these

        def log_message(self, format: str, *args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    node.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
