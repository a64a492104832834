"""Who is measured: Greenroom, the floor, the official SDKs, and other frameworks that do the same work. See `contract`."""
