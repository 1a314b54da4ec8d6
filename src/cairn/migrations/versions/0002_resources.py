"""Each resource has a row in one table, which tags refer to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0002"
down_revision = "cairn_0001"
branch_labels = None
depends_on = None

#: tables whose rows are resources from now on, by the entity's name; and those of them that accounts own
_TABLES = {
    "Account": "account",
    "BackupStorage": "backup_storage",
    "Cluster": "cluster",
    "DiskOffering": "disk_offering",
    "Host": "host",
    "Image": "image",
    "InstanceOffering": "instance_offering",
    "IpRange": "ip_range",
    "L2Network": "l2_network",
    "L3Network": "l3_network",
    "PrimaryStorage": "primary_storage",
    "VmInstance": "vm_instance",
    "Volume": "volume",
    "Zone": "zone",
}
_OWNER = {"account": "uuid", "image": "account_uuid", "vm_instance": "account_uuid", "volume": "account_uuid"}


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "resource",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_resource")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("resource", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_resource_account_uuid"), ["account_uuid"], unique=False)

    for entity, table in _TABLES.items():
        owner = _OWNER.get(table, "NULL")
        op.execute(
            f"INSERT INTO resource (uuid, type, name, account_uuid, create_date) "  # noqa: S608 (made of the names above)
            f"SELECT uuid, '{entity}', name, {owner}, create_date FROM {table} "
            "WHERE uuid NOT IN (SELECT uuid FROM resource)"
        )
    for table in ("system_tag", "user_tag"):
        op.execute(f"DELETE FROM {table} WHERE resource_uuid NOT IN (SELECT uuid FROM resource)")  # noqa: S608 (one of two names)
        with op.batch_alter_table(table, copy_from=_tag_table(table), recreate="always") as batch_op:
            batch_op.create_foreign_key(
                f"fk_{table}_resource_uuid", "resource", ["resource_uuid"], ["uuid"], ondelete="CASCADE"
            )


def downgrade() -> None:
    """Go back."""
    for table in ("system_tag", "user_tag"):
        with op.batch_alter_table(table, copy_from=_tag_table(table), recreate="always"):
            pass
    op.drop_table("resource")


def _tag_table(name: str) -> sa.Table:
    """A table of tags as it was made first; the database does not tell how its texts are compared."""
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("uuid", types.Id(), nullable=False),
        *([sa.Column("inherent", types.Flag(), nullable=False)] if name == "system_tag" else []),
        sa.Column("resource_uuid", types.Id(), nullable=False),
        sa.Column("resource_type", types.Name(255), nullable=False),
        sa.Column("tag", types.Name(4096), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=f"pk_{name}"),
        sa.Index(f"ix_{name}_account_uuid", "account_uuid"),
        sa.Index(f"ix_{name}_resource_uuid", "resource_uuid"),
        sa.Index(f"ix_{name}_tag", "tag", mysql_length=255),
        sqlite_strict=True,
    )
