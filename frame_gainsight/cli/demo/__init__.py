"""The demo: from a simulated tenant to conversations on real parts, compared with those that the tenant expects."""
