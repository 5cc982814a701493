"""A connector's credentials: enveloped under KMS, and never shown."""
