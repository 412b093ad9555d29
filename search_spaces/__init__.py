"""What a search chooses from: a chooser draws valid candidates out of named choices."""
