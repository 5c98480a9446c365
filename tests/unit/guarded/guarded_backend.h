/* A backend that holds the host to the boundary of model/backend_int.h, as a GPU would, only that a breach is a
 * segmentation fault. It is the processor's backend with other memory: every buffer, imported ones included, is a
 * mapping of its own that nobody can read or write, but for the time in which the operations run. That is as late as
 * possible: submit copies an operation, begin the rows and page tables, and only sync runs them.
 *
 * A program that is linked with guarded_backend.c and -Wl,--wrap=cpu_backend_new has it instead of the processor's;
 * one that ends without a step on it fails. */
#ifndef SP_TESTS_GUARDED_BACKEND_H
#define SP_TESTS_GUARDED_BACKEND_H

#include "model/backend_int.h"

/* Where a tensor lies. To look there is what the host must not do. */
uint8_t *guarded_address(const backend *b, struct tensor t);

#endif
