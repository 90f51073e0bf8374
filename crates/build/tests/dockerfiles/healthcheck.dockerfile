FROM nginx:1.27
HEALTHCHECK --interval=30s --timeout=1m30s --start-period=2.5s --start-interval=1s --retries=5 \
  CMD curl -f http://localhost/ || exit 1
COPY site/ /usr/share/nginx/html/
