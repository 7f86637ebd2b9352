FROM base:1
COPY src/lib/dangling /x
