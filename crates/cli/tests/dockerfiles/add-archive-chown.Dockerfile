FROM base:1
ADD --chown=1000:50 packed.tar.gz /a/
ADD --chown=ann packed.tar /b
