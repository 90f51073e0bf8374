# syntax=docker/dockerfile:1
# The shop's front end.
FROM node:20-alpine

ENV NODE_ENV=production
WORKDIR /usr/src/app

# Dependencies first, so that they stay cached
COPY package*.json ./
RUN npm ci --omit=dev && npm cache clean --force

# Then the sources
COPY . .

EXPOSE 3000
USER node
CMD ["node", "server.js"]
