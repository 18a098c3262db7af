"""Mutual TLS for ASGI services, built on Uvicorn."""

__version__ = "0.1.0"
