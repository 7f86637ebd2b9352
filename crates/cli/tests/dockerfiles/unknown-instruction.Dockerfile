FROM base:1
RUNN x
