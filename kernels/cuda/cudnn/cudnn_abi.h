/*
 * cudnn_abi - the constants and functions of cuDNN 9's backend API that are used, with the numbers of its
 * documentation. They are stated here so that the same program is built with and without the library's headers, and
 * finds the library when it runs. Where the headers are installed, cudnn.c compares the numbers with them.
 */
#ifndef KERNELS_CUDA_CUDNN_CUDNN_ABI_H
#define KERNELS_CUDA_CUDNN_CUDNN_ABI_H

#include <stddef.h>
#include <stdint.h>

/* since 9.0 */
#define CUDNN_CONSTANTS(X)                           \
    X(STATUS_SUCCESS, 0)                             \
    X(DATA_FLOAT, 0)                                 \
    X(DATA_BFLOAT16, 9)                              \
    X(HEUR_MODE_A, 3)                                \
    X(NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, 1)         \
    X(NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, 2) \
    X(NUMERICAL_NOTE_FFT, 3)                         \
    X(NUMERICAL_NOTE_NONDETERMINISTIC, 4)            \
    X(NUMERICAL_NOTE_WINOGRAD, 5)                    \
    X(NUMERICAL_NOTE_WINOGRAD_TILE_4x4, 6)           \
    X(NUMERICAL_NOTE_WINOGRAD_TILE_6x6, 7)           \
    X(NUMERICAL_NOTE_WINOGRAD_TILE_13x13, 8)         \
    /* types of attributes */                        \
    X(TYPE_HANDLE, 0)                                \
    X(TYPE_DATA_TYPE, 1)                             \
    X(TYPE_BOOLEAN, 2)                               \
    X(TYPE_INT64, 3)                                 \
    X(TYPE_VOID_PTR, 6)                              \
    X(TYPE_HEUR_MODE, 8)                             \
    X(TYPE_NUMERICAL_NOTE, 11)                       \
    X(TYPE_BACKEND_DESCRIPTOR, 15)                   \
    /* descriptors */                                \
    X(BACKEND_ENGINE_DESCRIPTOR, 2)                  \
    X(BACKEND_ENGINECFG_DESCRIPTOR, 3)               \
    X(BACKEND_ENGINEHEUR_DESCRIPTOR, 4)              \
    X(BACKEND_EXECUTION_PLAN_DESCRIPTOR, 5)          \
    X(BACKEND_OPERATIONGRAPH_DESCRIPTOR, 15)         \
    X(BACKEND_VARIANT_PACK_DESCRIPTOR, 16)           \
    X(BACKEND_TENSOR_DESCRIPTOR, 17)                 \
    /* attributes */                                 \
    X(ATTR_ENGINEHEUR_MODE, 200)                     \
    X(ATTR_ENGINEHEUR_OPERATION_GRAPH, 201)          \
    X(ATTR_ENGINEHEUR_RESULTS, 202)                  \
    X(ATTR_ENGINECFG_ENGINE, 300)                    \
    X(ATTR_EXECUTION_PLAN_HANDLE, 400)               \
    X(ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 401)        \
    X(ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 402)       \
    X(ATTR_OPERATIONGRAPH_HANDLE, 800)               \
    X(ATTR_OPERATIONGRAPH_OPS, 801)                  \
    X(ATTR_TENSOR_BYTE_ALIGNMENT, 900)               \
    X(ATTR_TENSOR_DATA_TYPE, 901)                    \
    X(ATTR_TENSOR_DIMENSIONS, 902)                   \
    X(ATTR_TENSOR_STRIDES, 903)                      \
    X(ATTR_TENSOR_UNIQUE_ID, 906)                    \
    X(ATTR_TENSOR_IS_BY_VALUE, 908)                  \
    X(ATTR_VARIANT_PACK_UNIQUE_IDS, 1000)            \
    X(ATTR_VARIANT_PACK_DATA_POINTERS, 1001)         \
    X(ATTR_VARIANT_PACK_WORKSPACE, 1003)             \
    X(ATTR_ENGINE_NUMERICAL_NOTE, 1303)

/* since 9.8: plans for a card that is described instead of installed */
#define CUDNN_CONSTANTS_OF_9_8(X)          \
    X(TYPE_CHAR, 24)                       \
    X(BACKEND_DEVICEPROP_DESCRIPTOR, 38)   \
    X(ATTR_ENGINEHEUR_DEVICEPROP, 204)     \
    X(ATTR_EXECUTION_PLAN_DEVICEPROP, 407) \
    X(ATTR_DEVICEPROP_JSON_REPRESENTATION, 2702)

/* since 9.13.1: attention as one operation */
#define CUDNN_CONSTANTS_OF_9_13(X)               \
    X(BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, 41) \
    X(ATTR_OPERATION_SDPA_FWD_QDESC, 2800)       \
    X(ATTR_OPERATION_SDPA_FWD_KDESC, 2801)       \
    X(ATTR_OPERATION_SDPA_FWD_VDESC, 2802)       \
    X(ATTR_OPERATION_SDPA_FWD_ODESC, 2803)       \
    X(ATTR_OPERATION_SDPA_FWD_SCALEDESC, 2805)

/* A status and an enumerator are int; handles and descriptors are pointers. */
#define CUDNN_FUNCTIONS(X)                                                                                     \
    X(size_t, cudnnGetVersion, (void))                                                                         \
    X(size_t, cudnnGetCudartVersion, (void))                                                                   \
    X(const char *, cudnnGetErrorString, (int status))                                                         \
    X(void, cudnnGetLastErrorString, (char *text, size_t bytes))                                               \
    X(int, cudnnCreate, (void **handle))                                                                       \
    X(int, cudnnDestroy, (void *handle))                                                                       \
    X(int, cudnnSetStream, (void *handle, void *stream))                                                       \
    X(int, cudnnBackendCreateDescriptor, (int type, void **ret))                                               \
    X(int, cudnnBackendDestroyDescriptor, (void *descriptor))                                                  \
    X(int, cudnnBackendFinalize, (void *descriptor))                                                           \
    X(int, cudnnBackendSetAttribute, (void *descriptor, int name, int type, int64_t count, const void *array)) \
    X(int, cudnnBackendGetAttribute,                                                                           \
      (void *descriptor, int name, int type, int64_t asked, int64_t *count, void *array))                      \
    X(int, cudnnBackendExecute, (void *handle, void *plan, void *variant_pack))

#endif
