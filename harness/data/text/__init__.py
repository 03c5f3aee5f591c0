"""Text into tokens: sources, cleaning, deduplication, tokenizer, encoding."""
