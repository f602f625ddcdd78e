/* A plugin for the tests of the front door: what the door leaves is served by the single file of the same name in DIST. */
#include "door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

int main(int argc, char **argv, char **envp)
{
    static const struct facts facts = {BUILD, VERSION "\n", RELEASE, VERSIONS};
    const char *path = (const char *)getauxval(AT_EXECFN), *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char package[64], file[512];
    int status;

    snprintf(package, sizeof package, "cni_%s", name);
    for (char *at = package; *at; at++)
        *at = *at == '-' ? '_' : *at;
    status = door(&facts, name, package, argc, argv, envp);
    if (status >= 0)
        return status;
    setenv("CNI_FORKSERVER", "", 1);
    snprintf(file, sizeof file, "%s/%s", DIST, name);
    execv(file, argv);
    return 70;
}
