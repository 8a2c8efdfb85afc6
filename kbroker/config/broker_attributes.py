"""The broker keys that kbroker acts on, as typed attributes.

``BrokerConfig`` sets them from ``BROKER_KEYS``; a test holds the two to each other. Keys whose value depends
on other keys are not here but properties of ``BrokerConfig``.
"""

from __future__ import annotations


class BrokerAttributes:
    """Effective values: every dynamic update is already in them."""

    kbroker_shutdown_timeout_ms: int
    listeners: tuple[str, ...]
    advertised_listeners: tuple[str, ...] | None
    listener_security_protocol_map: str
    socket_request_max_bytes: int
    max_connections: int
    max_connections_per_ip: int
    connections_max_idle_ms: int
    max_request_partition_size_limit: int
    fetch_max_bytes: int
    max_incremental_fetch_session_cache_slots: int
    node_id: int
    broker_id: int
    process_roles: tuple[str, ...]
    controller_listener_names: tuple[str, ...] | None
    num_partitions: int
    auto_create_topics_enable: bool
    delete_topic_enable: bool
    message_max_bytes: int
    compression_type: str
    compression_gzip_level: int
    compression_lz4_level: int
    compression_zstd_level: int
    log_segment_bytes: int
    log_retention_bytes: int
    log_retention_check_interval_ms: int
    log_cleanup_policy: tuple[str, ...]
    log_segment_delete_delay_ms: int
    log_index_size_max_bytes: int
    log_index_interval_bytes: int
    log_flush_interval_messages: int
    log_flush_scheduler_interval_ms: int
    log_message_timestamp_type: str
    log_message_timestamp_before_max_ms: int
    log_message_timestamp_after_max_ms: int
    group_min_session_timeout_ms: int
    group_max_session_timeout_ms: int
    group_initial_rebalance_delay_ms: int
    group_max_size: int
    offset_metadata_max_bytes: int
    offsets_commit_timeout_ms: int
    offsets_retention_minutes: int
    offsets_retention_check_interval_ms: int
    offsets_topic_num_partitions: int
    offsets_topic_replication_factor: int
    offsets_topic_segment_bytes: int
    producer_id_expiration_ms: int
    producer_id_expiration_check_interval_ms: int
    broker_rack: str | None
    default_replication_factor: int
    min_insync_replicas: int
    security_inter_broker_protocol: str
    replica_high_watermark_checkpoint_interval_ms: int
