FROM base:1
ENV X="${MISSING:?must be set}"
