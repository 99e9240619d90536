"""A fitted table as a server: its verbs over HTTP, a page for people, limits and metrics. Needs FastAPI and uvicorn."""
