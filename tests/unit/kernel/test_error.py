from __future__ import annotations

import msgspec

from cairn.kernel.error import CairnError, ErrorKind, ErrorRecord, from_record, internal, invalid, not_found


def test_error_survives_the_database_with_its_cause_and_details() -> None:
    cause = CairnError("agent.gone", "It is gone.", kind=ErrorKind.UNAVAILABLE)
    details: dict[str, str | int | float | bool | list[str] | dict[str, str] | None] = {
        "undoPending": "u",
        "n": 1,
        "part": 0.5,
        "yes": True,
        "list": ["a"],
        "map": {"k": "v"},
        "none": None,
    }
    error = CairnError(
        "vm.not-started", "No.", fields={"uuid": "x"}, details=details, cause=cause, operator="host-1 is off."
    )

    back = from_record(msgspec.json.decode(msgspec.json.encode(error.record()), type=ErrorRecord))

    assert (back.code, back.kind, back.message, back.fields) == (error.code, error.kind, error.message, error.fields)
    assert back.details == details
    assert (back.cause, back.operator) == (cause.record(), "host-1 is off.")


def test_error_reads_as_sentence_code_and_cause() -> None:
    cause = CairnError("agent.gone", "It is gone.")

    assert str(CairnError("vm.no", "No.")) == "No. [vm.no]"
    assert str(CairnError("vm.no", "No.", cause=cause)) == "No. [vm.no] Cause: It is gone. [agent.gone]"


def test_wrong_input_says_what_was_found_and_what_fits() -> None:
    error = invalid("vm.bad-name", "name", "", "some text would fit", "Give it one.")

    assert error.message == "name: found ''; some text would fit. Give it one."
    assert error.fields == {"name": "found ''; some text would fit"}


def test_missing_resource_is_named_in_words() -> None:
    error = not_found("backup-storage", "backupStorageUuid", "x")

    assert (error.code, error.kind) == ("backup-storage.not-found", ErrorKind.NOT_FOUND)
    assert "there is no backup storage 'x'" in error.message


def test_bug_names_the_exception_to_operators_only() -> None:
    error = internal("StartVm", ZeroDivisionError("/secret/path"))

    assert error.operator == "ZeroDivisionError: /secret/path"
    assert "secret" not in error.message


def test_log_has_the_operators_texts() -> None:
    cause = CairnError("agent.gone", "It is gone.", operator="10.0.0.1")

    assert str(CairnError("vm.no", "No.", cause=cause, operator="h1")) == (
        "No. [vm.no] (h1) Cause: It is gone. [agent.gone] (10.0.0.1)"
    )


def test_whole_sentence_has_the_operators_text_behind_it() -> None:
    assert CairnError("vm.no", "No.", operator="h1 is off.").whole == "No. h1 is off."
    assert CairnError("vm.no", "No.").whole == "No."


def test_public_part_of_an_error_has_no_text_for_operators_at_any_depth() -> None:
    inner = CairnError("agent.gone", "It is gone.", operator="10.0.0.1", cause=CairnError("a.b", "C.", operator="x"))
    record = CairnError("vm.no", "No.", cause=inner, operator="h1").record()

    public = record.public()

    assert b"operator" not in msgspec.json.encode(public)
    assert public.cause is not None
    assert public.cause.message == "It is gone."
    assert CairnError("vm.no", "No.").record().public() == CairnError("vm.no", "No.").record()
