/*
 * commands - the subcommands of the program, and how one is found. A new one is a line here and a file cmd_NAME.c.
 *
 * int cmd_NAME(int argc, char **argv): argv[0] is the name of the command. Returns the exit status: 0 done, 1 the
 * operation failed (one line on stderr says why), 2 wrong usage. cli.h shows the shape that all of them have.
 */
#ifndef WORKER_CLI_COMMANDS_H
#define WORKER_CLI_COMMANDS_H

#define COMMAND_MAP(X)                                                                       \
    X(audit, "runs one job with every combination of some settings, side by side on a page") \
    X(bench, "measures the parts of a job on random weights")                                \
    X(conform, "drives a running worker through its contract, and reports what it keeps")    \
    X(convert, "writes a transformer of any layout as one GGUF file of a chosen type")       \
    X(doctor, "checks settings, credentials, model files, memory and backend")               \
    X(edit, "runs one whole job on a local folder, without the cloud")                       \
    X(embed, "runs the text encoders: prompts to embeddings and ids, or to a prompt pack")   \
    X(fill, "runs the bare FLUX.1-Fill pipeline: picture, mask and prompt to a picture")     \
    X(inspect, "lists tensors or metadata of model files, or writes a tensor as raw f32")    \
    X(prompts, "prints which label of a scene leads to which prompt")                        \
    X(publish, "publishes messages about sessions to a topic of Pub/Sub, as the app does")   \
    X(push, "pushes messages to a worker, kept ones or one for a session")                   \
    X(replay, "runs an edit again from its record, to the same bytes")                       \
    X(serve, "runs the HTTP service (the default); settings come from the environment")      \
    X(tokenize, "prints the ids of a prompt for T5 or CLIP")                                 \
    X(transformer, "calls the transformer once: velocity and the streams after every block") \
    X(vae, "encodes a picture to latents, or decodes latents to a picture")

/* Runs the command that the arguments of the program name; returns the exit status. */
int commands_run(int argc, char **argv);

#define X(name, summary) int cmd_##name(int argc, char **argv);
COMMAND_MAP(X)
#undef X

#endif
