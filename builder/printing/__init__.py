"""What the command line prints, one file per noun; tables for people, on stdout."""
