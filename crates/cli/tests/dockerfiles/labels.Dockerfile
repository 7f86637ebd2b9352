FROM base:1
LABEL org.opencontainers.image.title="title" org.opencontainers.image.source=https://example.org
LABEL "quoted key"="value" empty=
LABEL old style value
MAINTAINER Ann <ann@example.org>
