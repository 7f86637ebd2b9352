FROM base:1
RUN mkdir -p /usr/share/nginx/html && echo default > /usr/share/nginx/html/index.html
COPY public /usr/share/nginx/html
COPY config/app.conf /etc/nginx/conf.d/default.conf
EXPOSE 80 443
STOPSIGNAL 3
CMD ["nginx", "-g", "daemon off;"]
