"""The lab's FastAPI application, served by `asgi-mtls` or by plain Uvicorn."""

PROBLEM_TYPE = "tag:mtls-lab.test,2026:"  # RFC 4151: a name, not an address (RFC 9457 3.1.1)
