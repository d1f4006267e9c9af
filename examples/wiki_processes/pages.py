# The pages of the wiki: a file each, so that every process of both servers has the same ones.
from pathlib import Path

FOLDER = Path("pages")


def read(name):
    page = FOLDER / name
    return page.read_text() if page.is_file() else None


def write(name, text):
    FOLDER.mkdir(exist_ok=True)
    new = FOLDER / f".{name}.new"
    new.write_text(text)
    new.replace(FOLDER / name)
