"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "flat_network_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "flat_dhcp_server",
        sa.Column("l3_network_uuid", types.Id(), nullable=False),
        sa.Column("ip", types.Name(255), nullable=False),
        sa.Column("used_ip_uuid", types.Id(), nullable=False),
        sa.ForeignKeyConstraint(
            ["l3_network_uuid"],
            ["l3_network.uuid"],
            name=op.f("fk_flat_dhcp_server_l3_network_uuid"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["used_ip_uuid"], ["used_ip.uuid"], name=op.f("fk_flat_dhcp_server_used_ip_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("l3_network_uuid", name=op.f("pk_flat_dhcp_server")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("flat_dhcp_server", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_flat_dhcp_server_used_ip_uuid"), ["used_ip_uuid"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("flat_dhcp_server", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_flat_dhcp_server_used_ip_uuid"))

    op.drop_table("flat_dhcp_server")
