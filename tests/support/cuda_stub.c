/* A stand-in for libcuda.so.1, so that no test needs a GPU.
 *
 * A setting KEY is looked up in the environment as GPUC_CUDA_STUB_KEY, then in the file
 * <this library>.conf, lines of KEY=value. FAIL_KEY=code makes a call fail with CUDA's code
 * (2 out of memory, 100 no device, 999 unknown), HANG_KEY=1 never return. Nothing is copied: time
 * is a number that each copy moves on by its size over H2D_MBPS, D2H_MBPS or VRAM_MBPS (which
 * counts bytes read and written), so that what is measured is known to the digit.
 *
 * HOST_MAX_MIB and DEVICE_MAX_MIB bound what can be allocated at once, -DNO_EVENTS leaves the
 * events out. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef unsigned long long u64;
typedef int status;

static double now_ms;
static u64 host_bytes, device_bytes;

static u64 number(const char *prefix, const char *key, u64 otherwise) {
  char name[96], path[4096], line[256];
  Dl_info self;
  snprintf(name, sizeof name, "GPUC_CUDA_STUB_%s%s", prefix, key);
  const char *value = getenv(name);
  if (value) return strtoull(value, NULL, 10);
  snprintf(name, sizeof name, "%s%s=", prefix, key);
  if (!dladdr((void *)&now_ms, &self) || !self.dli_fname) return otherwise;
  snprintf(path, sizeof path, "%s.conf", self.dli_fname);
  FILE *f = fopen(path, "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, name, strlen(name)) == 0) {
      otherwise = strtoull(line + strlen(name), NULL, 10);
      break;
    }
  if (f) fclose(f);
  return otherwise;
}

#define TROUBLE(key) \
  do { \
    if (number("HANG_", key, 0)) for (;;) pause(); \
    status r = (status)number("FAIL_", key, 0); \
    if (r) return r; \
  } while (0)

status cuInit(unsigned flags) { TROUBLE("INIT"); return flags != 0; }
status cuGetErrorName(status code, const char **out) {
  *out = code == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : code == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_OTHER";
  return 0;
}
status cuDeviceGetCount(int *out) { TROUBLE("COUNT"); *out = (int)number("", "GPUS", 1); return 0; }
status cuDeviceGet(int *out, int ordinal) { *out = ordinal; return 0; }
/* The fastest card comes first here: the other way round than the driver counts. */
status cuDeviceGetPCIBusId(char *out, int room, int device) {
  int last = (int)number("", "GPUS", 1) - 1;
  snprintf(out, (size_t)room, "0000:%02X:00.0", last - device + 1);
  return 0;
}
status cuDevicePrimaryCtxRetain(void **out, int device) {
  TROUBLE("CONTEXT");
  *out = (void *)&now_ms;
  now_ms = 0;
  (void)device;
  return 0;
}
status cuCtxSetCurrent(void *context) { return context != (void *)&now_ms; }

/* The size is kept in front, in a page of its own; nothing is ever touched behind it. */
static void *take(u64 bytes) {
  u64 *start = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return NULL;
  *start = bytes;
  return (char *)start + 4096;
}
static u64 give(void *from) {
  u64 *start = (u64 *)((char *)from - 4096), bytes = *start;
  munmap(start, bytes + 4096);
  return bytes;
}

status cuMemAlloc_v2(u64 *out, size_t bytes) {
  TROUBLE("MEMORY");
  if (device_bytes + bytes > number("", "DEVICE_MAX_MIB", 1 << 20) << 20) return 2;
  void *p = take(bytes);
  if (!p) return 2;
  device_bytes += bytes;
  *out = (u64)(size_t)p;
  return 0;
}
status cuMemFree_v2(u64 address) { device_bytes -= give((void *)(size_t)address); return 0; }
status cuMemHostAlloc(void **out, size_t bytes, unsigned flags) {
  (void)flags;
  TROUBLE("HOST");
  if (host_bytes + bytes > number("", "HOST_MAX_MIB", 1 << 20) << 20) return 2;
  if (!(*out = take(bytes))) return 2;
  host_bytes += bytes;
  return 0;
}
status cuMemFreeHost(void *p) { host_bytes -= give(p); return 0; }

static status copy(const char *key, u64 bytes, u64 otherwise) {
  TROUBLE(key);
  u64 rate = number("", key, otherwise);
  if (rate) now_ms += (double)bytes / 1e3 / (double)rate;
  return 0;
}
status cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, void *stream) {
  (void)to, (void)from, (void)stream;
  return copy("H2D_MBPS", bytes, 26000);
}
status cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, void *stream) {
  (void)to, (void)from, (void)stream;
  return copy("D2H_MBPS", bytes, 25000);
}
status cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void *stream) {
  (void)to, (void)from, (void)stream;
  return copy("VRAM_MBPS", 2 * (u64)bytes, 920000);
}

#ifndef NO_EVENTS
status cuEventCreate(void **out, unsigned flags) { (void)flags; return (*out = calloc(1, sizeof(double))) ? 0 : 2; }
status cuEventRecord(void *event, void *stream) { (void)stream; *(double *)event = now_ms; return 0; }
status cuEventSynchronize(void *event) { (void)event; TROUBLE("WAIT"); return 0; }
status cuEventElapsedTime(float *out, void *begin, void *end) {
  *out = (float)(*(double *)end - *(double *)begin);
  return 0;
}
status cuEventDestroy_v2(void *event) { free(event); return 0; }
#endif
