"""The agent of a backup server: images, kept and handed out."""
