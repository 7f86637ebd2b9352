FROM base:1
ADD --unpack=false packed.tar.gz /a/
ADD --chmod=700 package.json /b
