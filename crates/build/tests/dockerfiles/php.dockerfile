FROM php:8.3-fpm
MAINTAINER web team <web@example.org>
RUN docker-php-ext-install pdo_mysql opcache
COPY --from=composer:2 /usr/bin/composer /usr/bin/composer
WORKDIR /var/www
COPY composer.json composer.lock ./
RUN composer install --no-dev --optimize-autoloader
COPY public/ public/
COPY src/ src/
RUN mkdir -p storage/logs storage/cache && chown -R www-data:www-data storage && chmod 775 storage/logs
VOLUME ["/var/www/storage"]
