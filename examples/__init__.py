"""Examples of what to build with `asgi-mtls`."""
