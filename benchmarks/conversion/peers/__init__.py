"""One file for each other way to convert: `python -m conversion.peers.NAME CHECKPOINT OUT`, one rank."""
