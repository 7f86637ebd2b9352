FROM base:1
COPY --link package.json /opt/new/dir/
COPY --link --chown=3:4 src /opt/src
