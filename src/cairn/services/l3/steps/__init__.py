"""What is done to L3 networks, step by step."""
