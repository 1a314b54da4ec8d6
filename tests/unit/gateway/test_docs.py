from __future__ import annotations

from msgspec import Struct

from cairn.gateway.docs import class_doc, field_docs


class Plain(Struct):
    """Says
    something.

    At length.
    """

    behind: int  #: stands behind
    #: stands above,
    #: in two lines
    above: str = "#: not this"
    none: int = 0  # no mark
    umlaut: str = "äöü"  #: grüße


class Heir(Plain):
    behind: int  #: says it better
    own: int = 0  #: is its own


def test_comments_behind_and_above_are_found() -> None:
    assert field_docs(Plain) == {
        "behind": "stands behind",
        "above": "stands above, in two lines",
        "umlaut": "grüße",
    }


def test_heirs_have_what_they_inherit_and_may_say_it_better() -> None:
    docs = field_docs(Heir)

    assert docs["behind"] == "says it better"
    assert docs["above"] == "stands above, in two lines"
    assert docs["own"] == "is its own"


def test_class_without_source_or_docstring_has_none() -> None:
    made = type("Made", (), {"__module__": "nowhere"})

    assert field_docs(made) == {}
    assert class_doc(made) == ""
    assert class_doc(Plain) == "Says\nsomething.\n\nAt length."
