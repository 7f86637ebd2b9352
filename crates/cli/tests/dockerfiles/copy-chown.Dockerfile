FROM base:1
COPY --chown=ann package.json /a
COPY --chown=ann:staff package.json /b
COPY --chown=7 package.json /c
COPY --chown=7:9 src /new/dir
COPY --chown=:staff package.json /d
