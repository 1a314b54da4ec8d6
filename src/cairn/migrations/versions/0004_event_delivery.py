"""Events that a durable subscriber was not told yet, and what a cursor is for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0004"
down_revision = "cairn_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "event_delivery",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("subscriber", types.Name(255, exact=True), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("sequence", types.Whole(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("resource_uuid", types.Id(), nullable=True),
        sa.Column("job_uuid", types.Id(), nullable=True),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("content", types.Json(), nullable=False),
        sa.Column("event_date", types.Moment(), nullable=False),
        sa.Column("tries", types.Whole(), nullable=False),
        sa.Column("error", types.Name(2048), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_event_delivery")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("event_delivery", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_event_delivery_subscriber_resource_uuid"), ["subscriber", "resource_uuid"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_event_delivery_state"), ["state"], unique=False)

    # The names that a subscriber hears are not known here; each node writes its own subscribers' at its start.
    op.rename_table("event_cursor", "event_cursor_old")
    op.create_table(
        "event_cursor",
        sa.Column("name", types.Id(), nullable=False),
        sa.Column("sequence", types.Whole(), nullable=False),
        sa.Column("names", types.Json(), nullable=False),
        sa.Column("alive_date", types.Moment(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_event_cursor")),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO event_cursor (name, sequence, names) SELECT name, sequence, '[]' FROM event_cursor_old")
    op.drop_table("event_cursor_old")


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("event_cursor", schema=None) as batch_op:
        batch_op.drop_column("alive_date")
        batch_op.drop_column("names")
    op.drop_table("event_delivery")
