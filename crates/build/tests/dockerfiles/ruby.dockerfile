ARG RUBY_VERSION=3.3.1
FROM ruby:${RUBY_VERSION}-slim
ENV RAILS_ENV="production" BUNDLE_WITHOUT="development test"
ENV GEM_HOME /usr/local/bundle
ENV PATH $GEM_HOME/bin:$PATH
WORKDIR /rails
COPY Gemfile Gemfile.lock ./
RUN bundle install
COPY bin bin
COPY config/ config/
ENTRYPOINT ["/rails/bin/docker-entrypoint"]
CMD ["./bin/rails", "server"]
