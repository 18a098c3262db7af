"""Examples of what to build with the `server` folder."""
