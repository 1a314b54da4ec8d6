"""First tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from cairn.kernel.store import types

revision = "cairn_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "account",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255, exact=True), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("type", types.Choice(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("password_hash", types.Name(512, exact=True), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
        sqlite_strict=True,
    )
    op.create_table(
        "backup_storage",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("url", types.Name(2048), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("status", types.Choice(), nullable=False),
        sa.Column("status_reason", types.Name(2048), nullable=True),
        sa.Column("total_capacity", types.Whole(), nullable=False),
        sa.Column("available_capacity", types.Whole(), nullable=False),
        sa.Column("agent_boot", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_backup_storage")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("backup_storage", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_backup_storage_name"), ["name"], unique=False)

    op.create_table(
        "disk_offering",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("disk_size", types.Whole(), nullable=False),
        sa.Column("allocator_strategy", types.Name(255), nullable=False),
        sa.Column("sort_key", types.Whole(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_disk_offering")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("disk_offering", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_disk_offering_name"), ["name"], unique=False)

    op.create_table(
        "event",
        sa.Column("sequence", types.Whole(), autoincrement=True, nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("resource_uuid", types.Id(), nullable=True),
        sa.Column("job_uuid", types.Id(), nullable=True),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("content", types.Json(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_event")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_event_create_date"), ["create_date"], unique=False)
        batch_op.create_index(batch_op.f("ix_event_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_event_resource_uuid"), ["resource_uuid"], unique=False)

    op.create_table(
        "event_cursor",
        sa.Column("name", types.Id(), nullable=False),
        sa.Column("sequence", types.Whole(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_event_cursor")),
        sqlite_strict=True,
    )
    op.create_table(
        "flow_run",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("job_uuid", types.Id(), nullable=True),
        sa.Column("parent_uuid", types.Id(), nullable=True),
        sa.Column("workflow", types.Name(255), nullable=False),
        sa.Column("queue_key", types.Name(255), nullable=True),
        sa.Column("actor", types.Name(255), nullable=True),
        sa.Column("concludes", types.Flag(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("position", types.Whole(), nullable=False),
        sa.Column("steps", types.Json(), nullable=False),
        sa.Column("undo_left", types.Json(), nullable=False),
        sa.Column("undo_errors", types.Json(), nullable=False),
        sa.Column("data", types.Blob(), nullable=False),
        sa.Column("error", types.Json(), nullable=True),
        sa.Column("epoch", types.Whole(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_flow_run")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("flow_run", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_flow_run_job_uuid"), ["job_uuid"], unique=False)

    op.create_table(
        "global_config",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("category", types.Name(255), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(None), nullable=False),
        sa.Column("default_value", types.Name(None), nullable=False),
        sa.Column("value", types.Name(None), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_global_config")),
        sa.UniqueConstraint("category", "name", name=op.f("uq_global_config_category_name")),
        sqlite_strict=True,
    )
    op.create_table(
        "image",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("account_uuid", types.Id(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("status", types.Choice(), nullable=False),
        sa.Column("size", types.Whole(), nullable=False),
        sa.Column("actual_size", types.Whole(), nullable=False),
        sa.Column("md5_sum", types.Name(255), nullable=True),
        sa.Column("sha256", types.Name(255), nullable=False),
        sa.Column("url", types.Name(2048), nullable=False),
        sa.Column("media_type", types.Choice(), nullable=False),
        sa.Column("guest_os_type", types.Name(255), nullable=True),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("platform", types.Choice(), nullable=False),
        sa.Column("architecture", types.Choice(), nullable=False),
        sa.Column("format", types.Choice(), nullable=False),
        sa.Column("system", types.Flag(), nullable=False),
        sa.Column("virtio", types.Flag(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_image")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_image_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_image_status"), ["status"], unique=False)

    op.create_table(
        "instance_offering",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("cpu_num", types.Whole(), nullable=False),
        sa.Column("cpu_speed", types.Whole(), nullable=False),
        sa.Column("memory_size", types.Whole(), nullable=False),
        sa.Column("reserved_memory_size", types.Whole(), nullable=False),
        sa.Column("allocator_strategy", types.Name(255), nullable=False),
        sa.Column("sort_key", types.Whole(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_instance_offering")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("instance_offering", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_instance_offering_name"), ["name"], unique=False)

    op.create_table(
        "job",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("api", types.Name(255), nullable=False),
        sa.Column("tag", types.Name(255), nullable=False),
        sa.Column("request", types.Blob(), nullable=False),
        sa.Column("digest", types.Name(255), nullable=False),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("answer", types.Blob(), nullable=True),
        sa.Column("error", types.Json(), nullable=True),
        sa.Column("timeout_seconds", types.Real(), nullable=False),
        sa.Column("cancel_requested", types.Flag(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("finish_date", types.Moment(), nullable=True),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_job")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_api"), ["api"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_finish_date"), ["finish_date"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_state"), ["state"], unique=False)

    op.create_table(
        "management_node",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("host_name", types.Name(255), nullable=False),
        sa.Column("port", types.Whole(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("join_date", types.Moment(), nullable=False),
        sa.Column("heart_beat", types.Moment(), nullable=False),
        sa.Column("epoch", types.Whole(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_management_node")),
        sqlite_strict=True,
    )
    op.create_table(
        "network_service_provider",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_network_service_provider")),
        sa.UniqueConstraint("type", name=op.f("uq_network_service_provider_type")),
        sqlite_strict=True,
    )
    op.create_table(
        "ring_epoch",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("epoch", types.Whole(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_ring_epoch")),
        sqlite_strict=True,
    )
    op.create_table(
        "system_tag",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("inherent", types.Flag(), nullable=False),
        sa.Column("resource_uuid", types.Id(), nullable=False),
        sa.Column("resource_type", types.Name(255), nullable=False),
        sa.Column("tag", types.Name(4096), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_system_tag")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("system_tag", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_system_tag_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_system_tag_resource_uuid"), ["resource_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_system_tag_tag"), ["tag"], unique=False, mysql_length=255)

    op.create_table(
        "user_tag",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("resource_uuid", types.Id(), nullable=False),
        sa.Column("resource_type", types.Name(255), nullable=False),
        sa.Column("tag", types.Name(4096), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("account_uuid", types.Id(), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_user_tag")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("user_tag", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_user_tag_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_user_tag_resource_uuid"), ["resource_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_user_tag_tag"), ["tag"], unique=False, mysql_length=255)

    op.create_table(
        "zone",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("is_default", types.Flag(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_zone")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("zone", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_zone_name"), ["name"], unique=False)

    op.create_table(
        "backup_storage_zone_ref",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("backup_storage_uuid", types.Id(), nullable=False),
        sa.Column("zone_uuid", types.Id(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backup_storage_uuid"],
            ["backup_storage.uuid"],
            name=op.f("fk_backup_storage_zone_ref_backup_storage_uuid"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["zone_uuid"], ["zone.uuid"], name=op.f("fk_backup_storage_zone_ref_zone_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_backup_storage_zone_ref")),
        sa.UniqueConstraint(
            "backup_storage_uuid", "zone_uuid", name=op.f("uq_backup_storage_zone_ref_backup_storage_uuid_zone_uuid")
        ),
        sqlite_strict=True,
    )
    with op.batch_alter_table("backup_storage_zone_ref", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_backup_storage_zone_ref_backup_storage_uuid"), ["backup_storage_uuid"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_backup_storage_zone_ref_zone_uuid"), ["zone_uuid"], unique=False)

    op.create_table(
        "cluster",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("zone_uuid", types.Id(), nullable=False),
        sa.Column("hypervisor_type", types.Name(255), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("architecture", types.Name(255), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(["zone_uuid"], ["zone.uuid"], name=op.f("fk_cluster_zone_uuid"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_cluster")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cluster_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_cluster_zone_uuid"), ["zone_uuid"], unique=False)

    op.create_table(
        "image_backup_storage_ref",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("image_uuid", types.Id(), nullable=False),
        sa.Column("backup_storage_uuid", types.Id(), nullable=False),
        sa.Column("install_path", types.Name(2048), nullable=False),
        sa.Column("status", types.Choice(), nullable=False),
        sa.Column("given_up", types.Flag(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backup_storage_uuid"],
            ["backup_storage.uuid"],
            name=op.f("fk_image_backup_storage_ref_backup_storage_uuid"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["image_uuid"], ["image.uuid"], name=op.f("fk_image_backup_storage_ref_image_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_image_backup_storage_ref")),
        sa.UniqueConstraint(
            "image_uuid", "backup_storage_uuid", name=op.f("uq_image_backup_storage_ref_image_uuid_backup_storage_uuid")
        ),
        sqlite_strict=True,
    )
    with op.batch_alter_table("image_backup_storage_ref", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_image_backup_storage_ref_backup_storage_uuid"), ["backup_storage_uuid"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_image_backup_storage_ref_image_uuid"), ["image_uuid"], unique=False)

    op.create_table(
        "l2_network",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("zone_uuid", types.Id(), nullable=False),
        sa.Column("physical_interface", types.Name(255), nullable=True),
        sa.Column("type", types.Choice(), nullable=False),
        sa.Column("vni", types.Whole(), nullable=True),
        sa.Column("v_switch_type", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone_uuid"], ["zone.uuid"], name=op.f("fk_l2_network_zone_uuid"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_l2_network")),
        sa.UniqueConstraint("vni", name=op.f("uq_l2_network_vni")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("l2_network", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_l2_network_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_l2_network_zone_uuid"), ["zone_uuid"], unique=False)

    op.create_table(
        "network_service_type",
        sa.Column("id", types.Whole(), autoincrement=True, nullable=False),
        sa.Column("network_service_provider_uuid", types.Id(), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["network_service_provider_uuid"],
            ["network_service_provider.uuid"],
            name=op.f("fk_network_service_type_network_service_provider_uuid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_service_type")),
        sa.UniqueConstraint(
            "network_service_provider_uuid",
            "type",
            name=op.f("uq_network_service_type_network_service_provider_uuid_type"),
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("network_service_type", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_network_service_type_network_service_provider_uuid"),
            ["network_service_provider_uuid"],
            unique=False,
        )

    op.create_table(
        "primary_storage",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("zone_uuid", types.Id(), nullable=False),
        sa.Column("url", types.Name(2048), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("status", types.Choice(), nullable=False),
        sa.Column("mount_path", types.Name(2048), nullable=False),
        sa.Column("total_capacity", types.Whole(), nullable=False),
        sa.Column("available_capacity", types.Whole(), nullable=False),
        sa.Column("total_physical_capacity", types.Whole(), nullable=False),
        sa.Column("available_physical_capacity", types.Whole(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["zone_uuid"], ["zone.uuid"], name=op.f("fk_primary_storage_zone_uuid"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_primary_storage")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("primary_storage", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_primary_storage_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_primary_storage_zone_uuid"), ["zone_uuid"], unique=False)

    op.create_table(
        "session",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("account_uuid", types.Id(), nullable=False),
        sa.Column("expired_date", types.Moment(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_uuid"], ["account.uuid"], name=op.f("fk_session_account_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_session")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("session", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_session_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_session_expired_date"), ["expired_date"], unique=False)

    op.create_table(
        "host",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("zone_uuid", types.Id(), nullable=False),
        sa.Column("cluster_uuid", types.Id(), nullable=False),
        sa.Column("management_ip", types.Name(255), nullable=False),
        sa.Column("hypervisor_type", types.Name(255), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("status", types.Choice(), nullable=False),
        sa.Column("status_reason", types.Name(2048), nullable=True),
        sa.Column("architecture", types.Name(255), nullable=False),
        sa.Column("cpu_num", types.Whole(), nullable=False),
        sa.Column("cpu_sockets", types.Whole(), nullable=False),
        sa.Column("total_cpu_capacity", types.Whole(), nullable=False),
        sa.Column("available_cpu_capacity", types.Whole(), nullable=False),
        sa.Column("total_memory_capacity", types.Whole(), nullable=False),
        sa.Column("available_memory_capacity", types.Whole(), nullable=False),
        sa.Column("accelerator", types.Name(255), nullable=False),
        sa.Column("accelerator_note", types.Name(1024), nullable=False),
        sa.Column("os_distribution", types.Name(255), nullable=False),
        sa.Column("os_version", types.Name(255), nullable=False),
        sa.Column("kernel", types.Name(255), nullable=False),
        sa.Column("cpu_model", types.Name(255), nullable=False),
        sa.Column("libvirt_version", types.Name(255), nullable=False),
        sa.Column("qemu_version", types.Name(255), nullable=False),
        sa.Column("features", types.Json(), nullable=False),
        sa.Column("agent_boot", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_uuid"], ["cluster.uuid"], name=op.f("fk_host_cluster_uuid"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(["zone_uuid"], ["zone.uuid"], name=op.f("fk_host_zone_uuid"), ondelete="RESTRICT"),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_host")),
        sa.UniqueConstraint("management_ip", name=op.f("uq_host_management_ip")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("host", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_host_cluster_uuid"), ["cluster_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_host_name"), ["name"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_host_state_status_available_memory_capacity"),
            ["state", "status", "available_memory_capacity"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_host_zone_uuid"), ["zone_uuid"], unique=False)

    op.create_table(
        "image_cache",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("primary_storage_uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=True),
        sa.Column("image_uuid", types.Id(), nullable=False),
        sa.Column("install_path", types.Name(2048), nullable=False),
        sa.Column("format", types.Name(255), nullable=False),
        sa.Column("size", types.Whole(), nullable=False),
        sa.Column("actual_size", types.Whole(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["primary_storage_uuid"],
            ["primary_storage.uuid"],
            name=op.f("fk_image_cache_primary_storage_uuid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_image_cache")),
        sa.UniqueConstraint(
            "primary_storage_uuid",
            "host_uuid",
            "image_uuid",
            name=op.f("uq_image_cache_primary_storage_uuid_host_uuid_image_uuid"),
        ),
        sqlite_strict=True,
    )
    with op.batch_alter_table("image_cache", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_cache_image_uuid"), ["image_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_image_cache_primary_storage_uuid"), ["primary_storage_uuid"], unique=False)

    op.create_table(
        "l2_network_cluster_ref",
        sa.Column("id", types.Whole(), autoincrement=True, nullable=False),
        sa.Column("l2_network_uuid", types.Id(), nullable=False),
        sa.Column("cluster_uuid", types.Id(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_uuid"], ["cluster.uuid"], name=op.f("fk_l2_network_cluster_ref_cluster_uuid"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["l2_network_uuid"],
            ["l2_network.uuid"],
            name=op.f("fk_l2_network_cluster_ref_l2_network_uuid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_l2_network_cluster_ref")),
        sa.UniqueConstraint(
            "l2_network_uuid", "cluster_uuid", name=op.f("uq_l2_network_cluster_ref_l2_network_uuid_cluster_uuid")
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("l2_network_cluster_ref", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_l2_network_cluster_ref_cluster_uuid"), ["cluster_uuid"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_l2_network_cluster_ref_l2_network_uuid"), ["l2_network_uuid"], unique=False
        )

    op.create_table(
        "l3_network",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("zone_uuid", types.Id(), nullable=False),
        sa.Column("l2_network_uuid", types.Id(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("category", types.Choice(), nullable=False),
        sa.Column("system", types.Flag(), nullable=False),
        sa.Column("dns_domain", types.Name(255), nullable=True),
        sa.Column("ip_version", types.Whole(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["l2_network_uuid"], ["l2_network.uuid"], name=op.f("fk_l3_network_l2_network_uuid"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["zone_uuid"], ["zone.uuid"], name=op.f("fk_l3_network_zone_uuid"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_l3_network")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("l3_network", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_l3_network_l2_network_uuid"), ["l2_network_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_l3_network_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_l3_network_zone_uuid"), ["zone_uuid"], unique=False)

    op.create_table(
        "primary_storage_cluster_ref",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("primary_storage_uuid", types.Id(), nullable=False),
        sa.Column("cluster_uuid", types.Id(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_uuid"],
            ["cluster.uuid"],
            name=op.f("fk_primary_storage_cluster_ref_cluster_uuid"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["primary_storage_uuid"],
            ["primary_storage.uuid"],
            name=op.f("fk_primary_storage_cluster_ref_primary_storage_uuid"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_primary_storage_cluster_ref")),
        sa.UniqueConstraint(
            "primary_storage_uuid",
            "cluster_uuid",
            name=op.f("uq_primary_storage_cluster_ref_primary_storage_uuid_cluster_uuid"),
        ),
        sqlite_strict=True,
    )
    with op.batch_alter_table("primary_storage_cluster_ref", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_primary_storage_cluster_ref_cluster_uuid"), ["cluster_uuid"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_primary_storage_cluster_ref_primary_storage_uuid"), ["primary_storage_uuid"], unique=False
        )

    op.create_table(
        "host_claim",
        sa.Column("vm_uuid", types.Id(), nullable=False),
        sa.Column("host_uuid", types.Id(), nullable=False),
        sa.Column("cpu_num", types.Whole(), nullable=False),
        sa.Column("memory_bytes", types.Whole(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_uuid"], ["host.uuid"], name=op.f("fk_host_claim_host_uuid"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("vm_uuid", name=op.f("pk_host_claim")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("host_claim", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_host_claim_host_uuid"), ["host_uuid"], unique=False)

    op.create_table(
        "ip_range",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("l3_network_uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("start_ip", types.Name(255), nullable=False),
        sa.Column("end_ip", types.Name(255), nullable=False),
        sa.Column("netmask", types.Name(255), nullable=False),
        sa.Column("gateway", types.Name(255), nullable=False),
        sa.Column("network_cidr", types.Name(255), nullable=False),
        sa.Column("prefix_len", types.Whole(), nullable=False),
        sa.Column("ip_version", types.Whole(), nullable=False),
        sa.Column("ip_range_type", types.Name(255), nullable=False),
        sa.Column("start_long", types.Whole(), nullable=False),
        sa.Column("end_long", types.Whole(), nullable=False),
        sa.Column("next_long", types.Whole(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["l3_network_uuid"], ["l3_network.uuid"], name=op.f("fk_ip_range_l3_network_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_ip_range")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("ip_range", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ip_range_l3_network_uuid"), ["l3_network_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_ip_range_name"), ["name"], unique=False)

    op.create_table(
        "l3_network_dns",
        sa.Column("id", types.Whole(), autoincrement=True, nullable=False),
        sa.Column("l3_network_uuid", types.Id(), nullable=False),
        sa.Column("dns", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["l3_network_uuid"], ["l3_network.uuid"], name=op.f("fk_l3_network_dns_l3_network_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_l3_network_dns")),
        sa.UniqueConstraint("l3_network_uuid", "dns", name=op.f("uq_l3_network_dns_l3_network_uuid_dns")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("l3_network_dns", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_l3_network_dns_l3_network_uuid"), ["l3_network_uuid"], unique=False)

    op.create_table(
        "network_service_l3_network_ref",
        sa.Column("id", types.Whole(), autoincrement=True, nullable=False),
        sa.Column("l3_network_uuid", types.Id(), nullable=False),
        sa.Column("network_service_provider_uuid", types.Id(), nullable=False),
        sa.Column("network_service_type", types.Name(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["l3_network_uuid"],
            ["l3_network.uuid"],
            name=op.f("fk_network_service_l3_network_ref_l3_network_uuid"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["network_service_provider_uuid"],
            ["network_service_provider.uuid"],
            name=op.f("fk_network_service_l3_network_ref_network_service_provider_uuid"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_service_l3_network_ref")),
        sa.UniqueConstraint(
            "l3_network_uuid",
            "network_service_type",
            name=op.f("uq_network_service_l3_network_ref_l3_network_uuid_network_service_type"),
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("network_service_l3_network_ref", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_network_service_l3_network_ref_l3_network_uuid"), ["l3_network_uuid"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_network_service_l3_network_ref_network_service_provider_uuid"),
            ["network_service_provider_uuid"],
            unique=False,
        )

    op.create_table(
        "vm_instance",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("account_uuid", types.Id(), nullable=False),
        sa.Column("zone_uuid", types.Id(), nullable=True),
        sa.Column("cluster_uuid", types.Id(), nullable=True),
        sa.Column("host_uuid", types.Id(), nullable=True),
        sa.Column("last_host_uuid", types.Id(), nullable=True),
        sa.Column("image_uuid", types.Id(), nullable=True),
        sa.Column("instance_offering_uuid", types.Id(), nullable=True),
        sa.Column("root_volume_uuid", types.Id(), nullable=True),
        sa.Column("default_l3_network_uuid", types.Id(), nullable=True),
        sa.Column("platform", types.Name(255), nullable=False),
        sa.Column("architecture", types.Name(255), nullable=False),
        sa.Column("guest_os_type", types.Name(255), nullable=True),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("hypervisor_type", types.Name(255), nullable=False),
        sa.Column("cpu_num", types.Whole(), nullable=False),
        sa.Column("cpu_speed", types.Whole(), nullable=False),
        sa.Column("memory_size", types.Whole(), nullable=False),
        sa.Column("reserved_memory_size", types.Whole(), nullable=False),
        sa.Column("allocator_strategy", types.Name(255), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("state_reason", types.Name(2048), nullable=True),
        sa.Column("hostname", types.Name(255), nullable=False),
        sa.Column("user_data", types.Name(None), nullable=True),
        sa.Column("ssh_keys", types.Json(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster_uuid"], ["cluster.uuid"], name=op.f("fk_vm_instance_cluster_uuid"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["host_uuid"], ["host.uuid"], name=op.f("fk_vm_instance_host_uuid"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["image_uuid"], ["image.uuid"], name=op.f("fk_vm_instance_image_uuid"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["instance_offering_uuid"],
            ["instance_offering.uuid"],
            name=op.f("fk_vm_instance_instance_offering_uuid"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["zone_uuid"], ["zone.uuid"], name=op.f("fk_vm_instance_zone_uuid"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_vm_instance")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("vm_instance", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vm_instance_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_cluster_uuid"), ["cluster_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_create_date"), ["create_date"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_host_uuid"), ["host_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_image_uuid"), ["image_uuid"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_vm_instance_instance_offering_uuid"), ["instance_offering_uuid"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_vm_instance_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_root_volume_uuid"), ["root_volume_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_instance_zone_uuid"), ["zone_uuid"], unique=False)

    op.create_table(
        "released_ip",
        sa.Column("id", types.Whole(), autoincrement=True, nullable=False),
        sa.Column("ip_range_uuid", types.Id(), nullable=False),
        sa.Column("ip_in_long", types.Whole(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ip_range_uuid"], ["ip_range.uuid"], name=op.f("fk_released_ip_ip_range_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_released_ip")),
        sa.UniqueConstraint("ip_range_uuid", "ip_in_long", name=op.f("uq_released_ip_ip_range_uuid_ip_in_long")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    with op.batch_alter_table("released_ip", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_released_ip_ip_range_uuid"), ["ip_range_uuid"], unique=False)

    op.create_table(
        "used_ip",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("l3_network_uuid", types.Id(), nullable=False),
        sa.Column("ip_range_uuid", types.Id(), nullable=False),
        sa.Column("ip", types.Name(255), nullable=False),
        sa.Column("ip_in_long", types.Whole(), nullable=False),
        sa.Column("netmask", types.Name(255), nullable=False),
        sa.Column("gateway", types.Name(255), nullable=False),
        sa.Column("ip_version", types.Whole(), nullable=False),
        sa.Column("used_for", types.Name(255), nullable=True),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ip_range_uuid"], ["ip_range.uuid"], name=op.f("fk_used_ip_ip_range_uuid"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["l3_network_uuid"], ["l3_network.uuid"], name=op.f("fk_used_ip_l3_network_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_used_ip")),
        sa.UniqueConstraint("l3_network_uuid", "ip_in_long", name=op.f("uq_used_ip_l3_network_uuid_ip_in_long")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("used_ip", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_used_ip_ip"), ["ip"], unique=False)
        batch_op.create_index(batch_op.f("ix_used_ip_ip_range_uuid"), ["ip_range_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_used_ip_l3_network_uuid"), ["l3_network_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_used_ip_used_for"), ["used_for"], unique=False)

    op.create_table(
        "vm_nic",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("vm_instance_uuid", types.Id(), nullable=False),
        sa.Column("l3_network_uuid", types.Id(), nullable=False),
        sa.Column("used_ip_uuid", types.Id(), nullable=True),
        sa.Column("ip", types.Name(255), nullable=True),
        sa.Column("netmask", types.Name(255), nullable=True),
        sa.Column("gateway", types.Name(255), nullable=True),
        sa.Column("mac", types.Name(255), nullable=False),
        sa.Column("device_id", types.Whole(), nullable=False),
        sa.Column("internal_name", types.Name(255), nullable=False),
        sa.Column("driver_type", types.Name(255), nullable=False),
        sa.Column("hypervisor_type", types.Name(255), nullable=False),
        sa.Column("state", types.Name(255), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["l3_network_uuid"], ["l3_network.uuid"], name=op.f("fk_vm_nic_l3_network_uuid"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["vm_instance_uuid"], ["vm_instance.uuid"], name=op.f("fk_vm_nic_vm_instance_uuid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_vm_nic")),
        sa.UniqueConstraint("mac", name=op.f("uq_vm_nic_mac")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("vm_nic", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_vm_nic_ip"), ["ip"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_nic_l3_network_uuid"), ["l3_network_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_vm_nic_vm_instance_uuid"), ["vm_instance_uuid"], unique=False)

    op.create_table(
        "volume",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("name", types.Name(255), nullable=False),
        sa.Column("description", types.Name(2048), nullable=True),
        sa.Column("account_uuid", types.Id(), nullable=False),
        sa.Column("primary_storage_uuid", types.Id(), nullable=False),
        sa.Column("vm_instance_uuid", types.Id(), nullable=True),
        sa.Column("root_image_uuid", types.Id(), nullable=True),
        sa.Column("install_path", types.Name(2048), nullable=False),
        sa.Column("type", types.Name(255), nullable=False),
        sa.Column("format", types.Name(255), nullable=False),
        sa.Column("size", types.Whole(), nullable=False),
        sa.Column("actual_size", types.Whole(), nullable=False),
        sa.Column("device_id", types.Whole(), nullable=False),
        sa.Column("state", types.Choice(), nullable=False),
        sa.Column("status", types.Choice(), nullable=False),
        sa.Column("is_shareable", types.Flag(), nullable=False),
        sa.Column("create_date", types.Moment(), nullable=False),
        sa.Column("last_op_date", types.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["primary_storage_uuid"],
            ["primary_storage.uuid"],
            name=op.f("fk_volume_primary_storage_uuid"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["root_image_uuid"], ["image.uuid"], name=op.f("fk_volume_root_image_uuid"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["vm_instance_uuid"], ["vm_instance.uuid"], name=op.f("fk_volume_vm_instance_uuid"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_volume")),
        sqlite_strict=True,
    )
    with op.batch_alter_table("volume", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_account_uuid"), ["account_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_primary_storage_uuid"), ["primary_storage_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_root_image_uuid"), ["root_image_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_vm_instance_uuid"), ["vm_instance_uuid"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("volume", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_volume_vm_instance_uuid"))
        batch_op.drop_index(batch_op.f("ix_volume_root_image_uuid"))
        batch_op.drop_index(batch_op.f("ix_volume_primary_storage_uuid"))
        batch_op.drop_index(batch_op.f("ix_volume_name"))
        batch_op.drop_index(batch_op.f("ix_volume_account_uuid"))

    op.drop_table("volume")
    with op.batch_alter_table("vm_nic", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vm_nic_vm_instance_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_nic_l3_network_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_nic_ip"))

    op.drop_table("vm_nic")
    with op.batch_alter_table("used_ip", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_used_ip_used_for"))
        batch_op.drop_index(batch_op.f("ix_used_ip_l3_network_uuid"))
        batch_op.drop_index(batch_op.f("ix_used_ip_ip_range_uuid"))
        batch_op.drop_index(batch_op.f("ix_used_ip_ip"))

    op.drop_table("used_ip")
    with op.batch_alter_table("released_ip", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_released_ip_ip_range_uuid"))

    op.drop_table("released_ip")
    with op.batch_alter_table("vm_instance", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_vm_instance_zone_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_state"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_root_volume_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_name"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_instance_offering_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_image_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_host_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_create_date"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_cluster_uuid"))
        batch_op.drop_index(batch_op.f("ix_vm_instance_account_uuid"))

    op.drop_table("vm_instance")
    with op.batch_alter_table("network_service_l3_network_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_network_service_l3_network_ref_network_service_provider_uuid"))
        batch_op.drop_index(batch_op.f("ix_network_service_l3_network_ref_l3_network_uuid"))

    op.drop_table("network_service_l3_network_ref")
    with op.batch_alter_table("l3_network_dns", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_l3_network_dns_l3_network_uuid"))

    op.drop_table("l3_network_dns")
    with op.batch_alter_table("ip_range", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ip_range_name"))
        batch_op.drop_index(batch_op.f("ix_ip_range_l3_network_uuid"))

    op.drop_table("ip_range")
    with op.batch_alter_table("host_claim", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_host_claim_host_uuid"))

    op.drop_table("host_claim")
    with op.batch_alter_table("primary_storage_cluster_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_primary_storage_cluster_ref_primary_storage_uuid"))
        batch_op.drop_index(batch_op.f("ix_primary_storage_cluster_ref_cluster_uuid"))

    op.drop_table("primary_storage_cluster_ref")
    with op.batch_alter_table("l3_network", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_l3_network_zone_uuid"))
        batch_op.drop_index(batch_op.f("ix_l3_network_name"))
        batch_op.drop_index(batch_op.f("ix_l3_network_l2_network_uuid"))

    op.drop_table("l3_network")
    with op.batch_alter_table("l2_network_cluster_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_l2_network_cluster_ref_l2_network_uuid"))
        batch_op.drop_index(batch_op.f("ix_l2_network_cluster_ref_cluster_uuid"))

    op.drop_table("l2_network_cluster_ref")
    with op.batch_alter_table("image_cache", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_cache_primary_storage_uuid"))
        batch_op.drop_index(batch_op.f("ix_image_cache_image_uuid"))

    op.drop_table("image_cache")
    with op.batch_alter_table("host", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_host_zone_uuid"))
        batch_op.drop_index(batch_op.f("ix_host_state_status_available_memory_capacity"))
        batch_op.drop_index(batch_op.f("ix_host_name"))
        batch_op.drop_index(batch_op.f("ix_host_cluster_uuid"))

    op.drop_table("host")
    with op.batch_alter_table("session", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_session_expired_date"))
        batch_op.drop_index(batch_op.f("ix_session_account_uuid"))

    op.drop_table("session")
    with op.batch_alter_table("primary_storage", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_primary_storage_zone_uuid"))
        batch_op.drop_index(batch_op.f("ix_primary_storage_name"))

    op.drop_table("primary_storage")
    with op.batch_alter_table("network_service_type", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_network_service_type_network_service_provider_uuid"))

    op.drop_table("network_service_type")
    with op.batch_alter_table("l2_network", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_l2_network_zone_uuid"))
        batch_op.drop_index(batch_op.f("ix_l2_network_name"))

    op.drop_table("l2_network")
    with op.batch_alter_table("image_backup_storage_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_backup_storage_ref_image_uuid"))
        batch_op.drop_index(batch_op.f("ix_image_backup_storage_ref_backup_storage_uuid"))

    op.drop_table("image_backup_storage_ref")
    with op.batch_alter_table("cluster", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_cluster_zone_uuid"))
        batch_op.drop_index(batch_op.f("ix_cluster_name"))

    op.drop_table("cluster")
    with op.batch_alter_table("backup_storage_zone_ref", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_backup_storage_zone_ref_zone_uuid"))
        batch_op.drop_index(batch_op.f("ix_backup_storage_zone_ref_backup_storage_uuid"))

    op.drop_table("backup_storage_zone_ref")
    with op.batch_alter_table("zone", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_zone_name"))

    op.drop_table("zone")
    with op.batch_alter_table("user_tag", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_user_tag_tag"))
        batch_op.drop_index(batch_op.f("ix_user_tag_resource_uuid"))
        batch_op.drop_index(batch_op.f("ix_user_tag_account_uuid"))

    op.drop_table("user_tag")
    with op.batch_alter_table("system_tag", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_system_tag_tag"))
        batch_op.drop_index(batch_op.f("ix_system_tag_resource_uuid"))
        batch_op.drop_index(batch_op.f("ix_system_tag_account_uuid"))

    op.drop_table("system_tag")
    op.drop_table("ring_epoch")
    op.drop_table("network_service_provider")
    op.drop_table("management_node")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_job_state"))
        batch_op.drop_index(batch_op.f("ix_job_finish_date"))
        batch_op.drop_index(batch_op.f("ix_job_api"))
        batch_op.drop_index(batch_op.f("ix_job_account_uuid"))

    op.drop_table("job")
    with op.batch_alter_table("instance_offering", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_instance_offering_name"))

    op.drop_table("instance_offering")
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_status"))
        batch_op.drop_index(batch_op.f("ix_image_name"))
        batch_op.drop_index(batch_op.f("ix_image_account_uuid"))

    op.drop_table("image")
    op.drop_table("global_config")
    with op.batch_alter_table("flow_run", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_flow_run_job_uuid"))

    op.drop_table("flow_run")
    op.drop_table("event_cursor")
    with op.batch_alter_table("event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_resource_uuid"))
        batch_op.drop_index(batch_op.f("ix_event_name"))
        batch_op.drop_index(batch_op.f("ix_event_create_date"))

    op.drop_table("event")
    with op.batch_alter_table("disk_offering", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_disk_offering_name"))

    op.drop_table("disk_offering")
    with op.batch_alter_table("backup_storage", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_backup_storage_name"))

    op.drop_table("backup_storage")
    op.drop_table("account")
