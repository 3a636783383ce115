"""Objects of frameworks as targets: a module for each framework, imported only when a target is one of its objects."""
