"""A FastAPI service behind mutual TLS that says who calls, and tells those it refuses why.

It imports nothing of the rest of the lab: take the folder into your own service.
"""
