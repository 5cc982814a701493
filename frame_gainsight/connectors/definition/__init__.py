"""A connector's definition: its model, its YAML form, and the paths of its mapping."""
