"""The chat page: files for a browser, which asks this gateway's own /v1 as any client does."""
