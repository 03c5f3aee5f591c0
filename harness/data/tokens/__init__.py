"""Files of tokens of many layouts as streams, the windows of streams and mixtures, and the order of reading."""
