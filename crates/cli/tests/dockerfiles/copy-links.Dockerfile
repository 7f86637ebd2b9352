FROM base:1
RUN mkdir /real && ln -s real /link && ln -s /real /absolute
COPY src/settings /settings
COPY src/lib/link /link-copy
COPY package.json /link/
COPY public /absolute
COPY src/settings/app.conf /conf
