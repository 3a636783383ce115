"""What is measured in a target before anything is searched."""
