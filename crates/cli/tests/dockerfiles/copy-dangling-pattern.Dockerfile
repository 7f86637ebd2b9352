FROM base:1
COPY src/lib/d* /x/
