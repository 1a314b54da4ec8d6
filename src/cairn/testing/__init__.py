"""What tests need: a clock one owns, agents without sockets, simulated hosts. For plugin authors too."""
