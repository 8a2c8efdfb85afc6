"""Control records: the markers that end transactions, and what KRaft writes into its log.

The key of a control record is a version and a type (`ControlRecordTypeSchema`). The value of COMMIT and ABORT is an
`EndTxnMarker` behind its version (KIP-98). The values of the others carry their version inside (KIP-595, KIP-630,
KIP-853): encode those with `encode`, not `encode_versioned`.
"""

from __future__ import annotations

from uuid import UUID

from wire.schema import InternalRecord, Structure, array, int16, int32, int64, string, structure, uint16, uuid


class ControlRecordTypeSchema(InternalRecord, versions="0"):
    type: int = int16()


class EndTxnMarker(InternalRecord, versions="0"):
    coordinator_epoch: int = int32()


class LeaderChangeMessage(InternalRecord, versions="0-1", flexible="0+"):
    class Voter(Structure):
        voter_id: int = int32()
        voter_directory_id: UUID = uuid("1+")

    version: int = int16()
    leader_id: int = int32()
    voters: list[Voter] = array(Voter)
    granting_voters: list[Voter] = array(Voter)


class SnapshotHeaderRecord(InternalRecord, versions="0", flexible="0+"):
    version: int = int16()
    last_contained_log_timestamp: int = int64()


class SnapshotFooterRecord(InternalRecord, versions="0", flexible="0+"):
    version: int = int16()


class KRaftVersionRecord(InternalRecord, versions="0", flexible="0+"):
    version: int = int16()
    kraft_version: int = int16()


class VotersRecord(InternalRecord, versions="0", flexible="0+"):
    class Voter(Structure):
        class Endpoint(Structure):
            name: str = string()
            host: str = string()
            port: int = uint16()

        class KRaftVersionFeature(Structure):
            min_supported_version: int = int16()
            max_supported_version: int = int16()

        voter_id: int = int32()
        voter_directory_id: UUID = uuid()
        endpoints: list[Endpoint] = array(Endpoint)
        kraft_version_feature: KRaftVersionFeature = structure(KRaftVersionFeature)

    version: int = int16()
    voters: list[Voter] = array(Voter)
