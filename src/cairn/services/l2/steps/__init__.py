"""What is done to L2 networks, step by step."""
