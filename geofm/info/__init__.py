"""One page about anything geofm reads or writes."""
