FROM base:1
ADD packed.tar.gz /gz/
ADD packed.tar /plain
ADD package.json /file/
ADD src /dir/
