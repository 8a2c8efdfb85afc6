"""The broker keys that kbroker acts on, as typed attributes.

``BrokerConfig`` sets them from ``BROKER_KEYS``; a test holds the two to each other. Keys whose value depends
on other keys are not here but properties of ``BrokerConfig``.
"""

from __future__ import annotations


class BrokerAttributes:
    """Effective values: every dynamic update is already in them."""

    kbroker_acks_all_sync: bool
    kbroker_shutdown_timeout_ms: int
    listeners: tuple[str, ...]
    advertised_listeners: tuple[str, ...] | None
    listener_security_protocol_map: str
    socket_request_max_bytes: int
    socket_connection_setup_timeout_ms: int
    max_connections: int
    max_connections_per_ip: int
    max_connection_creation_rate: int
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
    log_cleaner_enable: bool
    log_cleaner_threads: int
    log_cleaner_backoff_ms: int
    log_cleaner_dedupe_buffer_size: int
    log_cleaner_io_buffer_size: int
    log_cleaner_io_buffer_load_factor: float
    log_cleaner_io_max_bytes_per_second: float
    log_cleanup_policy: tuple[str, ...]
    log_segment_delete_delay_ms: int
    log_index_size_max_bytes: int
    log_index_interval_bytes: int
    log_flush_interval_messages: int
    log_flush_scheduler_interval_ms: int
    log_flush_offset_checkpoint_interval_ms: int
    log_flush_start_offset_checkpoint_interval_ms: int
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
    transaction_max_timeout_ms: int
    transactional_id_expiration_ms: int
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int
    transaction_remove_expired_transaction_cleanup_interval_ms: int
    transaction_two_phase_commit_enable: bool
    transaction_state_log_num_partitions: int
    transaction_state_log_replication_factor: int
    transaction_state_log_min_isr: int
    transaction_state_log_segment_bytes: int
    transaction_partition_verification_enable: bool
    add_partitions_to_txn_retry_backoff_ms: int
    add_partitions_to_txn_retry_backoff_max_ms: int
    broker_rack: str | None
    default_replication_factor: int
    min_insync_replicas: int
    security_inter_broker_protocol: str
    request_timeout_ms: int
    replica_high_watermark_checkpoint_interval_ms: int
    cordoned_log_dirs: tuple[str, ...]
    num_replica_alter_log_dirs_threads: int | None
    replica_alter_log_dirs_io_max_bytes_per_second: int | None
    unclean_leader_election_enable: bool
    unclean_leader_election_interval_ms: int
    auto_leader_rebalance_enable: bool
    leader_imbalance_check_interval_seconds: int
    num_replica_fetchers: int
    replica_lag_time_max_ms: int
    replica_fetch_min_bytes: int
    replica_fetch_max_bytes: int
    replica_fetch_response_max_bytes: int
    replica_fetch_wait_max_ms: int
    replica_fetch_backoff_ms: int
    replica_socket_timeout_ms: int
    replica_selector_class: str | None
    controlled_shutdown_enable: bool
    broker_heartbeat_interval_ms: int
    broker_session_timeout_ms: int
    initial_broker_registration_timeout_ms: int
    metadata_log_dir: str | None
    kbroker_metadata_store: str
    kbroker_etcd_endpoints: tuple[str, ...]
    kbroker_etcd_key_prefix: str
    kbroker_etcd_username: str | None
    kbroker_etcd_password: str | None
    kbroker_etcd_tls_ca_file: str | None
    kbroker_etcd_tls_certificate_file: str | None
    kbroker_etcd_tls_key_file: str | None
    quota_window_num: int
    quota_window_size_seconds: int
    controller_quota_window_num: int
    controller_quota_window_size_seconds: int
    leader_replication_throttled_rate: int | None
    follower_replication_throttled_rate: int | None
    replication_quota_window_num: int
    replication_quota_window_size_seconds: int
