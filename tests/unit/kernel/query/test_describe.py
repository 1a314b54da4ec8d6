from __future__ import annotations

from cairn.kernel.query import QueryEngine


def test_the_description_has_fields_with_kind_unit_doc_choices_and_operators(engine: QueryEngine) -> None:
    described = engine.schema()
    assert list(described) == sorted(described)
    host = {field.name: field for field in described["Host"].fields}
    memory = host["memory"]
    assert (memory.kind, memory.unit, memory.doc, memory.nullable) == ("int", "bytes", "in all", False)
    assert "~=" not in memory.operators
    assert host["name"].indexed
    assert not host["__systemTag__"].shown
    zone = {field.name: field for field in described["Zone"].fields}
    assert zone["state"].choices == ("Enabled", "Disabled")
    assert "secret" not in zone
    assert described["Zone"].doc == "A data center."


def test_the_description_has_joins_subtypes_and_ownership(engine: QueryEngine) -> None:
    described = engine.schema()
    joins = {join.name: join for join in described["VmInstance"].joins}
    assert (joins["vmNics"].entity, joins["vmNics"].many, joins["vmNics"].nested) == ("VmNic", True, True)
    assert (joins["host"].entity, joins["host"].many, joins["host"].nested) == ("Host", False, False)
    assert described["VmInstance"].owned
    assert described["VmNic"].owned
    assert not described["Host"].owned
    assert described["Host"].subtypes == {"KVM": "KVMHost"}
    assert described["Host"].type_field == "hypervisorType"
    assert described["KVMHost"].parent == "Host"
    assert [field.many for field in described["Storage"].fields if field.name == "attachedHostUuids"] == [True]
