FROM base:1
RUN apk add --no-cache --virtual .build gcc; \
    make -o /usr/bin/thing; \
    apk del .build
