"""API keys, what each may take and what each took; of the protocol it knows models and tokens only."""
