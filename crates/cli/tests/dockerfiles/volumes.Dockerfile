FROM base:1
VOLUME /data /var/log
VOLUME ["/with space", "/b"]
RUN mkdir -p /data && echo kept > /data/file
