/* main - the only place that ends the process. */
#include <stdio.h>

int main(void)
{
    (void)fprintf(stderr, "inpaint-worker: nothing is built in yet\n");
    return 2;
}
