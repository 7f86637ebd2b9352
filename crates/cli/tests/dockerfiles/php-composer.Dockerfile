FROM base:1 AS vendor
WORKDIR /app
COPY composer.json composer.json
RUN composer install --no-dev -o vendor/autoload.php
FROM base:1
COPY public/ /var/www/html/
COPY --from=vendor /app/vendor/ /var/www/html/vendor/
VOLUME /var/www/html/cache
STOPSIGNAL SIGQUIT
