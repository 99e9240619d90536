"""A server for a fitted table: its verbs over HTTP, a web page, limits, metrics. Needs Starlette, Pydantic, uvicorn."""
