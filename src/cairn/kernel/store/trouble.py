"""Turns errors of the database into errors that somebody can act on."""

from __future__ import annotations

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import Driver, Trouble
from cairn.kernel.store.record import RecordInfo

#: how often a function is run again, by the code of its error, before its caller is told of it
_AGAIN = {"store.duplicate": 2, "store.reference": 2, "store.overtaken": 5}


def explain(trouble: Trouble, about: str, record: RecordInfo | None) -> CairnError:
    """The error for `trouble`.

    Args:
        trouble: what kind it is.
        about: what the database (or a look into it) says it is about: ``table.column``, comma separated, with
            ``=value`` where known.
        record: the record that was written.
    """
    table = record.meta.table if record is not None else about.partition(".")[0]
    names = [name.partition(".")[2].partition("=")[0] for name in about.split(", ") if "." in name]
    match trouble:
        case Trouble.DUPLICATE:
            message = f"{table}: there is already a row with this {' and '.join(names) or 'key'}. Choose another."
            return _conflict("store.duplicate", message, names, "a value that no other row has", table)
        case Trouble.REFERENCE:
            message = f"{table}: {_reference_story(table, about)}"
            return _conflict("store.reference", message, names, "the key of a row that exists", table)
        case Trouble.NULL:
            message = f"{table}: {', '.join(names)} must not be null. This is a bug in cairn."
            return CairnError("store.null", message, kind=ErrorKind.INTERNAL, details={"table": table})
        case Trouble.FULL:
            message = "the database cannot grow: its disk is full. Nothing was changed; free some space and try again."
            return CairnError("store.full", message, kind=ErrorKind.EXHAUSTED)
        case Trouble.READ_ONLY:
            message = "the database is read-only. Make its file and folder writable for cairn, then try again."
            return CairnError("store.read-only", message, kind=ErrorKind.UNAVAILABLE)
        case Trouble.BUSY:
            message = "another process holds the database for writing. End it, or try again when it is done."
            return CairnError("store.busy", message, kind=ErrorKind.UNAVAILABLE)
        case Trouble.BROKEN:
            message = "the database cannot be read or written. Look at its disk."
            return CairnError("store.broken", message, kind=ErrorKind.UNAVAILABLE, operator=about)
        case Trouble.STOPPED:
            message = (
                "the database was still at work when the time given to it was over. Ask for less, or try again later."
            )
            return CairnError("store.stopped", message, kind=ErrorKind.TIMEOUT)
        case Trouble.DEADLOCK:
            message = "others changed the same rows each time that this was tried. Nothing was changed; try again."
            return CairnError("store.contended", message, kind=ErrorKind.UNAVAILABLE)
        case Trouble.UNREACHABLE:
            message = "the database server cannot be reached. Nothing was changed; try again when it is there."
            return CairnError("store.unreachable", message, kind=ErrorKind.UNAVAILABLE, operator=about)
        case Trouble.OTHER:
            message = "the database refused a statement. This is a bug in cairn."
            return CairnError("store.refused", message, kind=ErrorKind.INTERNAL, operator=about)


def overtaken(table: str) -> CairnError:
    """A row is not any more as the function has read it: somebody else has written it meanwhile."""
    return CairnError(
        "store.overtaken",
        "What this call needs was changed by others again and again while it was at work. Nothing was changed by it; try again.",
        kind=ErrorKind.UNAVAILABLE,
        details={"table": table},
    )


def runs_again(error: BaseException | None, runs: int) -> bool:
    """Whether a function that ended so, and was run so often, may end otherwise if it is run again.

    What it looked at before it wrote may have been changed by another writer since: a name that was free is taken now, a row
    that nothing referred to is in use. Run again, it sees that, and says so in its own words, or makes another choice.
    """
    return isinstance(error, CairnError) and runs <= _AGAIN.get(error.code, 0)


def translate(error: BaseException, driver: Driver) -> BaseException:
    """Turn a database's error into one of ours; any other error stays as it is."""
    found = driver.trouble(error)
    if found is None:
        return error
    translated = explain(*found, None)
    translated.__cause__ = error
    return translated


def _reference_story(table: str, about: str) -> str:
    if "=" in about:
        field, _, value = about.partition(".")[2].partition("=")
        return f"{field} points to {value!r}, which does not exist. It may have been deleted; choose another."
    if about:
        return f"the row is still in use by {about}. Delete or detach what uses it first."
    return "a row that it points to does not exist, or rows still point to it."


def _conflict(code: str, message: str, names: list[str], fits: str, table: str) -> CairnError:
    fields = dict.fromkeys(names, f"found one that does not fit; {fits} would")
    return CairnError(code, message, kind=ErrorKind.CONFLICT, fields=fields, details={"table": table, "fields": names})
