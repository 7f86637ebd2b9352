FROM base:1
COPY package.json go.mod /x
