"""The bus: typed messages, one answer for each request, deadlines that end the work, not just the waiting."""
