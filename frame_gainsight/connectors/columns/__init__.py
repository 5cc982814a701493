"""Which columns a definition needs of which object, and which of them the timeline query selects."""
