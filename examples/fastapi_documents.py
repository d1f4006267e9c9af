# Documents in FastAPI. A lock on /documents guards all of them, one on /documents/1 that one. In this directory:
#     uvicorn --port 8000 fastapi_documents:app
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from locklib.asgi import LockMiddleware


class Document(BaseModel):
    title: str
    text: str = ""


app, documents = FastAPI(), {1: Document(title="Plan")}


@app.get("/documents/{number}")
async def read(number: int) -> Document:
    if number not in documents:
        raise HTTPException(404)
    return documents[number]


@app.put("/documents/{number}", responses={423: {"description": "Locked by someone else"}})
async def write(number: int, document: Document) -> Document:
    documents[number] = document
    return document


app.add_middleware(LockMiddleware)
