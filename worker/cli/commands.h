/*
 * commands - the subcommands of the program. A new one is a line here and a file cmd_NAME.c.
 *
 * int cmd_NAME(int argc, char **argv): argv[0] is the command's own name; returns the exit status of
 * PROTOCOL.md 10: 0 done, 1 the operation failed (one line on stderr says why), 2 wrong usage.
 */
#ifndef WORKER_CLI_COMMANDS_H
#define WORKER_CLI_COMMANDS_H

#define COMMAND_MAP(X)                                                                        \
    X(bench, "measures blocks, autoencoder or a denoising step on random weights")            \
    X(doctor, "checks settings, credentials, model files, memory and backend")                \
    X(edit, "one whole job on a local folder, without the cloud")                             \
    X(embed, "text encoders only: a prompt to its embeddings and ids")                        \
    X(fill, "the bare FLUX.1-Fill pipeline: picture, mask and prompt to a picture")           \
    X(inspect, "lists the tensors of a GGUF or safetensors file, or writes one as raw f32")   \
    X(serve, "the HTTP service (the default); settings come from the environment")            \
    X(tokenize, "a prompt to the ids of T5 or CLIP")                                          \
    X(transformer, "one call of the transformer: velocity and the streams after every block") \
    X(vae, "encodes a picture to latents, or decodes latents to a picture")

#define X(name, summary) int cmd_##name(int argc, char **argv);
COMMAND_MAP(X)
#undef X

#endif
