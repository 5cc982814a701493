"""A resolved activity as a conversation: text, mapping, record."""
