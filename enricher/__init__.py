"""Enricher: raw activities in, conversations out, published in transactions. These names are for commands.

The worker itself is `enricher.app`, which is not imported here: it needs Faust.
"""

from enricher.activity.raw_record import Deletion
from enricher.conversation.build import tombstone as conversation_tombstone
from enricher.preview import Preview, preview
from enricher.processing.parked import decode as decode_parked
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import ClientPool, FixedConnectors
from enricher.replay.clients import OfflineClients
from enricher.replay.model import COUNTS, Counts, Replay, Scope, total
from enricher.replay.rebuild import Rebuild, Rebuilt
from enricher.replay.requests import ReplayRequests

__all__ = [
    "COUNTS",
    "ClientPool",
    "Counts",
    "Deletion",
    "EnricherServices",
    "FixedConnectors",
    "OfflineClients",
    "Preview",
    "Rebuild",
    "Rebuilt",
    "Replay",
    "ReplayRequests",
    "Scope",
    "conversation_tombstone",
    "decode_parked",
    "preview",
    "total",
]
