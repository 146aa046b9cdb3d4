"""The console's port: Streamlit behind the sign-in, and the supervisor's HTTP port, as one address."""

import gc
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from console.console_options import console_options
from console.gate import Gate
from sightline.base.limits import raise_to
from sightline.base.same_origin import SameOrigin
from sightline.config.groups import HttpOptions
from sightline.errors import ServerError
from sightline.supervisor.http.http_server import HttpServer

PAGES_FILE = Path(__file__).parents[1] / "pages.py"
FILES = 4096  # connections, and three for each page, those that have gone for two minutes too
MAX_SAID_BYTES = 1 << 20  # in a message of a browser: what stands in a page's fields


def serve(options: HttpOptions) -> None:
    """Serve the console until a signal ends it.

    Raises:
        ServerError: the port cannot be had, the certificate cannot be used, or Streamlit does not start.
    """
    raise_to(resource.RLIMIT_NOFILE, FILES)
    before = [
        Middleware(SameOrigin, names=options.allowed_hosts),
        Middleware(Gate, port_of=lambda: console_options().supervisor),
    ]
    app = st.App(PAGES_FILE, middleware=before, lifespan=with_pages)
    st.config.set_option("server.allowedHosts", ["*"])  # SameOrigin has looked at them
    if options.tls_cert is not None:  # then Streamlit's own cookies are for TLS alone
        st.config.set_option("server.sslCertFile", str(options.tls_cert))
    cure = "choose another --address of this machine, or another --port"
    server = HttpServer(options, lambda _: app, bind_cure=cure, lifespan="on", ws_max_size=MAX_SAID_BYTES)
    print(f"the console is at {server.url}", flush=True)  # noqa: T201  whoever starts it opens it
    server.run()
    if not server.has_started:
        raise ServerError("the console did not start; its log says why")


@asynccontextmanager
async def with_pages(_: st.App) -> AsyncIterator[None]:
    """Import the pages before the first visit; Streamlit runs by then, whose caches their functions use."""
    import_module("console.pages")
    # Streamlit collects garbage after each run of a page, and holds up all others while it looks at every
    # object there is. Nearly all of them are modules, which stay until the end: they are looked at no more.
    gc.collect()
    gc.freeze()
    yield
