"""The command line: thin calls of `geofm.api`."""
