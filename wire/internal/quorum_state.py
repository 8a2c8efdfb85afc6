"""Records."""

from __future__ import annotations

from uuid import UUID

from wire.schema import InternalRecord, Structure, int32, int64, nullable_array, string, uuid


class QuorumStateData(InternalRecord, versions="0-1", flexible="0+"):
    class Voter(Structure):
        voter_id: int = int32()

    cluster_id: str = string("0")
    leader_id: int = int32(default=-1)
    leader_epoch: int = int32(default=-1)
    voted_id: int = int32(default=-1)
    voted_directory_id: UUID = uuid("1+")
    applied_offset: int = int64("0")
    current_voters: list[Voter] | None = nullable_array(Voter, "0")
