"""Applications to put behind a lock: a WebDAV folder, a JSON documents API, and Basic authentication for both.

Law: no application in this package knows that locks exist (`story` does, as a client that speaks HTTP to them). They
answer `DAV: 1`, have no LOCK and no UNLOCK, and import no other part of locklib; what they do when they are locked is
the middleware's doing alone.

    locklib.demo.folder.Folder             a class 1 folder (RFC 4918) over a directory, ASGI
    locklib.demo.documents.documents_app   JSON and text documents in memory, Starlette
    locklib.demo.auth.basic_auth           who is asking (RFC 7617), around any ASGI application
    locklib.demo.story                     Alice and Bob, told in real requests
"""
