"""The simulated tenant's data, and the conversations that a connector must make of it."""
