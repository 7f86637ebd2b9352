FROM base:1
RUN mkdir -p /a/b && echo x > /a/b/c && echo y > /a/d && echo z > /e
RUN rm /e && rm -r /a/b
RUN rm -r /a && mkdir /a && echo new > /a/new
RUN rm /etc/group
