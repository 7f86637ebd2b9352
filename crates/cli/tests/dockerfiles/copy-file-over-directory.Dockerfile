FROM base:1
RUN mkdir -p /d/package.json
COPY package.json /d/
