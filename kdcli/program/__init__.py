"""What the commands do with networks and run directories, once everything has been checked."""
