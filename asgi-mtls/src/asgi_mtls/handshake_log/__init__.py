"""The handshake log: a recorder of TLS messages, summaries in words, and the routes that show them."""
