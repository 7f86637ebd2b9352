FROM base:1
COPY *.json /json/
COPY package?.json /none/
