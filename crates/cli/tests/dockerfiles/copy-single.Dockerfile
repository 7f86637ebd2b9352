FROM base:1
COPY package.json /a
COPY package.json /b/
COPY package.json /c/d
COPY ["package.json", "go.mod", "/e/"]
