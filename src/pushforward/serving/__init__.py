"""A server for a fitted table: its verbs over HTTP, a web page, limits and metrics. Needs FastAPI and uvicorn."""
