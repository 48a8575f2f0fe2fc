"""One file per way to ask, named as in the measurement's `door`; each offers `create(asking) -> Door`."""
