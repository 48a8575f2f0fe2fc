"""Whatever generates tokens, one file per engine under the protocol beside it."""
