FROM base:1
RUN echo old > /f && chmod 600 /f && chown 5:6 /f
COPY package.json /f
RUN ln -s /f /g
COPY go.mod /g
