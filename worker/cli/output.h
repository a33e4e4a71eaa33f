/*
 * output - says on stdout which files a command wrote.
 */
#ifndef WORKER_CLI_OUTPUT_H
#define WORKER_CLI_OUTPUT_H

/* "wrote DIR/edited.jpg, 1024 x 768 pixels, 182934 bytes"; a width of 0: the file is no picture. */
void output_wrote(const char *path, int width, int height);

#endif
