/*
 * stub_cuda - a CUDA driver without a device, as libcuda.so.1: cuDNN needs to find a driver before it plans for a card
 * that is described to it. It looks up all these functions; those that it calls report that there is no device.
 */

enum { NO_DEVICE = 100, VERSION = 13000 };

#define FUNCTIONS(X)                               \
    X(cuCtxGetCurrent)                             \
    X(cuCtxGetDevice)                              \
    X(cuCtxGetLimit)                               \
    X(cuCtxPopCurrent)                             \
    X(cuCtxPushCurrent)                            \
    X(cuDeviceGet)                                 \
    X(cuDeviceGetAttribute)                        \
    X(cuDevicePrimaryCtxRelease)                   \
    X(cuDevicePrimaryCtxReset)                     \
    X(cuDevicePrimaryCtxRetain)                    \
    X(cuFuncGetAttribute)                          \
    X(cuFuncSetAttribute)                          \
    X(cuGetErrorName)                              \
    X(cuGetErrorString)                            \
    X(cuInit)                                      \
    X(cuKernelGetAttribute)                        \
    X(cuKernelGetFunction)                         \
    X(cuKernelSetAttribute)                        \
    X(cuLaunchCooperativeKernel)                   \
    X(cuLaunchKernel)                              \
    X(cuLaunchKernelEx)                            \
    X(cuLibraryGetKernel)                          \
    X(cuLibraryLoadData)                           \
    X(cuLibraryLoadFromFile)                       \
    X(cuLibraryUnload)                             \
    X(cuLinkAddData)                               \
    X(cuLinkAddData_v2)                            \
    X(cuLinkAddFile_v2)                            \
    X(cuLinkComplete)                              \
    X(cuLinkCreate)                                \
    X(cuLinkCreate_v2)                             \
    X(cuLinkDestroy)                               \
    X(cuMemcpyDtoH_v2)                             \
    X(cuModuleGetFunction)                         \
    X(cuModuleGetGlobal_v2)                        \
    X(cuModuleLoadData)                            \
    X(cuModuleLoadDataEx)                          \
    X(cuModuleLoadFatBinary)                       \
    X(cuModuleUnload)                              \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor) \
    X(cuOccupancyMaxPotentialClusterSize)          \
    X(cuStreamGetCtx)                              \
    X(cuStreamSynchronize)                         \
    X(cuTensorMapEncodeIm2col)                     \
    X(cuTensorMapEncodeTiled)

#define X(name)           \
    int name(void);       \
    int name(void)        \
    {                     \
        return NO_DEVICE; \
    }
FUNCTIONS(X)

int cuDriverGetVersion(int *ret);
int cuDriverGetVersion(int *ret)
{
    *ret = VERSION;
    return 0;
}

int cuDeviceGetCount(int *ret);
int cuDeviceGetCount(int *ret)
{
    *ret = 0;
    return 0;
}
