"""How chains are run: as asked for, or in the way that is faster for the kernel on this device."""
