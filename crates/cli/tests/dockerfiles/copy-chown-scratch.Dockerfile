FROM scratch
COPY --chown=root:root package.json /a
COPY --chown=root package.json /b
COPY --chown=0:0 src/lib /lib
