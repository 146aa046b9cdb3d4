"""The console's server: Streamlit behind the sign-in, and the supervisor's HTTP port, as one address.

Run: ``sightline console``, or ``streamlit run streamlit_app/app.py -- --config config.yml``.
"""

import streamlit as st
from starlette.middleware import Middleware

from console.console_options import console_options
from console.gate import Gate
from sightline.base.same_origin import SameOrigin

app = st.App(
    "pages.py",
    middleware=[
        Middleware(SameOrigin, names=st.config.get_option("server.allowedHosts")),
        Middleware(Gate, port_of=lambda: console_options().supervisor),
    ],
)
