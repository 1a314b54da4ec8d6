"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "local_storage_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "local_storage_host_ref",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("primary_storage_uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=False),
        sa.Column("total_capacity", types.Whole(), nullable=False),
        sa.Column("available_capacity", types.Whole(), nullable=False),
        sa.Column("total_physical_capacity", types.Whole(), nullable=False),
        sa.Column("available_physical_capacity", types.Whole(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_uuid"], ["host.uuid"], name=op.f("fk_local_storage_host_ref_host_uuid"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["primary_storage_uuid"],
            ["primary_storage.uuid"],
            name=op.f("fk_local_storage_host_ref_primary_storage_uuid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_local_storage_host_ref")),
        sa.UniqueConstraint(
            "primary_storage_uuid", "host_uuid", name=op.f("uq_local_storage_host_ref_primary_storage_uuid_host_uuid")
        ),
        sqlite_strict=True,
    )
    with op.batch_alter_table("local_storage_host_ref", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_local_storage_host_ref_host_uuid"), ["host_uuid"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_local_storage_host_ref_primary_storage_uuid"), ["primary_storage_uuid"], unique=False
        )

    op.create_table(
        "local_storage_resource_ref",
        sa.Column("resource_uuid", types.Id(), nullable=False),
        sa.Column("primary_storage_uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=False),
        sa.Column("size", types.Whole(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_uuid"], ["host.uuid"], name=op.f("fk_local_storage_resource_ref_host_uuid"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("resource_uuid", name=op.f("pk_local_storage_resource_ref")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("local_storage_resource_ref", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_local_storage_resource_ref_host_uuid"), ["host_uuid"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_local_storage_resource_ref_primary_storage_uuid"), ["primary_storage_uuid"], unique=False
        )


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("local_storage_resource_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_local_storage_resource_ref_primary_storage_uuid"))
        batch_op.drop_index(batch_op.f("ix_local_storage_resource_ref_host_uuid"))

    op.drop_table("local_storage_resource_ref")
    with op.batch_alter_table("local_storage_host_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_local_storage_host_ref_primary_storage_uuid"))
        batch_op.drop_index(batch_op.f("ix_local_storage_host_ref_host_uuid"))

    op.drop_table("local_storage_host_ref")
