FROM base:1
COPY *.json /json/
COPY src/*.[cg]* /sources/
COPY */*.conf /conf/
