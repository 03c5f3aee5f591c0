"""Files of tokens as streams, the windows of streams and mixtures, and the order of reading them."""
