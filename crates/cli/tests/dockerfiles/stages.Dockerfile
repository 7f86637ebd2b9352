FROM base:1 AS one
RUN echo 1 > /one
FROM one AS two
RUN echo 2 > /two
FROM scratch AS three
COPY --from=two /one /two /
COPY --from=1 /two /again
FROM base:1 AS unused
RUN false
FROM three
