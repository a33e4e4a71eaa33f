#include "kernels/cuda/cudnn/cudnn.h"

#include <dlfcn.h>

/* Where the headers are installed, the constants of cudnn_abi.h are compared with them. */
#if defined(__has_include)
#if __has_include(<cudnn_graph.h>)
#include <cudnn_graph.h>
#define X(name, value) _Static_assert((int)CUDNN_##name == (value), #name);
CUDNN_CONSTANTS(X)
#if CUDNN_VERSION >= 90800
CUDNN_CONSTANTS_OF_9_8(X)
#endif
#if CUDNN_VERSION >= 91301
CUDNN_CONSTANTS_OF_9_13(X)
#endif
#undef X
#endif
#endif

static const char library[] = "libcudnn.so.9";
enum { OLDEST_VERSION = 91301 /* attention as one operation */ };

/* Like cuBLASLt, it is not made to be unloaded, and neither are the libraries that it loads. */
enum { HOW = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE };

static enum err_code unavailable(struct cudnn *lib, struct err *err, const char *why)
{
    enum err_code rc = err_set(err, ERR_UNAVAILABLE, "%s: %s", library, why);

    cudnn_close(lib);
    return rc;
}

enum err_code cudnn_open(int cuda_major, struct cudnn *ret, struct err *err)
{
    struct cudnn lib = { .shared_object = dlopen(library, HOW) };
    const struct {
        const char *name;
        void *at; /* where the function's address goes */
    } functions[] = {
#define X(type, name, args) { #name, &lib.name },
        CUDNN_FUNCTIONS(X)
#undef X
    };

    if (!lib.shared_object)
        return err_set(err, ERR_UNAVAILABLE, "%s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *address = dlsym(lib.shared_object, functions[i].name);

        if (!address)
            return unavailable(&lib, err, functions[i].name);
        *(void **)functions[i].at = address; /* the conversion that POSIX gives for dlsym */
    }
    if (lib.cudnnGetVersion() < OLDEST_VERSION)
        return unavailable(&lib, err, "version 9.13.1 or newer is needed");
    if (lib.cudnnGetCudartVersion() / 1000 != (size_t)cuda_major)
        return unavailable(&lib, err, "it was built for another version of CUDA");
    *ret = lib;
    return ERR_OK;
}

enum err_code cudnn_use_device(struct cudnn *lib, void *stream, struct err *err)
{
    int status = lib->cudnnCreate(&lib->handle);

    if (!status)
        status = lib->cudnnSetStream(lib->handle, stream);
    return status ? unavailable(lib, err, lib->cudnnGetErrorString(status)) : ERR_OK;
}

void cudnn_close(struct cudnn *lib)
{
    if (lib->handle)
        (void)lib->cudnnDestroy(lib->handle);
    if (lib->shared_object)
        (void)dlclose(lib->shared_object);
    *lib = (struct cudnn){ 0 };
}
