FROM base:1 AS a
RUN mkdir -p /o/p && echo 1 > /o/f && chown 5:6 /o/f && chown 7:8 /o /o/p && chmod 2750 /o/p
FROM base:1
COPY --from=a /o /z
COPY --from=a /o/f /y/f
COPY --from=a --chown=ann /o /x
COPY --from=0 /o/ /w/v/
