"""Where the chains of a run are drawn: on one device, or over the devices of a mesh."""
