FROM base:1 AS deps
WORKDIR /app
COPY package*.json ./
RUN npm ci --omit=dev
FROM base:1 AS runner
WORKDIR /app
ENV NODE_ENV=production \
    PORT=3000
COPY --from=deps /app/package.json ./
COPY --chown=ann:ann src/index.js public ./
USER ann
EXPOSE 3000
CMD ["node", "index.js"]
