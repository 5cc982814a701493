"""Replays: raw records converted again, into the live topic by their lane's owner, or into another one."""
