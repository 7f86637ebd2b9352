ARG VERSION=1
FROM base:${VERSION}
ARG VERSION
ARG NAME=value
ARG EMPTY
ENV FULL="${NAME}-${VERSION}" ALT=${EMPTY:-none} PLUS=${NAME:+set} RAW='$NAME'
RUN echo "$NAME $VERSION $FULL $ALT" > /args
LABEL version="$VERSION" description="a \"quoted\" text" multi.line="one \
two"
