/* What files of base share about errors of files. */
#ifndef SP_BASE_FILE_INT_H
#define SP_BASE_FILE_INT_H

#include "base/error.h"

/* From errno: "can't open PATH: No such file or directory: check the name". Returns the code that fits
 * (SP_ENOTFOUND, SP_ENOSPACE, SP_ENOMEM or SP_EIO). */
int file_fail(sp_error *err, const char *what, const char *path);

#endif
