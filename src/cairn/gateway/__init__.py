"""HTTP: the edge at which API messages come in. It knows no noun of the cloud; the message classes tell it everything."""
