FROM base:1 AS a
RUN mkdir /d && echo text > /d/one && ln /d/one /d/two && ln -s one /d/three
FROM base:1
COPY src/lib /lib1
COPY --from=a /d /d
COPY --from=a /d/one /d/two /e/
