from __future__ import annotations

import json

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import IMAGE, NET, UUID, VM, FakeNode

from cairn.cli.errors import Exit

CREATE = ("create-vm-instance", "name=web", "imageUuid=tiny", "l3NetworkUuids=flat")


def test_api_is_called_with_names_looked_up_and_shows_its_result(cli: Cli, node: FakeNode) -> None:
    node.jobs.insert(0, {"state": "Running", "progress": {"step": "choosing a host", "percent": 20}})
    ran = cli(*CREATE, "memorySize=128M")
    assert ran.code == Exit.OK
    assert VM in ran.out
    assert "choosing a host (20 %)" in ran.err
    assert node.calls()[0].body == {
        "params": {"name": "web", "imageUuid": IMAGE, "l3NetworkUuids": [NET], "memorySize": 128 << 20}
    }


def test_json_is_the_answer_and_nothing_else(cli: Cli) -> None:
    ran = cli(*CREATE, "--json")
    assert json.loads(ran.out) == {"inventory": {"uuid": VM, "name": "web"}}
    assert ran.err == ""


def test_quiet_is_the_uuid(cli: Cli) -> None:
    assert cli(*CREATE, "-q").out == f"{VM}\n"


def test_no_wait_prints_the_job_and_does_not_look_at_it(cli: Cli, node: FakeNode) -> None:
    ran = cli(*CREATE, "--no-wait", "-q")
    assert ran.out.strip() == node.calls()[0].headers["x-job-uuid"]
    assert not any("api-jobs" in one.path for one in node.seen)


def test_dry_run_shows_the_request_and_sends_nothing(cli: Cli, node: FakeNode) -> None:
    ran = cli("add-kvm-host", "name=h", "password=hunter2", "--dry-run")
    assert ran.out.startswith(f"POST {node.url}/v1/hosts/kvm")
    assert "hunter2" not in ran.out
    assert not node.calls()


def test_failed_job_is_told_with_fields_cause_and_code(cli: Cli, node: FakeNode) -> None:
    node.jobs = [
        {
            "state": "Failed",
            "error": {
                "title": "Host: none fits",
                "detail": "No host has room.",
                "code": "host.none-fits",
                "fields": {"memorySize": "found 1 TiB"},
                "cause": {"detail": "128 MiB are asked for.", "code": "host.memory"},
            },
        }
    ]
    ran = cli(*CREATE)
    assert ran.code == Exit.REFUSED
    for part in ("No host has room.", "memorySize: found 1 TiB", "because: 128 MiB are asked for.", "host.none-fits"):
        assert part in ran.err
    assert ran.out == ""


def test_refused_call_is_json_for_programs(cli: Cli, node: FakeNode) -> None:
    node.answers["POST", "/v1/vm-instances"] = (400, {"title": "T", "detail": "D", "code": "api.invalid-field"})
    ran = cli(*CREATE, "--json")
    assert ran.code == Exit.REFUSED
    assert json.loads(ran.err)["error"]["code"] == "api.invalid-field"


def test_time_out_is_exit_code_4(cli: Cli, node: FakeNode) -> None:
    node.jobs = [{"state": "Running"}]
    assert cli(*CREATE, "--timeout", "0").code == Exit.UNFINISHED


def test_wrong_parameter_sends_nothing_and_is_exit_code_2(cli: Cli, node: FakeNode) -> None:
    ran = cli(*CREATE, "cpuNum=many")
    assert ran.code == Exit.USAGE
    assert "cpuNum" in ran.err
    assert not node.calls()


def test_ambiguous_name_lists_the_candidates(cli: Cli, node: FakeNode) -> None:
    node.rows["/v1/images"] += [{"uuid": UUID, "name": "tiny", "state": "Disabled"}]
    ran = cli(*CREATE)
    assert ran.code == Exit.USAGE
    assert IMAGE in ran.err
    assert f"{UUID} (Disabled)" in ran.err


def test_unknown_name_offers_what_is_near(cli: Cli) -> None:
    assert "Did you mean tiny?" in cli("create-vm-instance", "name=a", "imageUuid=tinny", "l3NetworkUuids=flat").err


def test_unknown_api_offers_what_is_near(cli: Cli) -> None:
    ran = cli("create-vm-instanse", "name=a")
    assert ran.code == Exit.USAGE
    assert "Did you mean create-vm-instance" in ran.err


def test_read_is_answered_at_once(cli: Cli, node: FakeNode) -> None:
    node.answers["GET", "/v1/ip-capacity"] = (200, {"totalCapacity": 7, "success": True})
    ran = cli("get-ip-address-capacity", "zoneUuids=zone")
    assert "totalCapacity" in ran.out
    assert "success" not in ran.out


def test_help_of_an_api_tells_parameters_types_docs_and_defaults(cli: Cli) -> None:
    for words in (("create-vm-instance", "--help"), ("help", "CreateVmInstance")):
        told = cli(*words).out
        for part in (
            "uuid or name of Image",
            "list of uuid or name of L3Network",
            "what people call it",
            "InstantStart | CreateStopped",
            "default: InstantStart",
            "--dry-run",
            "POST /v1/vm-instances",
        ):
            assert part in told


def test_help_of_a_command_is_its_own(cli: Cli) -> None:
    assert "sort=-field" in cli("help", "query").out
    assert cli("help", "nonsense").code == Exit.USAGE


def test_apis_are_found_by_a_word(cli: Cli) -> None:
    told = cli("apis", "kvm").out
    assert "add-kvm-host" in told
    assert "create-vm-instance" not in told
