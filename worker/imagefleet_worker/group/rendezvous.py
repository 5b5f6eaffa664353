"""Rendezvous: the ranks find each other, first through torch.distributed, then by a channel from each to the leader."""

import hmac
import secrets
import socket
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from imagefleet.errors import reason_of
from imagefleet_worker.errors import GroupBroken
from imagefleet_worker.group.channel import Channel
from imagefleet_worker.group.protocol import READ_LOGS, MessageKind, RankMessage
from imagefleet_worker.group.rank import Rank

#: For meeting and, as the last resort, for one collective; a rank that hangs is noticed by its channel long before.
_PATIENCE = timedelta(hours=1)


def join(rank: Rank, *, device: torch.device) -> None:
    """Become a rank of torch.distributed: gloo on a CPU, nccl on CUDA with gloo for small talk.

    Raises:
        GroupBroken: where the ranks cannot meet.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=rank.rank, world_size=rank.size, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise GroupBroken(
            f"the ranks cannot meet at {rank.host}:{rank.port}: {reason_of(error)}; {READ_LOGS}"
        ) from error


def hear_followers(rank: Rank, *, timeout_s: float) -> list[Channel]:
    """As the leader: a channel to each follower, in the order of their ranks.

    Raises:
        GroupBroken: where one does not come within *timeout_s*.
    """
    secret = secrets.token_hex(32)
    with socket.create_server((rank.host, 0)) as listener:
        listener.settimeout(timeout_s)
        _publish([listener.getsockname()[1], secret])
        channels: dict[int, Channel] = {}
        while len(channels) < rank.size - 1:
            try:
                connection, _ = listener.accept()
            except TimeoutError as error:
                raise GroupBroken(f"a follower has not come within {timeout_s:g} s; {READ_LOGS}") from error
            if (number := _rank_of(connection, secret=secret, timeout_s=timeout_s)) is not None:
                channels[number] = Channel(connection, other=f"rank {number}", timeout_s=timeout_s)
    return [channels[number] for number in sorted(channels)]


def reach_leader(rank: Rank, *, timeout_s: float) -> Channel:
    """As a follower: the channel to the leader.

    Raises:
        GroupBroken: where the leader cannot be reached.
    """
    port, secret = _publish([None, None])
    try:
        connection = socket.create_connection((rank.host, port), timeout=timeout_s)
    except OSError as error:
        raise GroupBroken(
            f"the leader does not answer at {rank.host}:{port}: {reason_of(error)}; {READ_LOGS}"
        ) from error
    channel = Channel(connection, other="the leader", timeout_s=timeout_s)
    channel.send(RankMessage(kind=MessageKind.HELLO, rank=rank.rank, secret=secret))
    return channel


def _publish(facts: list[Any]) -> list[Any]:
    """The leader's *facts*, at every rank."""
    dist.broadcast_object_list(facts, src=0, device=torch.device("cpu"))
    return facts


def _rank_of(connection: socket.socket, *, secret: str, timeout_s: float) -> int | None:
    """Which rank has called; None for a stranger, who is sent away."""
    try:
        hello = Channel(connection, other="a caller", timeout_s=timeout_s).receive()
    except (GroupBroken, ValueError):
        connection.close()
        return None
    if hello.kind is MessageKind.HELLO and hello.rank and hmac.compare_digest(hello.secret or "", secret):
        return hello.rank
    connection.close()
    return None
