# A wiki in Flask whose locks belong to who is logged in. In this directory:
#     waitress-serve --listen=127.0.0.1:8000 flask_wiki:app
from flask import Flask, abort, request
from werkzeug.datastructures import Authorization

from locklib.wsgi import LockMiddleware

PASSWORDS = {"alice": "wonderland", "bob": "builder"}
app, pages = Flask(__name__), {"start": "Welcome."}


@app.get("/wiki/<name>")
def read(name):
    return pages.get(name) or abort(404)


@app.put("/wiki/<name>")
def write(name):
    pages[name] = request.get_data(as_text=True)
    return "", 204


def who(environ):
    shown = Authorization.from_header(environ.get("HTTP_AUTHORIZATION"))
    return shown.username if shown and (shown.username, shown.password) in PASSWORDS.items() else None


app.wsgi_app = LockMiddleware(app.wsgi_app, principal=who, challenge='Basic realm="wiki"')
