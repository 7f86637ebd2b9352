FROM base:1
RUN --mount=type=secret,id=none test ! -e /run/secrets/none
RUN --mount=type=secret,id=none,required=true true
