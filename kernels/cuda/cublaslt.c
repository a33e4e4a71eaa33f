#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#define TEXT(x)    #x
#define TEXT_OF(x) TEXT(x)
static const char library[] = "libcublasLt.so." TEXT_OF(CUBLAS_VER_MAJOR);

/* The library is not made to be unloaded: the driver keeps pointers to what the library has registered, and calls them
 * when the process ends. So its code stays mapped when the last handle is closed. */
enum { HOW = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE };

enum err_code cublaslt_open(struct cublaslt *ret, struct err *err)
{
    struct cublaslt lt = { .handle = dlopen(library, HOW) };
    const struct {
        const char *name;
        void *at; /* where the function's address goes */
    } functions[] = {
#define X(name) { #name, &lt.name },
        CUBLASLT_FUNCTIONS(X)
#undef X
    };

    if (!lt.handle)
        return err_set(err, ERR_UNAVAILABLE, "cuda: %s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *address = dlsym(lt.handle, functions[i].name);

        if (!address) {
            cublaslt_close(&lt);
            return err_set(err, ERR_UNAVAILABLE, "cuda: %s has no %s", library, functions[i].name);
        }
        *(void **)functions[i].at = address; /* the conversion that POSIX gives for dlsym */
    }
    *ret = lt;
    return ERR_OK;
}

void cublaslt_close(struct cublaslt *lt)
{
    if (lt->handle)
        (void)dlclose(lt->handle);
    *lt = (struct cublaslt){ 0 };
}
