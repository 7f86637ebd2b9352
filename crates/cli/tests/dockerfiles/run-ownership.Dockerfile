FROM base:1
RUN mkdir -m 1777 /sticky && mkdir /www && chown 33:33 /www && touch /www/i && chown 33:50 /www/i && chmod 4755 /www/i
RUN chown -R 1000 /www
RUN mv /www /web
