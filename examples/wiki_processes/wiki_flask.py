# The wiki in Flask (WSGI).
import pages
from flask import Flask, abort, request

from locklib.wsgi import LockMiddleware

app = Flask(__name__)


@app.get("/wiki/<name>")
def read(name):
    text = pages.read(name)
    return abort(404) if text is None else text


@app.put("/wiki/<name>")
def write(name):
    pages.write(name, request.get_data(as_text=True))
    return "", 204


app.wsgi_app = LockMiddleware(app.wsgi_app, store="sqlite:///locks.db")
