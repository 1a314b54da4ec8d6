"""What the nodes of a cloud share: its authority, host keys and SSH key, which lay in the data folder; the cloud itself."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0022"
down_revision = "cairn_0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward. What a data folder has is moved in when its node starts."""
    op.create_table(
        "cloud",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("id", types.Name(64, exact=True), nullable=False),
        sa.Column("version", types.Name(64, exact=True), nullable=False),
        sa.Column("least_version", types.Name(64, exact=True), nullable=False),
        sa.Column("seal_check", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_cloud")),
        sqlite_strict=True,
    )
    op.create_table(
        "authority",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("epoch", types.Whole(), nullable=False),
        sa.Column("certificate", types.Name(None, exact=True), nullable=False),
        sa.Column("private_key", types.Name(None), nullable=False),
        sa.Column("next_certificate", types.Name(None, exact=True), nullable=True),
        sa.Column("next_private_key", types.Name(None), nullable=True),
        sa.Column("former_certificate", types.Name(None, exact=True), nullable=True),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_authority")),
        sqlite_strict=True,
    )
    op.create_table(
        "agent_pair",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("serial", types.Name(64, exact=True), nullable=False),
        sa.Column("certificate", types.Name(None, exact=True), nullable=False),
        sa.Column("private_key", types.Name(None), nullable=False),
        sa.Column("earlier", types.Name(None, exact=True), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_agent_pair")),
        sqlite_strict=True,
    )
    op.create_table(
        "revoked_certificate",
        sa.Column("serial", types.Id(), nullable=False),
        sa.Column("ends", types.Moment(), nullable=False),
        sa.Column("epoch", types.Whole(), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_revoked_certificate")),
        sqlite_strict=True,
    )
    op.create_index("ix_revoked_certificate_ends", "revoked_certificate", ["ends"], unique=False)
    op.create_index("ix_revoked_certificate_epoch", "revoked_certificate", ["epoch"], unique=False)
    op.create_table(
        "known_host",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("host_keys", types.Name(None, exact=True), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_known_host")),
        sqlite_strict=True,
    )
    op.create_table(
        "ssh_key_pair",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("private_key", types.Name(None), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_ssh_key_pair")),
        sqlite_strict=True,
    )
    op.create_table(
        "root_progress",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("issuer", types.Name(255, exact=True), nullable=False),
        sa.Column("trust", types.Name(255, exact=True), nullable=False),
        sa.Column("behind", types.Json(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_root_progress")),
        sqlite_strict=True,
    )
    op.add_column("management_node", sa.Column("version", types.Name(255), nullable=False, server_default=""))


def downgrade() -> None:
    """Go back. The authority is lost: every machine has to be added again."""
    op.drop_column("management_node", "version")
    for table in (
        "root_progress",
        "ssh_key_pair",
        "known_host",
        "revoked_certificate",
        "agent_pair",
        "authority",
        "cloud",
    ):
        op.drop_table(table)
