FROM base:1
WORKDIR /w
COPY --chmod=0644 package.json package-lock.json /w/
RUN yarn install --frozen-lockfile
