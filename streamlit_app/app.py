"""The console's server: Streamlit, closed to other people's web pages.

Run: ``sightline console``, or ``streamlit run streamlit_app/app.py -- --config config.yml``.
"""

import streamlit as st
from starlette.middleware import Middleware

from sightline.base.same_origin import SameOrigin

app = st.App(
    "pages.py", middleware=[Middleware(SameOrigin, names=st.config.get_option("server.allowedHosts"))]
)
