"""The simulated tenant's data, and what a perfect connector makes of it."""
