# A WsgiDAV folder whose own locks are switched off and done by the middleware. In this directory:
#     waitress-serve --listen=127.0.0.1:8000 wsgidav_folder:application
# FOLDER names the directory that is shared.
import os
from pathlib import Path

from wsgidav.wsgidav_app import WsgiDAVApp

from locklib.wsgi import LockMiddleware

folder = Path(os.environ.get("FOLDER", "shared"))
folder.mkdir(exist_ok=True)
webdav = WsgiDAVApp(
    {
        "provider_mapping": {"/": str(folder)},
        "simple_dc": {"user_mapping": {"*": True}},  # anyone: locks are bearer locks then
        "lock_storage": False,
        "property_manager": True,
    }
)
application = LockMiddleware(webdav, dav=True)
