FROM base:1
RUN exit 3
