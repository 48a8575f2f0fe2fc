"""What a token is to the text that it was made of; the tokenizer tells it, who aggregates tokens reads it."""

BEGINS, SPECIAL, CONTINUES = 0, 1, 2
"""The begin of a word, none of the text (of the template, or padding), or the rest of a word."""
