FROM base:1
COPY src /src
COPY src/ /src2/
COPY src/lib /x/y/z
COPY empty /empty
