FROM base:1
USER nobody
WORKDIR /made
RUN id
