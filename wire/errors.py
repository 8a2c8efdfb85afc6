"""Kafka's error codes, and the two kinds of exception that carry a protocol problem.

Three kinds of error exist in kbroker. An `ErrorCode` belongs into a response, and `ApiError` carries one
from where it is noticed to where the response is built. `ProtocolError` means bytes that cannot be
understood: the connection that sent them is closed. A broken invariant is an `assert`.

Codes and their retriability are those of Apache Kafka 4.4 (`org.apache.kafka.common.protocol.Errors`).
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """What a response's `error_code` says; -1 to 136."""

    UNKNOWN_SERVER_ERROR = -1
    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    INVALID_FETCH_SIZE = 4
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    REQUEST_TIMED_OUT = 7
    BROKER_NOT_AVAILABLE = 8
    REPLICA_NOT_AVAILABLE = 9
    MESSAGE_TOO_LARGE = 10
    STALE_CONTROLLER_EPOCH = 11
    OFFSET_METADATA_TOO_LARGE = 12
    NETWORK_EXCEPTION = 13
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    INVALID_TOPIC_EXCEPTION = 17
    RECORD_LIST_TOO_LARGE = 18
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    INVALID_REQUIRED_ACKS = 21
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    INVALID_GROUP_ID = 24
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    INVALID_COMMIT_OFFSET_SIZE = 28
    TOPIC_AUTHORIZATION_FAILED = 29
    GROUP_AUTHORIZATION_FAILED = 30
    CLUSTER_AUTHORIZATION_FAILED = 31
    INVALID_TIMESTAMP = 32
    UNSUPPORTED_SASL_MECHANISM = 33
    ILLEGAL_SASL_STATE = 34
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REPLICATION_FACTOR = 38
    INVALID_REPLICA_ASSIGNMENT = 39
    INVALID_CONFIG = 40
    NOT_CONTROLLER = 41
    INVALID_REQUEST = 42
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
    POLICY_VIOLATION = 44
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    DUPLICATE_SEQUENCE_NUMBER = 46
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    INVALID_PRODUCER_ID_MAPPING = 49
    INVALID_TRANSACTION_TIMEOUT = 50
    CONCURRENT_TRANSACTIONS = 51
    TRANSACTION_COORDINATOR_FENCED = 52
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
    SECURITY_DISABLED = 54
    OPERATION_NOT_ATTEMPTED = 55
    KAFKA_STORAGE_ERROR = 56
    LOG_DIR_NOT_FOUND = 57
    SASL_AUTHENTICATION_FAILED = 58
    UNKNOWN_PRODUCER_ID = 59
    REASSIGNMENT_IN_PROGRESS = 60
    DELEGATION_TOKEN_AUTH_DISABLED = 61
    DELEGATION_TOKEN_NOT_FOUND = 62
    DELEGATION_TOKEN_OWNER_MISMATCH = 63
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65
    DELEGATION_TOKEN_EXPIRED = 66
    INVALID_PRINCIPAL_TYPE = 67
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    FETCH_SESSION_ID_NOT_FOUND = 70
    INVALID_FETCH_SESSION_EPOCH = 71
    LISTENER_NOT_FOUND = 72
    TOPIC_DELETION_DISABLED = 73
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    UNSUPPORTED_COMPRESSION_TYPE = 76
    STALE_BROKER_EPOCH = 77
    OFFSET_NOT_AVAILABLE = 78
    MEMBER_ID_REQUIRED = 79
    PREFERRED_LEADER_NOT_AVAILABLE = 80
    GROUP_MAX_SIZE_REACHED = 81
    FENCED_INSTANCE_ID = 82
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83
    ELECTION_NOT_NEEDED = 84
    NO_REASSIGNMENT_IN_PROGRESS = 85
    GROUP_SUBSCRIBED_TO_TOPIC = 86
    INVALID_RECORD = 87
    UNSTABLE_OFFSET_COMMIT = 88
    THROTTLING_QUOTA_EXCEEDED = 89
    PRODUCER_FENCED = 90
    RESOURCE_NOT_FOUND = 91
    DUPLICATE_RESOURCE = 92
    UNACCEPTABLE_CREDENTIAL = 93
    INCONSISTENT_VOTER_SET = 94
    INVALID_UPDATE_VERSION = 95
    FEATURE_UPDATE_FAILED = 96
    PRINCIPAL_DESERIALIZATION_FAILURE = 97
    SNAPSHOT_NOT_FOUND = 98
    POSITION_OUT_OF_RANGE = 99
    UNKNOWN_TOPIC_ID = 100
    DUPLICATE_BROKER_REGISTRATION = 101
    BROKER_ID_NOT_REGISTERED = 102
    INCONSISTENT_TOPIC_ID = 103
    INCONSISTENT_CLUSTER_ID = 104
    TRANSACTIONAL_ID_NOT_FOUND = 105
    FETCH_SESSION_TOPIC_ID_ERROR = 106
    INELIGIBLE_REPLICA = 107
    NEW_LEADER_ELECTED = 108
    OFFSET_MOVED_TO_TIERED_STORAGE = 109
    FENCED_MEMBER_EPOCH = 110
    UNRELEASED_INSTANCE_ID = 111
    UNSUPPORTED_ASSIGNOR = 112
    STALE_MEMBER_EPOCH = 113
    MISMATCHED_ENDPOINT_TYPE = 114
    UNSUPPORTED_ENDPOINT_TYPE = 115
    UNKNOWN_CONTROLLER_ID = 116
    UNKNOWN_SUBSCRIPTION_ID = 117
    TELEMETRY_TOO_LARGE = 118
    INVALID_REGISTRATION = 119
    TRANSACTION_ABORTABLE = 120
    INVALID_RECORD_STATE = 121
    SHARE_SESSION_NOT_FOUND = 122
    INVALID_SHARE_SESSION_EPOCH = 123
    FENCED_STATE_EPOCH = 124
    INVALID_VOTER_KEY = 125
    DUPLICATE_VOTER = 126
    VOTER_NOT_FOUND = 127
    INVALID_REGULAR_EXPRESSION = 128
    REBOOTSTRAP_REQUIRED = 129
    STREAMS_INVALID_TOPOLOGY = 130
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131
    STREAMS_TOPOLOGY_FENCED = 132
    SHARE_SESSION_LIMIT_REACHED = 133
    GROUP_DELETION_FAILED = 134
    STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED = 135
    CONTROLLER_ID_NOT_REGISTERED = 136

    @property
    def retriable(self) -> bool:
        """Whether a client may send the same request again and hope for better."""
        return self in _RETRIABLE

    @property
    def description(self) -> str:
        """One sentence for a human."""
        return _DESCRIPTIONS[self]


class ProtocolError(Exception):
    """Bytes that are not a valid message: truncated, oversized, malformed, or of an unknown kind.

    There is no response to such bytes; the connection they came from is closed.
    """


class EncodeError(ProtocolError):
    """A message of ours cannot be written: a value out of range, too long, or null where it must not be."""


class UnsupportedFieldError(EncodeError):
    """A field holds something other than its default, but the version to be written does not have the field.

    Kafka marks the fields that may be dropped silently as ignorable; this is raised for the others.
    """


class ApiError(Exception):
    """An error that belongs into a response: raised where it is noticed, answered by the handler."""

    def __init__(self, code: ErrorCode, message: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message or self.code.description}"


_RETRIABLE = frozenset(
    {
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.NETWORK_EXCEPTION,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.NOT_ENOUGH_REPLICAS,
        ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ErrorCode.NOT_CONTROLLER,
        ErrorCode.CONCURRENT_TRANSACTIONS,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode.INVALID_FETCH_SESSION_EPOCH,
        ErrorCode.LISTENER_NOT_FOUND,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.OFFSET_NOT_AVAILABLE,
        ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE,
        ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        ErrorCode.ELECTION_NOT_NEEDED,
        ErrorCode.UNSTABLE_OFFSET_COMMIT,
        ErrorCode.THROTTLING_QUOTA_EXCEEDED,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
        ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
        ErrorCode.SHARE_SESSION_NOT_FOUND,
        ErrorCode.INVALID_SHARE_SESSION_EPOCH,
        ErrorCode.SHARE_SESSION_LIMIT_REACHED,
    }
)

_DESCRIPTIONS = {
    ErrorCode.UNKNOWN_SERVER_ERROR: "The broker failed in a way that has no code of its own.",
    ErrorCode.NONE: "No error.",
    ErrorCode.OFFSET_OUT_OF_RANGE: "The offset lies before the log's start or beyond its end.",
    ErrorCode.CORRUPT_MESSAGE: "A batch does not match its checksum, its length or its format.",
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "This broker does not host the topic or partition.",
    ErrorCode.INVALID_FETCH_SIZE: "The fetch asks for an impossible number of bytes.",
    ErrorCode.LEADER_NOT_AVAILABLE: "The partition has no leader at the moment.",
    ErrorCode.NOT_LEADER_OR_FOLLOWER: "This broker is not the leader, or not a replica, of the partition.",
    ErrorCode.REQUEST_TIMED_OUT: "The request was not finished within its timeout.",
    ErrorCode.BROKER_NOT_AVAILABLE: "The broker is not available.",
    ErrorCode.REPLICA_NOT_AVAILABLE: "The replica is not available for the partition.",
    ErrorCode.MESSAGE_TOO_LARGE: "A batch is larger than max.message.bytes allows.",
    ErrorCode.STALE_CONTROLLER_EPOCH: "Another controller has taken over.",
    ErrorCode.OFFSET_METADATA_TOO_LARGE: "The metadata string of an offset commit is too long.",
    ErrorCode.NETWORK_EXCEPTION: "The connection broke before the response arrived.",
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS: "The coordinator is still loading its partition.",
    ErrorCode.COORDINATOR_NOT_AVAILABLE: "No coordinator is available.",
    ErrorCode.NOT_COORDINATOR: "This broker is not the coordinator for the key.",
    ErrorCode.INVALID_TOPIC_EXCEPTION: "The topic name is not valid, or the topic must not be used this way.",
    ErrorCode.RECORD_LIST_TOO_LARGE: "The batches together exceed the segment size.",
    ErrorCode.NOT_ENOUGH_REPLICAS: "Fewer replicas are in sync than required; nothing was appended.",
    ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND: "Appended, but on too few replicas.",
    ErrorCode.INVALID_REQUIRED_ACKS: "acks must be -1, 0 or 1.",
    ErrorCode.ILLEGAL_GENERATION: "The generation is not the group's current one.",
    ErrorCode.INCONSISTENT_GROUP_PROTOCOL: "The member shares no protocol with the group, or sent none.",
    ErrorCode.INVALID_GROUP_ID: "The group id is not valid.",
    ErrorCode.UNKNOWN_MEMBER_ID: "The group has no such member.",
    ErrorCode.INVALID_SESSION_TIMEOUT: "The session timeout is outside the broker's limits.",
    ErrorCode.REBALANCE_IN_PROGRESS: "The group is rebalancing: join again.",
    ErrorCode.INVALID_COMMIT_OFFSET_SIZE: "The offset commit does not fit into one batch.",
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "Not allowed on this topic.",
    ErrorCode.GROUP_AUTHORIZATION_FAILED: "Not allowed on this group.",
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: "Not allowed on this cluster.",
    ErrorCode.INVALID_TIMESTAMP: "A record's timestamp is outside the allowed range.",
    ErrorCode.UNSUPPORTED_SASL_MECHANISM: "The broker does not offer this SASL mechanism.",
    ErrorCode.ILLEGAL_SASL_STATE: "The request does not fit into the current state of the SASL exchange.",
    ErrorCode.UNSUPPORTED_VERSION: "The broker does not support this version of the API.",
    ErrorCode.TOPIC_ALREADY_EXISTS: "A topic of this name exists already.",
    ErrorCode.INVALID_PARTITIONS: "The number of partitions is not valid.",
    ErrorCode.INVALID_REPLICATION_FACTOR: "The replication factor is below 1 or above the number of brokers.",
    ErrorCode.INVALID_REPLICA_ASSIGNMENT: "The replica assignment is not valid.",
    ErrorCode.INVALID_CONFIG: "A configuration value is not valid.",
    ErrorCode.NOT_CONTROLLER: "This broker is not the controller.",
    ErrorCode.INVALID_REQUEST: "The request contradicts itself or lacks something.",
    ErrorCode.UNSUPPORTED_FOR_MESSAGE_FORMAT: "The partition's message format cannot serve this request.",
    ErrorCode.POLICY_VIOLATION: "The request breaks the configured policy.",
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER: "The sequence number does not follow the producer's last one.",
    ErrorCode.DUPLICATE_SEQUENCE_NUMBER: "The batch was appended before and its offset is no longer known.",
    ErrorCode.INVALID_PRODUCER_EPOCH: "The producer's epoch is older than the one the broker knows.",
    ErrorCode.INVALID_TXN_STATE: "The transaction is not in a state that allows this.",
    ErrorCode.INVALID_PRODUCER_ID_MAPPING: "The producer id does not belong to this transactional id.",
    ErrorCode.INVALID_TRANSACTION_TIMEOUT: "The transaction timeout exceeds transaction.max.timeout.ms.",
    ErrorCode.CONCURRENT_TRANSACTIONS: "The previous operation on this transaction has not finished.",
    ErrorCode.TRANSACTION_COORDINATOR_FENCED: "A newer transaction coordinator has written its markers.",
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Not allowed on this transactional id.",
    ErrorCode.SECURITY_DISABLED: "No authorizer is configured.",
    ErrorCode.OPERATION_NOT_ATTEMPTED: "Not tried, because another part of the request had failed.",
    ErrorCode.KAFKA_STORAGE_ERROR: "The log's disk cannot be read or written.",
    ErrorCode.LOG_DIR_NOT_FOUND: "The broker's configuration has no such log directory.",
    ErrorCode.SASL_AUTHENTICATION_FAILED: "SASL authentication failed.",
    ErrorCode.UNKNOWN_PRODUCER_ID: "The broker has no state for this producer any more.",
    ErrorCode.REASSIGNMENT_IN_PROGRESS: "The partition is being reassigned.",
    ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED: "Delegation tokens are switched off.",
    ErrorCode.DELEGATION_TOKEN_NOT_FOUND: "There is no such delegation token.",
    ErrorCode.DELEGATION_TOKEN_OWNER_MISMATCH: "The principal is neither owner nor renewer of the token.",
    ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: "Not allowed on this kind of channel.",
    ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED: "Not allowed on this delegation token.",
    ErrorCode.DELEGATION_TOKEN_EXPIRED: "The delegation token has expired.",
    ErrorCode.INVALID_PRINCIPAL_TYPE: "This type of principal is not supported.",
    ErrorCode.NON_EMPTY_GROUP: "The group still has members.",
    ErrorCode.GROUP_ID_NOT_FOUND: "There is no such group.",
    ErrorCode.FETCH_SESSION_ID_NOT_FOUND: "There is no such fetch session.",
    ErrorCode.INVALID_FETCH_SESSION_EPOCH: "The epoch is not the next one of the fetch session.",
    ErrorCode.LISTENER_NOT_FOUND: "The leader has no listener of the name this connection uses.",
    ErrorCode.TOPIC_DELETION_DISABLED: "delete.topic.enable is false.",
    ErrorCode.FENCED_LEADER_EPOCH: "The leader epoch in the request is older than the broker's.",
    ErrorCode.UNKNOWN_LEADER_EPOCH: "The leader epoch in the request is newer than the broker's.",
    ErrorCode.UNSUPPORTED_COMPRESSION_TYPE: "The client's version cannot read this compression codec.",
    ErrorCode.STALE_BROKER_EPOCH: "The broker epoch is out of date.",
    ErrorCode.OFFSET_NOT_AVAILABLE: "A new leader does not know the high watermark yet.",
    ErrorCode.MEMBER_ID_REQUIRED: "Join again with the member id in this response.",
    ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE: "The preferred leader is not available.",
    ErrorCode.GROUP_MAX_SIZE_REACHED: "The group has group.max.size members already.",
    ErrorCode.FENCED_INSTANCE_ID: "Another member has joined with the same group.instance.id.",
    ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE: "No replica may become leader at the moment.",
    ErrorCode.ELECTION_NOT_NEEDED: "The partition has the leader it should have.",
    ErrorCode.NO_REASSIGNMENT_IN_PROGRESS: "The partition is not being reassigned.",
    ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC: "A member of the group is subscribed to the topic.",
    ErrorCode.INVALID_RECORD: "A record of the batch is not valid.",
    ErrorCode.UNSTABLE_OFFSET_COMMIT: "An open transaction may still change these offsets.",
    ErrorCode.THROTTLING_QUOTA_EXCEEDED: "A quota is exhausted: try later.",
    ErrorCode.PRODUCER_FENCED: "A newer producer with the same transactional id has taken over.",
    ErrorCode.RESOURCE_NOT_FOUND: "The request names something that does not exist.",
    ErrorCode.DUPLICATE_RESOURCE: "The request names something twice.",
    ErrorCode.UNACCEPTABLE_CREDENTIAL: "The credential does not meet the requirements.",
    ErrorCode.INCONSISTENT_VOTER_SET: "The two sides disagree about which replicas vote.",
    ErrorCode.INVALID_UPDATE_VERSION: "The version to update from is not the current one.",
    ErrorCode.FEATURE_UPDATE_FAILED: "The features could not be updated.",
    ErrorCode.PRINCIPAL_DESERIALIZATION_FAILURE: "The forwarded request's principal cannot be read.",
    ErrorCode.SNAPSHOT_NOT_FOUND: "There is no such snapshot.",
    ErrorCode.POSITION_OUT_OF_RANGE: "The position lies outside the snapshot.",
    ErrorCode.UNKNOWN_TOPIC_ID: "This broker does not know the topic id.",
    ErrorCode.DUPLICATE_BROKER_REGISTRATION: "The broker id is registered by a live broker.",
    ErrorCode.BROKER_ID_NOT_REGISTERED: "The broker id is not registered.",
    ErrorCode.INCONSISTENT_TOPIC_ID: "The log's topic id is not the one in the request.",
    ErrorCode.INCONSISTENT_CLUSTER_ID: "The request is meant for another cluster.",
    ErrorCode.TRANSACTIONAL_ID_NOT_FOUND: "There is no such transactional id.",
    ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR: "The fetch session mixes topic names and topic ids.",
    ErrorCode.INELIGIBLE_REPLICA: "The replica may not join the in-sync replicas.",
    ErrorCode.NEW_LEADER_ELECTED: "The change to the partition made another broker its leader.",
    ErrorCode.OFFSET_MOVED_TO_TIERED_STORAGE: "The offset is in tiered storage.",
    ErrorCode.FENCED_MEMBER_EPOCH: "The group coordinator has fenced the member's epoch: join again.",
    ErrorCode.UNRELEASED_INSTANCE_ID: "Another member still holds this group.instance.id.",
    ErrorCode.UNSUPPORTED_ASSIGNOR: "The group coordinator does not have this assignor.",
    ErrorCode.STALE_MEMBER_EPOCH: "The member epoch is out of date: heartbeat, then try again.",
    ErrorCode.MISMATCHED_ENDPOINT_TYPE: "The request was sent to the wrong kind of endpoint.",
    ErrorCode.UNSUPPORTED_ENDPOINT_TYPE: "This endpoint type is not known.",
    ErrorCode.UNKNOWN_CONTROLLER_ID: "There is no controller with this id.",
    ErrorCode.UNKNOWN_SUBSCRIPTION_ID: "The telemetry subscription is out of date: fetch it anew.",
    ErrorCode.TELEMETRY_TOO_LARGE: "The pushed telemetry is too large.",
    ErrorCode.INVALID_REGISTRATION: "The registration contradicts the cluster's state.",
    ErrorCode.TRANSACTION_ABORTABLE: "The transaction has failed: abort it and go on.",
    ErrorCode.INVALID_RECORD_STATE: "The acknowledged record is not in a state that allows it.",
    ErrorCode.SHARE_SESSION_NOT_FOUND: "There is no such share session.",
    ErrorCode.INVALID_SHARE_SESSION_EPOCH: "The epoch is not the next one of the share session.",
    ErrorCode.FENCED_STATE_EPOCH: "The share group's state epoch is out of date.",
    ErrorCode.INVALID_VOTER_KEY: "The voter key is not the receiving replica's.",
    ErrorCode.DUPLICATE_VOTER: "The replica votes already.",
    ErrorCode.VOTER_NOT_FOUND: "The replica is not a voter.",
    ErrorCode.INVALID_REGULAR_EXPRESSION: "The subscription's regular expression cannot be parsed.",
    ErrorCode.REBOOTSTRAP_REQUIRED: "The client must start again from its bootstrap servers.",
    ErrorCode.STREAMS_INVALID_TOPOLOGY: "The streams topology is not valid.",
    ErrorCode.STREAMS_INVALID_TOPOLOGY_EPOCH: "The streams topology epoch is not valid.",
    ErrorCode.STREAMS_TOPOLOGY_FENCED: "The streams topology epoch is out of date.",
    ErrorCode.SHARE_SESSION_LIMIT_REACHED: "The broker holds as many share sessions as it may.",
    ErrorCode.GROUP_DELETION_FAILED: "The group could not be deleted; its result says why.",
    ErrorCode.STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED: "Description refused; the message says why.",
    ErrorCode.CONTROLLER_ID_NOT_REGISTERED: "There is no registered controller with this id.",
}
