"""Starting runs and watching them."""
