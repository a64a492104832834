"""The whole stack over HTTP: servers in processes of their own, and readers that load them."""
