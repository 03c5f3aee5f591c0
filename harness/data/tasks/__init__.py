"""Generated tasks: problems by index, documents with demonstrations, their mixture with text, test items."""
