"""Options with their defaults and help texts, and plain data for JSON. Nothing here knows a model."""
