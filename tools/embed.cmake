# cmake -DIN=file -DOUT=file.c -DNAME=symbol -DVERSION=x -P embed.cmake: a text file as a C string, its
# @PROJECT_VERSION@ filled in. Bytes, because a string literal may hold only so many characters.
file(READ ${IN} text)
string(REPLACE "@PROJECT_VERSION@" "${VERSION}" text "${text}")
file(WRITE ${OUT}.text "${text}")
file(READ ${OUT}.text hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "#include \"server/server_int.h\"\n\nconst char ${NAME}[] = {${bytes}0};\n")
