FROM base:1 AS cc
COPY src/main.c /
RUN gcc -static -o /hello /main.c
FROM scratch
COPY --from=cc /hello /
CMD ["/hello"]
