"""How brokers and controllers of Apache Kafka deal with one another (KIP-631). In the codec only, but for
UnregisterBroker.

Envelope (key 58, version 0, flexible): a request that is forwarded for somebody else (KIP-590).
BrokerRegistration (key 62, versions 0-4, flexible): 2: directory ids (KIP-858). 3: the previous epoch (KIP-966).
BrokerHeartbeat (key 63, versions 0-2, flexible): 1: failed directories (KIP-858). 2: cordoned directories.
UnregisterBroker (key 64, version 0, flexible).
ControllerRegistration (key 70, version 0, flexible): KIP-919.
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    binary,
    boolean,
    int16,
    int32,
    int64,
    nullable_array,
    nullable_binary,
    nullable_string,
    string,
    uint16,
    uuid,
)


class EnvelopeRequest(Request, api_key=58, versions="0", flexible="0+"):
    request_data: bytes = binary()
    request_principal: bytes | None = nullable_binary()
    client_host_address: bytes = binary()


class EnvelopeResponse(Response, api_key=58, versions="0", flexible="0+"):
    response_data: bytes | None = nullable_binary(default=None)
    error_code: int = int16()


class BrokerRegistrationRequest(Request, api_key=62, versions="0-4", flexible="0+"):
    class Listener(Structure):
        name: str = string()
        host: str = string()
        port: int = uint16()
        security_protocol: int = int16()

    class Feature(Structure):
        name: str = string()
        min_supported_version: int = int16()
        max_supported_version: int = int16()

    broker_id: int = int32()
    cluster_id: str = string()
    incarnation_id: UUID = uuid()
    listeners: list[Listener] = array(Listener)
    features: list[Feature] = array(Feature)
    rack: str | None = nullable_string()
    is_migrating_zk_broker: bool = boolean("1+")
    log_dirs: list[UUID] = array(uuid, "2+", ignorable=True)
    previous_broker_epoch: int = int64("3+", default=-1, ignorable=True)


class BrokerRegistrationResponse(Response, api_key=62, versions="0-4", flexible="0+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    broker_epoch: int = int64(default=-1)


class BrokerHeartbeatRequest(Request, api_key=63, versions="0-2", flexible="0+"):
    broker_id: int = int32()
    broker_epoch: int = int64(default=-1)
    current_metadata_offset: int = int64()
    want_fence: bool = boolean()
    want_shut_down: bool = boolean()
    offline_log_dirs: list[UUID] = array(uuid, "1+", tag=0)
    cordoned_log_dirs: list[UUID] | None = nullable_array(uuid, "2+", default=None, tag=1)


class BrokerHeartbeatResponse(Response, api_key=63, versions="0-2", flexible="0+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    is_caught_up: bool = boolean()
    is_fenced: bool = boolean(default=True)
    should_shut_down: bool = boolean()


class UnregisterBrokerRequest(Request, api_key=64, versions="0", flexible="0+"):
    broker_id: int = int32()


class UnregisterBrokerResponse(Response, api_key=64, versions="0", flexible="0+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()


class ControllerRegistrationRequest(Request, api_key=70, versions="0", flexible="0+"):
    class Listener(Structure):
        name: str = string()
        host: str = string()
        port: int = uint16()
        security_protocol: int = int16()

    class Feature(Structure):
        name: str = string()
        min_supported_version: int = int16()
        max_supported_version: int = int16()

    controller_id: int = int32()
    incarnation_id: UUID = uuid()
    zk_migration_ready: bool = boolean()
    listeners: list[Listener] = array(Listener)
    features: list[Feature] = array(Feature)


class ControllerRegistrationResponse(Response, api_key=70, versions="0", flexible="0+"):
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()
