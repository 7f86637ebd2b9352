FROM base:1
COPY --chmod=600 src /p/q
COPY --chmod=755 package.json /r/s/t
COPY --chmod=4711 package.json /suid
