"""Text to token files: sources, curation, tokenizer, packing, and a source of known entropy."""
