"""Doors for clients of other servers, one file each: what they ask is asked of the same fronts."""
