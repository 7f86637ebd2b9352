FROM base:1
ONBUILD RUN echo hello
ONBUILD COPY . /app
