"""ThinkPool, as its users' programs import it: `thinkpool.client`."""
