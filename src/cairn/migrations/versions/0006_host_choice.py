"""Indexes by which a host is chosen: one for each look, with the uuid behind, so that equal hosts need no sorting."""

from __future__ import annotations

from alembic import op

revision = "cairn_0006"
down_revision = "cairn_0004"
branch_labels = None
depends_on = None

_OLD = ("state", "status", "available_memory_capacity")
_NEW = (
    ("state", "status", "architecture", "available_memory_capacity", "uuid"),
    ("state", "status", "architecture", "available_cpu_capacity", "uuid"),
    ("cluster_uuid", "state", "status", "architecture", "available_memory_capacity", "uuid"),
)


def upgrade() -> None:
    """Go forward."""
    op.drop_index(_name(_OLD), table_name="host")
    for columns in _NEW:
        op.create_index(_name(columns), "host", list(columns))


def downgrade() -> None:
    """Go back."""
    for columns in _NEW:
        op.drop_index(_name(columns), table_name="host")
    op.create_index(_name(_OLD), "host", list(_OLD))


def _name(columns: tuple[str, ...]) -> str:
    return f"ix_host_{'_'.join(columns)}"
