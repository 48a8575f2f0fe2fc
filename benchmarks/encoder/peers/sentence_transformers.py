"""sentence-transformers in this process: `encode` on all texts at once, its batch size tried.

https://sbert.net/docs/package_reference/sentence_transformer/SentenceTransformer.html
"""

from __future__ import annotations

from encoder.peers import Embed, Settings, engines


def library(settings: Settings) -> Embed:
    return engines.sentence_transformers(settings)
