"""Draws docs/img/rings.svg and docs/img/call.svg.

    python tools/draw_architecture.py

Plain SVG without fonts or scripts of its own. A test holds the files to what is drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "img"

INK, SOFT, PAPER = "#1b2733", "#5a6b7b", "#ffffff"
KERNEL, CLOUD, EDGE, HOST = "#d7e8f7", "#e3f1dd", "#fbeed5", "#efe2f3"


class Drawing:
    """Shapes, collected as SVG."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" role="img">\n<title>{escape(title)}</title>\n'
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            f'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="{INK}"/></marker></defs>\n'
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
        )
        self._parts: list[str] = []

    def box(self, x: int, y: int, width: int, height: int, fill: str) -> None:
        """A box with round corners."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{INK}"/>'
        )

    def text(self, x: int, y: int, words: str, *, size: int = 14, colour: str = INK, bold: bool = False) -> None:
        """A line of text that begins at `x`."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{escape(words)}</text>')

    def lines(self, x: int, y: int, lines: Sequence[str], *, size: int = 13) -> None:
        """Lines of text, one below the other."""
        for number, line in enumerate(lines):
            self.text(x, y + number * (size + 6), line, size=size, colour=SOFT)

    def table(self, x: int, y: int, width: int, rows: Sequence[tuple[str, str]]) -> None:
        """Words with what they mean, `width` apart."""
        for number, (word, meaning) in enumerate(rows):
            self.text(x, y + number * 20, word, size=13, bold=True, colour=SOFT)
            self.text(x + width, y + number * 20, meaning, size=13, colour=SOFT)

    def arrow(self, x1: int, y1: int, x2: int, y2: int, *, both: bool = False) -> None:
        """A straight arrow."""
        start = ' marker-start="url(#tip)"' if both else ""
        self._parts.append(
            f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}" stroke-width="1.5" marker-end="url(#tip)"{start}/>'
        )

    def svg(self) -> str:
        """The whole file."""
        return self._head + "\n".join(self._parts) + "\n</svg>\n"


def rings() -> str:
    """The three rings, and who may import whom."""
    d = Drawing(940, 500, "The three rings of cairn: edges, services and plugins, kernel; imports point inward")
    d.box(20, 20, 900, 460, EDGE)
    d.text(40, 46, "edges", bold=True)
    d.text(110, 46, "gateway, cli, lab, simulator, testing; bootstrap.py puts a node together", size=13, colour=SOFT)
    d.box(50, 66, 840, 320, CLOUD)
    d.text(70, 92, "the cloud", bold=True)
    d.table(70, 118, 90, _NOUNS)
    d.box(80, 184, 720, 180, KERNEL)
    d.text(100, 210, "kernel: knows no noun of the cloud", bold=True)
    d.table(100, 240, 60, _LEFT)
    d.table(440, 240, 70, _RIGHT)
    d.arrow(845, 46, 845, 88)
    d.arrow(845, 180, 802, 240)
    d.text(812, 160, "imports", size=13)
    d.box(50, 404, 840, 58, HOST)
    d.text(70, 429, "agents", bold=True)
    d.lines(140, 429, _AGENTS)
    return d.svg()


_NOUNS = (
    ("services/", "identity, zone, cluster, host, offering, image, backup_storage, primary_storage,"),
    ("", "volume, l2, l3, vm, tag, admin"),
    ("plugins/", "kvm, simulator, local_storage, backup_server, flat_network, and anybody's"),
)
_LEFT = (
    ("bus", "typed messages, one answer each"),
    ("ring", "which node owns a resource"),
    ("queue", "whose turn it is"),
    ("flow", "workflows, undo, journal"),
    ("jobs", "accepted calls, to their end"),
    ("tag", "user and system tags"),
)
_RIGHT = (
    ("store", "transactions, group commit, migrations"),
    ("query", "conditions, joins, inventories"),
    ("plugin", "manifests, extension points"),
    ("agent", "typed calls over HTTP and TLS"),
    ("event", "outbox, subscribers, streams"),
    ("config", "settings that change at run time"),
)
_AGENTS = (
    "What runs on managed machines. It imports nothing of the rest;",
    "the rest imports of it only agents/protocol, the contract between both.",
)

_STEPS: Sequence[tuple[str, str, str, Sequence[str]]] = (
    ("1", "gateway", EDGE, ["session, fields, rights, references:", "what can be refused is refused here"]),
    ("2", "job", KERNEL, ["a row, committed;", "then 202 with the job's place"]),
    ("3", "bus and ring", KERNEL, ["the resource's uuid picks the node;", "here, that is a plain call"]),
    ("4", "resource queue", KERNEL, ["vm:<uuid>, first in, first out,", "one at a time"]),
    ("5", "workflow", KERNEL, ["step after step;", "the journal says how far it is"]),
    ("6", "agents", HOST, ["HTTP and TLS, by task id;", "never run twice"]),
    ("7", "the end", KERNEL, ["one commit: the journal's row goes,", "the job has its answer"]),
    ("8", "whoever waits", EDGE, ["long poll, event stream,", "durable subscribers"]),
)


def call() -> str:
    """The way of a call, there in the first row and back in the second."""
    d = Drawing(1180, 420, "The way of a call through cairn")
    d.text(20, 34, "The way of a call that changes something", size=17, bold=True)
    width, gap, left = 262, 30, 20
    for index, (number, name, fill, lines) in enumerate(_STEPS):
        row, column = divmod(index, 4)
        x, y = left + (3 - column if row else column) * (width + gap), 60 + row * 140
        d.box(x, y, width, 94, fill)
        d.text(x + 14, y + 28, f"{number}. {name}", bold=True)
        d.lines(x + 14, y + 54, lines)
        if column < 3 and row == 0:
            d.arrow(x + width + 2, y + 47, x + width + gap - 2, y + 47)
        elif column < 3:
            d.arrow(x - 2, y + 47, x - gap + 2, y + 47)
    middle = left + 3 * (width + gap) + width // 2
    d.arrow(middle, 156, middle, 198)
    d.box(20, 330, 1138, 70, PAPER)
    d.text(34, 358, "If a step fails", bold=True, size=13)
    d.lines(170, 358, ["it and the steps before it are undone, last one first; the job has failed, and says why."])
    d.text(34, 382, "If the node dies", bold=True, size=13)
    d.lines(170, 382, ["the next life reads job and journal, and goes on from the last entry, forward or back."])
    return d.svg()


DRAWINGS = {"rings.svg": rings, "call.svg": call}


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
