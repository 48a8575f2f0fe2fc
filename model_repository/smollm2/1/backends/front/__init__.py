"""The model that clients call: it owns a request from its text to its last token."""
