# check=skip=all
FROM base:1
RUN echo checked > /c
