"""The simulated API: the tenant that it answers for, server, endpoints, limits, and the variants of its answers."""
