"""The nouns of the cloud, a folder each; a service imports of another only its `messages` and `extensions`."""
