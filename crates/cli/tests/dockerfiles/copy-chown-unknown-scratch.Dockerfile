FROM scratch
COPY --chown=nobody package.json /a
