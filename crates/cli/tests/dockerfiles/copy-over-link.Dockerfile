FROM base:1 AS a
RUN mkdir -p /x/lib64 && touch /x/lib64/f
FROM base:1
RUN mkdir /lib && ln -s lib /lib64
COPY --from=a /x/ /
