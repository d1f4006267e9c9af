# The wiki in FastAPI (ASGI).
import pages
from fastapi import FastAPI, HTTPException, Request, Response

from locklib.asgi import LockMiddleware

app = FastAPI()


@app.get("/wiki/{name}")
async def read(name: str):
    text = pages.read(name)
    if text is None:
        raise HTTPException(404)
    return Response(text, media_type="text/plain")


@app.put("/wiki/{name}", status_code=204)
async def write(name: str, request: Request):
    pages.write(name, (await request.body()).decode())


app.add_middleware(LockMiddleware, store="sqlite:///locks.db")
