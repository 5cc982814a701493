"""The simulated API: server, endpoints, limits, and the switches of its variants."""
