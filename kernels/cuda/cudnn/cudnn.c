#include "kernels/cuda/cudnn/cudnn.h"

#include <dlfcn.h>

/* Where the headers are at hand, what cudnn_abi.h says is compared with them. */
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

/* As cuBLASLt, it is not made to be unloaded; the libraries that it loads in its turn count on it, too. */
enum { HOW = RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE };

static enum err_code unavailable(struct cudnn *dnn, struct err *err, const char *why)
{
    enum err_code rc = err_set(err, ERR_UNAVAILABLE, "%s: %s", library, why);

    cudnn_close(dnn);
    return rc;
}

enum err_code cudnn_open(int cuda_major, struct cudnn *ret, struct err *err)
{
    struct cudnn dnn = { .shared_object = dlopen(library, HOW) };
    const struct {
        const char *name;
        void *at; /* where the function's address goes */
    } functions[] = {
#define X(type, name, args) { #name, &dnn.name },
        CUDNN_FUNCTIONS(X)
#undef X
    };

    if (!dnn.shared_object)
        return err_set(err, ERR_UNAVAILABLE, "%s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *address = dlsym(dnn.shared_object, functions[i].name);

        if (!address)
            return unavailable(&dnn, err, functions[i].name);
        *(void **)functions[i].at = address; /* as POSIX has it for dlsym */
    }
    if (dnn.cudnnGetVersion() < OLDEST_VERSION)
        return unavailable(&dnn, err, "needed is 9.13.1 or newer");
    if (dnn.cudnnGetCudartVersion() / 1000 != (size_t)cuda_major)
        return unavailable(&dnn, err, "made for another version of CUDA");
    *ret = dnn;
    return ERR_OK;
}

enum err_code cudnn_use_device(struct cudnn *dnn, void *stream, struct err *err)
{
    int status = dnn->cudnnCreate(&dnn->handle);

    if (!status)
        status = dnn->cudnnSetStream(dnn->handle, stream);
    return status ? unavailable(dnn, err, dnn->cudnnGetErrorString(status)) : ERR_OK;
}

void cudnn_close(struct cudnn *dnn)
{
    if (dnn->handle)
        (void)dnn->cudnnDestroy(dnn->handle);
    if (dnn->shared_object)
        (void)dlclose(dnn->shared_object);
    *dnn = (struct cudnn){ 0 };
}
