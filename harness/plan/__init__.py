"""What a sweep will train, what it costs, and how that is printed."""
