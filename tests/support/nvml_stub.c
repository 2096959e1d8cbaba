/* A stand-in for libnvidia-ml.so.1, so that no test needs a GPU.
 *
 * A reading KEY of GPU n is looked up as n_KEY, then as KEY: in the environment with the prefix
 * GPUC_STUB_, then in the file <this library>.conf, lines of KEY=value, read anew at each call so
 * that a test can change a reading while a job runs. FAIL_KEY=code makes a call fail with NVML's
 * code (3 not supported, 9 driver not loaded, 15 GPU lost, 999 unknown), HANG_KEY=1 never return.
 * Where DRIVER changes, the driver was loaded anew: it is lost until the library is begun anew.
 *
 * -DNO_MEMORY_V2 leaves out what drivers before R510 lack, -DFEW_SYMBOLS all that is not needed
 * to count GPUs and to read their memory. -DFIXED looks nothing up: 8 GPUs that answer at once, for
 * measuring what watching costs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long u64;
typedef int nvml_return;
typedef size_t *device;
struct memory_v1 { u64 total, free, used; };
struct memory_v2 { unsigned version; u64 total, reserved, free, used; };
struct utilization { unsigned gpu, memory; };

static const size_t numbers[64] = {
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
  27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50,
  51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

static int from_file(const char *key, char *out, size_t room) {
  Dl_info self;
  char path[4096], line[256];
  size_t n = strlen(key);
  int found = 0;
  if (!dladdr((void *)numbers, &self) || !self.dli_fname) return 0;
  snprintf(path, sizeof path, "%s.conf", self.dli_fname);
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  while (!found && fgets(line, sizeof line, f)) {
    if (strncmp(line, key, n) == 0 && line[n] == '=') {
      line[strcspn(line, "\r\n")] = 0;
      snprintf(out, room, "%s", line + n + 1);
      found = 1;
    }
  }
  fclose(f);
  return found;
}

static int text(device gpu, const char *prefix, const char *key, char *out, size_t room) {
#ifdef FIXED
  return 0;
#endif
  char name[2][96], variable[128];
  snprintf(name[0], sizeof name[0], "%d_%s%s", gpu ? (int)*gpu : -1, prefix, key);
  snprintf(name[1], sizeof name[1], "%s%s", prefix, key);
  for (int i = gpu ? 0 : 1; i < 2; i++) {
    snprintf(variable, sizeof variable, "GPUC_STUB_%s", name[i]);
    const char *value = getenv(variable);
    if (value) {
      snprintf(out, room, "%s", value);
      return 1;
    }
    if (from_file(name[i], out, room)) return 1;
  }
  return 0;
}

static u64 number(device gpu, const char *prefix, const char *key, u64 otherwise) {
  char value[64];
#ifdef FIXED
  return strcmp(key, "GPUS") == 0 ? 8 : otherwise;
#endif
  return text(gpu, prefix, key, value, sizeof value) ? strtoull(value, NULL, 10) : otherwise;
}

/* What a call does before it answers. */
static nvml_return trouble(device gpu, const char *key) {
  if (number(gpu, "HANG_", key, 0))
    for (;;) pause();
  return (nvml_return)number(gpu, "FAIL_", key, 0);
}

#define TROUBLE(gpu, key) \
  do { nvml_return r = trouble(gpu, key); if (r) return r; } while (0)
#define READ(name, type, key, otherwise) \
  nvml_return name(device gpu, type *out) { \
    TROUBLE(gpu, key); \
    *out = (type)number(gpu, "", key, otherwise); \
    return 0; \
  }
#define MIB (1ULL << 20)

static u64 gpus(void) {
  u64 n = number(NULL, "", "GPUS", 1);
  return n > 64 ? 64 : n;
}

static u64 users, driver;
nvml_return nvmlInit_v2(void) {
  TROUBLE(NULL, "INIT");
  if (!users++) driver = number(NULL, "", "DRIVER", 0);
  return 0;
}
#ifndef FEW_SYMBOLS
nvml_return nvmlShutdown(void) { if (users) users--; return 0; }
#endif
nvml_return nvmlDeviceGetCount_v2(unsigned *n) {
  TROUBLE(NULL, "COUNT");
  if (driver != number(NULL, "", "DRIVER", 0)) return 1;
  *n = (unsigned)gpus();
  return 0;
}
nvml_return nvmlDeviceGetHandleByIndex_v2(unsigned index, device *gpu) {
  if (index >= gpus()) return 2;
  *gpu = (device)&numbers[index];
  TROUBLE(*gpu, "HANDLE");
  return 0;
}

static u64 total(device gpu) { return number(gpu, "", "TOTAL_MIB", 12288) * MIB; }
static u64 reserved(device gpu) { return number(gpu, "", "RESERVED_MIB", 300) * MIB; }
static u64 used(device gpu) { return number(gpu, "", "USED_MIB", 1000) * MIB; }

#ifndef NO_MEMORY_V2
nvml_return nvmlDeviceGetMemoryInfo_v2(device gpu, struct memory_v2 *m) {
  TROUBLE(gpu, "MEMORY");
  if (m->version != (sizeof *m | 2u << 24)) return 25;
  m->total = total(gpu);
  m->reserved = reserved(gpu);
  m->used = used(gpu);
  m->free = m->total - m->used - m->reserved;
  return 0;
}
#endif
nvml_return nvmlDeviceGetMemoryInfo(device gpu, struct memory_v1 *m) {
  TROUBLE(gpu, "MEMORY");
  m->total = total(gpu);
  m->used = used(gpu) + reserved(gpu);
  m->free = m->total - m->used;
  return 0;
}

#ifndef FEW_SYMBOLS
static nvml_return copy(device gpu, const char *key, const char *otherwise, char *out, unsigned n) {
  TROUBLE(gpu, key);
  if (!text(gpu, "", key, out, n)) snprintf(out, n, "%s", otherwise);
  return 0;
}
nvml_return nvmlSystemGetDriverVersion(char *out, unsigned n) {
  return copy(NULL, "DRIVER", "580.95.05", out, n);
}
nvml_return nvmlDeviceGetName(device gpu, char *out, unsigned n) {
  return copy(gpu, "NAME", "Stand-in RTX 0070", out, n);
}
nvml_return nvmlSystemGetCudaDriverVersion_v2(int *out) {
  TROUBLE(NULL, "CUDA");
  *out = (int)number(NULL, "", "CUDA", 12080);
  return 0;
}
nvml_return nvmlDeviceGetCudaComputeCapability(device gpu, int *major, int *minor) {
  TROUBLE(gpu, "CAPABILITY");
  *major = (int)number(gpu, "", "CC_MAJOR", 8);
  *minor = (int)number(gpu, "", "CC_MINOR", 9);
  return 0;
}
nvml_return nvmlDeviceGetUUID(device gpu, char *out, unsigned n) {
  char fallback[64];
  snprintf(fallback, sizeof fallback, *gpu < 100 ? "GPU-%08zx-stand-in" : "MIG-%08zx-stand-in", *gpu);
  return copy(gpu, "UUID", fallback, out, n);
}
struct pci_info {
  char legacy[16];
  unsigned domain, bus, device, id, subsystem;
  char bus_id[32];
};
nvml_return nvmlDeviceGetPciInfo_v3(device gpu, struct pci_info *out) {
  TROUBLE(gpu, "PCI");
  memset(out, 0, sizeof *out);
  out->bus = (unsigned)*gpu + 1;
  snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
  snprintf(out->legacy, sizeof out->legacy, "0000:%02X:00.0", out->bus);
  return 0;
}
nvml_return nvmlDeviceGetMaxClockInfo(device gpu, int clock, unsigned *out) {
  TROUBLE(gpu, "MAX_CLOCK");
  *out = (unsigned)(clock == 2 ? number(gpu, "", "MAX_MEM_MHZ", 10501) : number(gpu, "", "MAX_GR_MHZ", 3105));
  return 0;
}
nvml_return nvmlDeviceGetClockInfo(device gpu, int clock, unsigned *out) {
  TROUBLE(gpu, "CLOCK");
  *out = (unsigned)(clock == 2 ? number(gpu, "", "MEM_MHZ", 405) : number(gpu, "", "GR_MHZ", 210));
  return 0;
}
nvml_return nvmlDeviceGetEccMode(device gpu, int *now, int *next) {
  TROUBLE(gpu, "ECC");
  *now = *next = (int)number(gpu, "", "ECC", 0);
  return 0;
}
nvml_return nvmlDeviceGetMigMode(device gpu, unsigned *now, unsigned *next) {
  TROUBLE(gpu, "MIG");
  *now = *next = number(gpu, "", "MIG_INSTANCES", 0) > 0;
  return 0;
}
/* How many there may be, not how many there are. */
nvml_return nvmlDeviceGetMaxMigDeviceCount(device gpu, unsigned *out) {
  (void)gpu;
  *out = 7;
  return 0;
}
/* Instances of a split card; instance i answers to the number 100 + i. */
static const size_t instances[8] = {100, 101, 102, 103, 104, 105, 106, 107};
nvml_return nvmlDeviceGetMigDeviceHandleByIndex(device gpu, unsigned index, device *out) {
  if (index >= number(gpu, "", "MIG_INSTANCES", 0) || index >= 8) return 6;
  *out = (device)&instances[index];
  return 0;
}
READ(nvmlDeviceGetMemoryBusWidth, unsigned, "BUS_BITS", 384)
READ(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, "PCIE_GEN_NOW", 1)
READ(nvmlDeviceGetCurrPcieLinkWidth, unsigned, "PCIE_WIDTH_NOW", 16)
READ(nvmlDeviceGetCurrentClocksThrottleReasons, u64, "THROTTLE", 1)
READ(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, "PCIE_GEN", 4)
READ(nvmlDeviceGetMaxPcieLinkWidth, unsigned, "PCIE_WIDTH", 16)
READ(nvmlDeviceGetPowerUsage, unsigned, "POWER_MW", 95000)
READ(nvmlDeviceGetEnforcedPowerLimit, unsigned, "LIMIT_MW", 170000)
READ(nvmlDeviceGetPowerManagementLimit, unsigned, "LIMIT_MW", 170000)
nvml_return nvmlDeviceGetTemperature(device gpu, int sensor, unsigned *out) {
  (void)sensor;
  TROUBLE(gpu, "TEMP_C");
  *out = (unsigned)number(gpu, "", "TEMP_C", 61);
  return 0;
}
nvml_return nvmlDeviceGetTotalEccErrors(device gpu, int kind, int counter, u64 *out) {
  (void)kind;
  (void)counter;
  if (!number(gpu, "", "ECC", 0)) return 3;
  TROUBLE(gpu, "ECC_ERRORS");
  *out = number(gpu, "", "ECC_ERRORS", 0);
  return 0;
}
/* PROCESSES=pid:MiB,pid:MiB,...; a process without MiB has memory that the driver does not tell. */
struct process { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; };
nvml_return nvmlDeviceGetComputeRunningProcesses_v3(device gpu, unsigned *n, struct process *out) {
  char list[200];
  unsigned found = 0, room = *n;
  TROUBLE(gpu, "PROCESSES");
  if (text(gpu, "", "PROCESSES", list, sizeof list)) {
    for (char *at = list; *at; found++) {
      unsigned pid = (unsigned)strtoul(at, &at, 10);
      u64 mem = *at == ':' ? strtoull(at + 1, &at, 10) * MIB : ~0ULL;
      if (found < room) out[found] = (struct process){pid, mem, ~0u, ~0u};
      if (*at) at++;
    }
  }
  *n = found;
  return found > room ? 7 : 0;
}
nvml_return nvmlDeviceGetGraphicsRunningProcesses_v3(device gpu, unsigned *n, struct process *out) {
  (void)gpu;
  (void)out;
  *n = 0;
  return 0;
}
/* XID=number is told once to each set of events. */
struct event { device gpu; u64 type, data; unsigned gpu_instance, compute_instance; };
struct set { device gpu; u64 told; };
nvml_return nvmlEventSetCreate(struct set **out) {
  *out = calloc(1, sizeof **out);
  return *out ? 0 : 999;
}
nvml_return nvmlEventSetFree(struct set *set) { free(set); return 0; }
nvml_return nvmlDeviceRegisterEvents(device gpu, u64 types, struct set *set) {
  (void)types;
  TROUBLE(gpu, "EVENTS");
  set->gpu = gpu;
  return 0;
}
nvml_return nvmlEventSetWait_v2(struct set *set, struct event *out, unsigned ms) {
  (void)ms;
  u64 xid = number(set->gpu, "", "XID", 0);
  if (xid == set->told) return 10;
  set->told = xid;
  *out = (struct event){set->gpu, 8, xid, ~0u, ~0u};
  return 0;
}
nvml_return nvmlDeviceGetUtilizationRates(device gpu, struct utilization *out) {
  TROUBLE(gpu, "UTIL");
  out->gpu = (unsigned)number(gpu, "", "UTIL", 42);
  out->memory = 17;
  return 0;
}
#endif
