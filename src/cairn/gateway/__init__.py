"""HTTP: the edge at which API messages come in. It knows no noun of the cloud; all comes from the message classes."""
