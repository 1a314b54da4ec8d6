"""Former uuids are found by their age."""

from __future__ import annotations

from alembic import op

revision = "cairn_0018"
down_revision = "cairn_0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    with op.batch_alter_table("former_uuid", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_former_uuid_create_date"), ["create_date"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("former_uuid", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_former_uuid_create_date"))
