FROM base:1
COPY debug.log /
