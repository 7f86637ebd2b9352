FROM base:1
ADD packed.tar.bz2 /bz2/
