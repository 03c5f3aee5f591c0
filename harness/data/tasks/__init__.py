"""Generated tasks: problems by index, documents with demonstrations, the mixture with text, test items."""
