"""Raw activities to conversations: windows, resolution in batches, identity, mapping, published in transactions."""
