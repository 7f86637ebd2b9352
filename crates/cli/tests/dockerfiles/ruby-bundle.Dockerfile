FROM base:1
ENV BUNDLE_PATH=/usr/local/bundle GEM_HOME=/usr/local/bundle
ENV PATH=$GEM_HOME/bin:$PATH
WORKDIR /usr/src/app
COPY Gemfile* ./
RUN bundle install
COPY . .
EXPOSE 3000/tcp
