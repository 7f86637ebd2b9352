FROM base:1 AS parent
ONBUILD ARG WHAT=x
ONBUILD COPY package.json /onbuild/
ONBUILD RUN echo "$WHAT" > /onbuild/what
FROM parent
RUN test -f /onbuild/package.json
