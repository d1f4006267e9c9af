"""One table of transcripts, played through the ASGI and the WSGI middleware; both must answer the same bytes."""
