"""User data is bytes; VMs know their devices and, once destroyed, their former network cards; strays; former uuids."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0010"
down_revision = "cairn_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "former_uuid",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_former_uuid")),
        sqlite_strict=True,
    )
    op.create_table(
        "stray_vm",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("vm_uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=False),
        sa.Column("cpu_num", types.Whole(), nullable=False),
        sa.Column("memory_size", types.Whole(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(["host_uuid"], ["host.uuid"], name=op.f("fk_stray_vm_host_uuid"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_stray_vm")),
        sa.UniqueConstraint("host_uuid", "vm_uuid", name=op.f("uq_stray_vm_host_uuid_vm_uuid")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("stray_vm", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stray_vm_host_uuid"), ["host_uuid"], unique=False)

    op.add_column("vm_instance", sa.Column("virtio", types.Flag(), nullable=False, server_default=sa.text("1")))
    op.add_column("vm_instance", sa.Column("former_nics", types.Json(), nullable=False, server_default=sa.text("'[]'")))
    _retype("BLOB", types.Blob())


def downgrade() -> None:
    """Go back. User data that is no text is damaged, as it was when it was text."""
    _retype("TEXT", types.Name(None))
    op.drop_column("vm_instance", "former_nics")
    op.drop_column("vm_instance", "virtio")
    with op.batch_alter_table("stray_vm", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stray_vm_host_uuid"))

    op.drop_table("stray_vm")
    op.drop_table("former_uuid")


def _retype(name: str, column_type: types.Blob | types.Name) -> None:
    """Give `user_data` another type; its text was UTF-8, so its bytes stay the same."""
    op.execute("ALTER TABLE vm_instance RENAME COLUMN user_data TO former_user_data")
    op.add_column("vm_instance", sa.Column("user_data", column_type, nullable=True))
    if op.get_bind().dialect.name != "sqlite":
        name = {"BLOB": "BINARY", "TEXT": "CHAR"}[name]
    op.execute(f"UPDATE vm_instance SET user_data = CAST(former_user_data AS {name})")  # noqa: S608 (one of these names)
    op.drop_column("vm_instance", "former_user_data")
